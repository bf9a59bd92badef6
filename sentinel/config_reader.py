# SPDX-License-Identifier: Apache-2.0
"""Reads TOML into msgspec Structs and turns each refusal into words for a person.

Knows no key by name: what a key may hold is read off the Structs' types.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from sentinel.config_values import Written
from sentinel.errors import ConfigError

_StructT = TypeVar("_StructT", bound=msgspec.Struct)

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_STEP: Final = re.compile(r"\.([A-Za-z0-9_-]+)|\[([0-9]+)\]")
_LINE: Final = re.compile(
    r"(.*?) \(at (?:line ([0-9]+), column ([0-9]+)|(end of document))\)", re.S
)


def read_toml(text: str, file: str, root: type[_StructT]) -> _StructT:
    """Read a whole configuration.

    Raises ConfigError for wrong TOML (with its line), an unknown key, a wrong
    type and any value that its field's `Written` or `Meta` refuses.
    """
    document = _parse(text, file)
    prepared = _Reader(file, root).value(document, root, "")
    try:
        return msgspec.convert(prepared, root)
    except msgspec.ValidationError as refusal:
        steps = _steps(str(refusal))
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
        raise ConfigError(
            file, key.removeprefix("."), _wrong(_at(document, steps), _type_at(root, steps))
        ) from None


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as refusal:
        found = _LINE.fullmatch(str(refusal))
        if found is None:
            raise ConfigError(file, "", f"is not TOML: {refusal}") from None
        if found[4]:
            number = text.count("\n") + (not text.endswith("\n"))
            where = f"line {max(number, 1)}"
        else:
            number = int(found[2])
            where = f"line {number}, column {found[3]}"
        lines = text.splitlines()
        line = lines[number - 1].strip()[:80] if 0 < number <= len(lines) else ""
        hint = f" in {line!r}" if line else ""
        raise ConfigError(file, where, f"is not TOML: {found[1]}{hint}") from None
    except ValueError as refusal:
        raise ConfigError(file, "", f"has a value that cannot be read: {refusal}") from None
    except RecursionError:
        raise ConfigError(file, "", "is nested too deeply to be a configuration") from None


class _Reader:
    """Walks document and types side by side, depth first, in the file's order."""

    def __init__(self, file: str, root: type[msgspec.Struct]) -> None:
        self._file = file
        self._root = root

    def value(self, given: object, declared: object, key: str) -> object:
        """The value as msgspec shall see it: units and spellings resolved."""
        written, plain = _unwrap(declared)
        if written is not None:
            return self._written(given, written, key)
        struct = _struct(plain)
        if struct is not None and isinstance(given, dict):
            return self._table(given, struct, key)
        item_type = _item_type(plain)
        if item_type is not None and isinstance(given, list):
            return [
                self.value(item, item_type, f"{key}[{index}]") for index, item in enumerate(given)
            ]
        return given

    def _table(self, given: dict[str, Any], struct: type[msgspec.Struct], key: str) -> object:
        declared = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        known = {}
        for name, item in given.items():
            path = f"{key}.{_quoted(name)}" if key else _quoted(name)
            if name not in declared:
                raise ConfigError(self._file, path, self._unknown(name, list(declared), key))
            known[name] = self.value(item, declared[name], path)
        return known

    def _written(self, given: object, written: Written, key: str) -> object:
        is_number = isinstance(given, int) and not isinstance(given, bool)
        if not isinstance(given, str) and not (written.numbers_too and is_number):
            raise ConfigError(self._file, key, f"expected {written.wanted}; got {_shown(given)}")
        try:
            read = written.read(str(given))
        except ValueError as refusal:
            raise ConfigError(self._file, key, str(refusal)) from None
        return given if written.numbers_too else read

    def _unknown(self, name: str, siblings: list[str], table: str) -> str:
        close = _nearest(name, siblings)
        if close:
            return f'unknown key; did you mean "{close}"?'
        homes = [home for home, leaf in _leaves(self._root, "") if leaf == name and home != table]
        if homes:
            return f"unknown key here; it belongs under {' or '.join(f'[{h}]' for h in homes)}"
        where = f"[{table}]" if table else "the top level"
        return f"unknown key; {where} knows {', '.join(siblings)}"


class _Shape(NamedTuple):
    written: Written | None
    plain: object


def _unwrap(declared: object) -> _Shape:
    """Take `Annotated` off, keeping what it says of the spelling."""
    if get_origin(declared) is Annotated:
        plain, *notes = get_args(declared)
        return _Shape(next((n for n in notes if isinstance(n, Written)), None), plain)
    return _Shape(None, declared)


def _struct(plain: object) -> type[msgspec.Struct] | None:
    is_struct = isinstance(plain, type) and issubclass(plain, msgspec.Struct)
    return plain if is_struct else None  # type: ignore[return-value]


def _item_type(plain: object) -> object | None:
    return get_args(plain)[0] if get_origin(plain) is tuple else None


def _leaves(struct: type[msgspec.Struct], table: str) -> Iterator[tuple[str, str]]:
    """Each key below `struct`, as (table, key)."""
    for field in msgspec.structs.fields(struct):
        yield table, field.encode_name
        below = _struct(_unwrap(field.type).plain)
        if below is not None:
            yield from _leaves(below, f"{table}.{field.encode_name}".lstrip("."))


def _steps(refusal: str) -> list[str | int]:
    _, _, path = refusal.rpartition(" - at `$")
    return [name or int(index) for name, index in _STEP.findall(path)]


def _at(document: object, steps: list[str | int]) -> object:
    for step in steps:
        if isinstance(document, dict | list):
            document = document[step]  # type: ignore[index]
    return document


def _type_at(root: type[msgspec.Struct], steps: list[str | int]) -> object:
    declared: object = root
    for step in steps:
        plain = _unwrap(declared).plain
        struct = _struct(plain)
        if struct is not None:
            fields = msgspec.structs.fields(struct)
            declared = next(field.type for field in fields if field.encode_name == step)
        else:
            declared = _item_type(plain)
    return declared


def _wrong(given: object, declared: object) -> str:
    close = ""
    _, plain = _unwrap(declared)
    if get_origin(plain) is Literal and isinstance(given, str):
        near = _nearest(given, [str(choice) for choice in get_args(plain)])
        close = f'; did you mean "{near}"?' if near else ""
    return f"expected {_wanted(declared)}; got {_shown(given)}{close}"


def _wanted(declared: object) -> str:
    """Completes "expected …" for a field without a `Written`."""
    plain = _unwrap(declared).plain
    if get_origin(plain) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(plain))
    if get_origin(plain) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(plain) if kind is not type(None)]
        return " or ".join(_wanted(kind) for kind in kinds)
    if plain is bool:
        return "true or false, without quotes"
    if plain is int:
        return "a whole number" + _range(declared)
    item_type = _item_type(plain)
    if item_type is not None:
        written, item = _unwrap(item_type)
        if _struct(item) is not None:
            return "a list of tables in square brackets, such as [{…}]"
        return f"a list in square brackets, each {written.wanted if written else _wanted(item)}"
    if _struct(plain) is not None:
        return "a table"
    return "text in quotes"


def _range(declared: object) -> str:
    notes = get_args(declared)[1:]
    meta = next((note for note in notes if isinstance(note, msgspec.Meta)), None)
    return f" from {meta.ge} to {meta.le}" if meta is not None else ""


def _nearest(name: str, choices: list[str]) -> str | None:
    spelled = name.lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(spelled, choices, n=1, cutoff=0.6)
    return close[0] if close else None


def _shown(given: object) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, str):
        return f"the text {(given if len(given) <= 60 else given[:60] + '…')!r}"
    if isinstance(given, int | float):
        return f"the number {given}" if abs(given) < 1e18 else "a number far too large"
    if isinstance(given, list):
        return "a list"
    if isinstance(given, dict):
        return "a table"
    return f"a date or time ({given})"


def _quoted(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else repr(name if len(name) <= 80 else name[:80] + "…")
