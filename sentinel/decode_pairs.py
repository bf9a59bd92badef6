# SPDX-License-Identifier: Apache-2.0
"""Rows of tap_pairs into `PairSeen`, the CPUs' shares of a row merged. Pure.

A row is read while programs write to it: what they had not finished is left out.
"""

from __future__ import annotations

from sentinel import abi
from sentinel.tag import Tag
from sentinel.traffic import PairSeen

REST = 0xFFFFFFFF
"""TAP_PAIR_REST, as outer and inner."""

_WORDS = abi.TAP_PAIR.size // 8
_FRAMES = abi.TAP_PAIR__FRAMES // 8
_EXCESS = abi.TAP_PAIR_FIELDS.index("excess")


def decode_pairs(keys: bytes, values: bytes, cpus: int) -> list[PairSeen]:
    """Rows in which a frame was counted, of keys and values that stand one after the other.

    A value is as many tap_pair as there are possible CPUs. Raises ValueError where
    keys and values are not of the same number of whole rows.
    """
    row_bytes = abi.TAP_PAIR.size * cpus
    rows = len(keys) // abi.TAP_PAIR_KEY.size
    if len(keys) % abi.TAP_PAIR_KEY.size or len(values) != rows * row_bytes:
        raise ValueError(
            f"{len(keys)} bytes of keys and {len(values)} of values on {cpus} CPUs are no rows"
        )
    # On a host of many CPUs few have seen a row's frames: the others are not unpacked.
    frames = memoryview(values).cast("Q")[_FRAMES::_WORDS].tolist()
    found = []
    for row, key in enumerate(abi.TAP_PAIR_KEY.iter_unpack(keys)):
        shares = [
            abi.TAP_PAIR.unpack_from(values, (row * cpus + cpu) * abi.TAP_PAIR.size)
            for cpu in range(cpus)
            if frames[row * cpus + cpu]
        ]
        if shares:
            found.append(_merged(key, shares))
    return found


def encode_key(seen: PairSeen) -> bytes:
    """The tap_pair_key of a row."""
    outer, inner = (REST, REST) if seen.is_rest else (_number(seen.outer), _number(seen.inner))
    return abi.TAP_PAIR_KEY.pack(seen.ifindex, seen.direction, outer, inner)


def rest_keys(ifindex: int) -> list[bytes]:
    """The keys of the rows that stand for all pairs of a device without a row of their own."""
    return [
        abi.TAP_PAIR_KEY.pack(ifindex, direction, REST, REST)
        for direction in (abi.TAP_IN, abi.TAP_OUT)
    ]


def _merged(key: tuple[int, ...], shares: list[tuple[int, ...]]) -> PairSeen:
    ifindex, direction, outer, inner = key
    is_rest = outer == inner == REST
    columns = list(zip(*shares, strict=True))
    frames, octets, oversized = map(sum, columns[:_EXCESS])
    excess = tuple(map(sum, columns[_EXCESS : _EXCESS + abi.TAP_EXCESSES]))
    first_ns, last_ns, _ticks, oversized_ns, smallest, largest, wire_bytes, _reserved = columns[
        _EXCESS + abi.TAP_EXCESSES :
    ]
    return PairSeen(
        ifindex=ifindex,
        direction=direction,
        outer=None if is_rest else _tag(outer),
        inner=None if is_rest else _tag(inner),
        is_rest=is_rest,
        frames=frames,
        bytes=octets,
        oversized=oversized,
        excess=excess,
        smallest_excess_bytes=min(filter(None, smallest), default=0),
        largest_excess_bytes=max(largest),
        largest_wire_bytes=max(wire_bytes),
        first_seen_ns=min(filter(None, first_ns), default=0),
        last_seen_ns=max(last_ns),
        last_oversized_ns=max(oversized_ns),
    )


def _tag(number: int) -> Tag | None:
    return Tag(number >> 16, number & 0xFFFF) if number else None


def _number(tag: Tag | None) -> int:
    return tag.tpid << 16 | tag.vid if tag else 0
