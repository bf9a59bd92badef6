# SPDX-License-Identifier: Apache-2.0
"""Rows of tap_pairs decoded: CPUs merged, odd values survived."""

from __future__ import annotations

import random

import pytest

from sentinel import abi
from sentinel.decode_pairs import REST, decode_pairs, encode_key, rest_keys
from sentinel.tag import Tag
from sentinel.traffic import PairSeen

NOTHING = dict.fromkeys(abi.TAP_PAIR_FIELDS, 0)
STORY = (0x8100 << 16 | 20, 0x8100 << 16 | 100)


def key(
    outer: int = STORY[0], inner: int = STORY[1], ifindex: int = 7, direction: int = 1
) -> bytes:
    return abi.TAP_PAIR_KEY.pack(ifindex, direction, outer, inner)


def share(excess: tuple[int, int, int, int] = (0, 0, 0, 0), **fields: int) -> bytes:
    """What one CPU has of a row."""
    values: list[int] = []
    for name, value in (NOTHING | fields).items():
        values += excess if name == "excess" else [value]
    return abi.TAP_PAIR.pack(*values)


ONE = share(
    (3, 0, 0, 0), frames=5, bytes=5000, oversized=3, first_ns=100, last_ns=200, last_ticks=9,
    oversized_ns=150, smallest_excess_bytes=4, largest_excess_bytes=4, largest_wire_bytes=1522,
)  # fmt: skip
OTHER = share(
    (0, 1, 0, 1), frames=2, bytes=3000, oversized=2, first_ns=50, last_ns=170, last_ticks=8,
    oversized_ns=170, smallest_excess_bytes=8, largest_excess_bytes=60, largest_wire_bytes=1578,
)  # fmt: skip
FITS = share(frames=1, bytes=60, first_ns=10, last_ns=500, largest_wire_bytes=60)


def only(keys: bytes, values: bytes, cpus: int) -> PairSeen:
    (found,) = decode_pairs(keys, values, cpus)
    return found


@pytest.mark.parametrize("order", [(ONE, OTHER), (OTHER, ONE)])
def test_cpus_are_merged(order: tuple[bytes, bytes]) -> None:
    assert only(key(), b"".join(order), 2) == PairSeen(
        ifindex=7,
        direction=abi.TAP_OUT,
        outer=Tag(0x8100, 20),
        inner=Tag(0x8100, 100),
        is_rest=False,
        frames=7,
        bytes=8000,
        oversized=5,
        excess=(3, 1, 0, 1),
        smallest_excess_bytes=4,
        largest_excess_bytes=60,
        largest_wire_bytes=1578,
        first_seen_ns=50,
        last_seen_ns=200,
        last_oversized_ns=170,
    )


def test_cpus_that_saw_nothing_say_nothing() -> None:
    alone = only(key(), ONE, 1)
    assert only(key(), share() + ONE + share() * 6, 8) == alone
    # A CPU that is about to count its first frame has written its clock already.
    assert only(key(), share(first_ns=1, last_ns=9**9, last_ticks=5) + ONE, 2) == alone


def test_a_cpu_without_oversized_frames_has_no_smallest_excess() -> None:
    row = only(key(), FITS + OTHER, 2)
    assert (row.smallest_excess_bytes, row.first_seen_ns, row.last_seen_ns) == (8, 10, 500)
    assert only(key(), FITS, 1).smallest_excess_bytes == 0


def test_a_row_without_frames_is_no_row() -> None:
    assert decode_pairs(key(), share() * 4, 4) == []
    assert decode_pairs(b"", b"", 4) == []


def test_several_rows() -> None:
    keys = key(ifindex=1) + key(ifindex=2) + key(ifindex=3)
    found = decode_pairs(keys, share() + ONE + share() * 2 + OTHER + FITS, 2)
    assert [(row.ifindex, row.frames) for row in found] == [(1, 5), (3, 3)]


def test_tags() -> None:
    assert only(key(0, 0), ONE, 1).outer is None
    single = only(key(0x88A8 << 16 | 5, 0), ONE, 1)
    assert (single.outer, single.inner, single.is_rest) == (Tag(0x88A8, 5), None, False)
    # A priority tag: VID 0 is a tag all the same.
    assert only(key(0x8100 << 16, 0x9100 << 16), ONE, 1).outer == Tag(0x8100, 0)


def test_the_rest() -> None:
    rest = only(key(REST, REST), ONE, 1)
    assert (rest.outer, rest.inner, rest.is_rest) == (None, None, True)
    assert not only(key(REST, 0), ONE, 1).is_rest


@pytest.mark.parametrize(
    ("outer", "inner"), [(0, 0), STORY, (REST, REST), (REST, 1), (0x8100 << 16, 0), (1, 0xFFFF)]
)
@pytest.mark.parametrize("direction", [abi.TAP_IN, abi.TAP_OUT, 9])
def test_the_key_comes_back(outer: int, inner: int, direction: int) -> None:
    raw = key(outer, inner, 2**32 - 1, direction)
    assert encode_key(only(raw, ONE, 1)) == raw


def test_keys_of_the_rest() -> None:
    found = [only(raw, ONE, 1) for raw in rest_keys(7)]
    assert [(row.ifindex, row.direction, row.is_rest) for row in found] == [
        (7, abi.TAP_IN, True),
        (7, abi.TAP_OUT, True),
    ]


@pytest.mark.parametrize(
    ("keys", "values"), [(key()[:-1], ONE), (key(), ONE[:-1]), (key(), ONE * 2), (b"", ONE)]
)
def test_what_is_no_row_is_refused(keys: bytes, values: bytes) -> None:
    with pytest.raises(ValueError, match="are no rows"):
        decode_pairs(keys, values, 1)


def test_any_bytes_at_all() -> None:
    rng = random.Random(1)
    for _ in range(200):
        cpus, rows = rng.randint(1, 5), rng.randint(0, 5)
        found = decode_pairs(
            rng.randbytes(rows * abi.TAP_PAIR_KEY.size),
            rng.randbytes(rows * cpus * abi.TAP_PAIR.size),
            cpus,
        )
        assert len(found) <= rows
        assert all(len(row.excess) == abi.TAP_EXCESSES and str(row.outer) for row in found)
