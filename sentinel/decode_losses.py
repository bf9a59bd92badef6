# SPDX-License-Identifier: Apache-2.0
"""Rows of tap_losses into `LossSeen`, and which of them may go. Pure.

A row is (key, value), the bytes of struct tap_loss_key and struct tap_loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from sentinel import abi
from sentinel.traffic import LossSeen

Row = tuple[bytes, bytes]

IDLE_NS: Final = 600_000_000_000
"""A row that counted nothing for so long may make room."""

_Which = tuple[int, int, int, str]
"""From and at which device, the reason's number, the function."""
_Sum = tuple[int, int, int, int, int]
"""Frames, bytes, largest, first, last."""

_PREFIX: Final = "SKB_DROP_REASON_"
_NO_REASONS: Final = {"MAX", "SUBSYS_MASK"}


def reason_names(enumerators: Iterable[tuple[str, int]]) -> dict[int, str]:
    """The kernel's enumerators of drop reasons by number, as "FULL_RING".

    Reasons of a subsystem, like Open vSwitch's, keep their own prefix: "OVS_DROP_EXPLICIT".
    """
    names = {}
    for name, number in enumerators:
        short = name.removeprefix(_PREFIX)
        if short not in _NO_REASONS:
            names[number] = short
    return names


def reason_name(names: Mapping[int, str], number: int) -> str:
    """A reason's name, or "reason 17"."""
    return names.get(number) or f"reason {number}"


def symbol_name(text: bytes) -> str:
    """The function in what the kernel prints for %ps; "" where it knows none.

    It prints "br_forward [bridge]" for a module's, "br_forward.part.0" for what a
    compiler made of one, and the bare address without a symbol table.
    """
    words = text.partition(b"\0")[0].decode("ascii", "replace").split()
    if not words or words[0].startswith("0x"):
        return ""
    return words[0].partition(".")[0]


def reason_of(key: bytes) -> int:
    """The number of a row's reason."""
    return int(abi.TAP_LOSS_KEY.unpack(key)[3])


def decode_losses(rows: Iterable[Row], names: Mapping[int, str]) -> list[LossSeen]:
    """All rows, those of several places in one function added up; the largest first.

    `bytes` are those of whole frames, without a tag that was in metadata.
    """
    symbols: dict[bytes, str] = {}
    found: dict[_Which, _Sum] = {}
    for key, value in rows:
        _, from_ifindex, at_ifindex, reason, _ = abi.TAP_LOSS_KEY.unpack(key)
        frames, length, first_ns, last_ns, largest, _, text = abi.TAP_LOSS.unpack(value)
        symbol = symbols.get(text)
        if symbol is None:
            symbol = symbols[text] = symbol_name(text)
        which = (from_ifindex, at_ifindex, reason, symbol)
        one = (frames, length, largest, first_ns, last_ns)
        other = found.get(which)
        found[which] = one if other is None else _add(one, other)
    losses = [_loss(which, total, names) for which, total in found.items()]
    return sorted(losses, key=lambda loss: (-loss.frames, -loss.last_seen_ns))


def _loss(which: _Which, total: _Sum, names: Mapping[int, str]) -> LossSeen:
    from_ifindex, at_ifindex, reason, symbol = which
    frames, length, largest, first_ns, last_ns = total
    return LossSeen(
        from_ifindex=from_ifindex,
        at_ifindex=at_ifindex,
        reason=reason_name(names, reason),
        symbol=symbol,
        frames=frames,
        bytes=length,
        largest_bytes=largest,
        first_seen_ns=first_ns,
        last_seen_ns=last_ns,
    )


def _add(one: _Sum, other: _Sum) -> _Sum:
    return (
        one[0] + other[0],
        one[1] + other[1],
        max(one[2], other[2]),
        min(one[3], other[3]),
        max(one[4], other[4]),
    )


def idle_keys(rows: Sequence[Row], now_ns: int) -> list[bytes]:
    """Keys of rows to delete for room: the idle ones of a table over 3/4 full, else none."""
    if len(rows) * 4 <= abi.TAP_MAX_LOSSES * 3:
        return []
    return [key for key, value in rows if now_ns - _last_ns(value) > IDLE_NS]


def keys_of(rows: Iterable[Row], ifindexes: Collection[int]) -> list[bytes]:
    """Keys of rows that name one of these devices."""
    found = []
    for key, _ in rows:
        _, from_ifindex, at_ifindex, _, _ = abi.TAP_LOSS_KEY.unpack(key)
        if from_ifindex in ifindexes or at_ifindex in ifindexes:
            found.append(key)
    return found


def _last_ns(value: bytes) -> int:
    return int(abi.TAP_LOSS.unpack(value)[3])
