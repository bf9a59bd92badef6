# SPDX-License-Identifier: Apache-2.0
"""Evidence of tags and sizes in plain Python: what rows there must be, and what in them.

Knows no clock; times of the kernel's rows are looked at by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sentinel import abi
from sentinel.traffic import PairSeen
from tests.harness.model_frame import Reading

REST: Final = -1
ROOMS: Final = {"port": abi.TAP_PAIRS_PER_PORT, "uplink": abi.TAP_PAIRS_PER_UPLINK}
UPPER_EXCESSES: Final = (4, 8, 50)


class PairKey(NamedTuple):
    """Tags as TPID << 16 | VID, 0 for none, REST twice for all that have no row."""

    is_outward: bool
    outer: int
    inner: int


@dataclass(slots=True)
class PairRow:
    """What a row counts."""

    frames: int = 0
    bytes: int = 0
    oversized: int = 0
    excess: list[int] = field(default_factory=lambda: [0] * (len(UPPER_EXCESSES) + 1))
    smallest_excess_bytes: int = 0
    largest_excess_bytes: int = 0
    largest_wire_bytes: int = 0


PairTable = dict[PairKey, PairRow]


@dataclass(slots=True)
class ModelPairs:
    """The rows of one device; `room` is how many it may have beside the rest's."""

    room: int
    rows: PairTable = field(default_factory=dict)

    def see(self, reading: Reading, mtu_bytes: int, *, is_outward: bool) -> None:
        """Counts a frame that has a tag or is oversized."""
        is_oversized = reading.oversized(mtu_bytes)
        if not reading.tags and not is_oversized:
            return
        key = PairKey(is_outward, reading.outer, reading.inner)
        own = [each for each in self.rows if each.outer != REST]
        if key not in self.rows and len(own) >= self.room:
            key = PairKey(is_outward, REST, REST)
        row = self.rows.setdefault(key, PairRow())
        row.frames += 1
        row.bytes += reading.frame_bytes
        row.largest_wire_bytes = max(row.largest_wire_bytes, reading.wire_bytes)
        if not is_oversized:
            return
        excess = reading.path_bytes - mtu_bytes
        row.oversized += 1
        row.excess[sum(excess > upper for upper in UPPER_EXCESSES)] += 1
        row.smallest_excess_bytes = min(row.smallest_excess_bytes or excess, excess)
        row.largest_excess_bytes = max(row.largest_excess_bytes, excess)


def table(rows: Iterable[PairSeen], ifindex: int) -> PairTable:
    """The kernel's rows of one device, without their times, which must be in order."""
    found: PairTable = {}
    for row in rows:
        if row.ifindex != ifindex:
            continue
        assert 0 < row.first_seen_ns <= row.last_seen_ns, row
        if row.oversized:
            assert row.first_seen_ns <= row.last_oversized_ns <= row.last_seen_ns, row
        else:
            assert row.last_oversized_ns == 0, row
        tags = [tag.tpid << 16 | tag.vid if tag else 0 for tag in (row.outer, row.inner)]
        key = PairKey(row.direction == abi.TAP_OUT, *([REST, REST] if row.is_rest else tags))
        assert key not in found, key
        found[key] = PairRow(
            row.frames,
            row.bytes,
            row.oversized,
            list(row.excess),
            row.smallest_excess_bytes,
            row.largest_excess_bytes,
            row.largest_wire_bytes,
        )
    return found
