# SPDX-License-Identifier: Apache-2.0
"""What differs between two configurations, and what of it a running daemon cannot take.

Keys and values are told as the file has them: `checks.bpdu.window`, `10s`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, get_type_hints

import msgspec

from sentinel.config import Config
from sentinel.config_values import DURATION, SIZE
from sentinel.durations import format_duration_exactly, format_size
from sentinel.event_bodies import ConfigChange
from sentinel.inventory import Device

LONGEST_VALUE_CHARS: Final = 160
MOST_CHANGES: Final = 32
"""So many are told one by one; with their values they fit into one event."""
UNSET: Final = "unset"

NEED_RESTART: Final = ("paths.", "kernel.", "events.host")
"""Keys, or their beginnings, that hold for a daemon's whole life: where it keeps what,
how the programs came into the kernel, and the name that its entries bear."""


def config_changes(old: Config, new: Config) -> tuple[ConfigChange, ...]:
    """Every key whose value is another, in the file's order."""
    return tuple(_changes(old, new, ""))


def need_restart(changes: Iterable[ConfigChange], keys: Sequence[str] = NEED_RESTART) -> list[str]:
    """The changed keys that are, or begin with, one of `keys`; one that ends in "." is a table."""
    return [
        change.key
        for change in changes
        if any(change.key == key or (key[-1] == "." and change.key.startswith(key)) for key in keys)
    ]


def between(old: Device, new: Device) -> Device:
    """A device that is judged no harder than either.

    Trust and sizes stand beside the port, actions in a map of their own. What changes
    together is put between first, so that no frame is judged by half of each.
    """
    mtus = old.path_mtu_bytes, new.path_mtu_bytes
    return replace(
        new,
        trusted_checks=old.trusted_checks | new.trusted_checks,
        # 0: sizes are not judged.
        path_mtu_bytes=max(mtus) if all(mtus) else 0,
    )


def _changes(old: msgspec.Struct, new: msgspec.Struct, above: str) -> Iterator[ConfigChange]:
    hints = get_type_hints(type(new), include_extras=True)
    for field in msgspec.structs.fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        key = f"{above}{field.encode_name}"
        if before == after:
            continue
        if isinstance(after, msgspec.Struct):
            yield from _changes(before, after, f"{key}.")
        else:
            hint = hints[field.name]
            yield ConfigChange(key, _clip(_written(before, hint)), _clip(_written(after, hint)))


def _written(value: Any, declared: Any) -> str:
    """A value as one writes it, but for the quotes of a plain text."""
    marks = declared.__metadata__ if hasattr(declared, "__metadata__") else ()
    if value is None:
        return UNSET
    if DURATION in marks:
        return format_duration_exactly(value)
    if SIZE in marks:
        return format_size(value)
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(one) for one in value)}]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        given = {
            field.encode_name: getattr(value, field.name) for field in msgspec.structs.fields(value)
        }
        inner = [f"{key} = {_quoted(one)}" for key, one in given.items() if one is not None]
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(one) for one in value)}]"
    # JSON's texts, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE_CHARS else text[: LONGEST_VALUE_CHARS - 1] + "…"
