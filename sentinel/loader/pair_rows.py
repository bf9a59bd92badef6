# SPDX-License-Identifier: Apache-2.0
"""The kernel's rows of tags and sizes: read, and bounded by letting go of the oldest."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Final

from sentinel import abi
from sentinel.decode import PortSlot
from sentinel.decode_pairs import decode_pairs, encode_key
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader.maps import PinnedMaps
from sentinel.traffic import PairSeen

IDLE_NS: Final = 60_000_000_000
"""A row that was not seen for so long may make room for another."""

_BATCH_BYTES: Final = 1 << 20
# So that a device which is new finds room for its pairs before the map is full.
_CROWDED_ROWS: Final = abi.TAP_MAX_PAIRS * 15 // 16
_WHAT: Final = "tap_pairs"


class PairRows:
    """The rows of one guard. `evicted`: how many were let go of to make room, so far."""

    def __init__(self, maps: PinnedMaps) -> None:
        """Raises KernelError."""
        self._maps = maps
        self._cpus = syscall.possible_cpus()
        self._rooms = maps.pair_rooms()
        self.evicted = 0
        self.evicted_frames = 0
        """That were counted in them."""

    def read(self) -> list[PairSeen]:
        """Every row, in no order. Rows may come and go meanwhile. Raises KernelError."""
        self._rooms = self._maps.pair_rooms()
        row_bytes = abi.TAP_PAIR.size * self._cpus
        count = min(max(_BATCH_BYTES // row_bytes, 1), abi.TAP_MAX_PAIRS)
        while True:
            try:
                return self._read_batches(count)
            except KernelError as failed:
                if failed.errno != errno.ENOSPC or count == abi.TAP_MAX_PAIRS:
                    return self._read_one_by_one()
                count = min(2 * count, abi.TAP_MAX_PAIRS)

    def _read_batches(self, count: int) -> list[PairSeen]:
        row_bytes = abi.TAP_PAIR.size * self._cpus
        batches = syscall.Batches(
            self._maps.fd("tap_pairs"), abi.TAP_PAIR_KEY.size, row_bytes, count, _WHAT
        )
        found: list[PairSeen] = []
        while not batches.is_done:
            keys, values = batches.take()
            found += decode_pairs(keys, values, self._cpus)
        return found

    def _read_one_by_one(self) -> list[PairSeen]:
        row_bytes = abi.TAP_PAIR.size * self._cpus
        fd = self._maps.fd("tap_pairs")
        found: list[PairSeen] = []
        for key in self._maps.pair_keys():
            try:
                value = syscall.map_lookup(fd, key, row_bytes, _WHAT)
            except KernelError as failed:
                if failed.errno != errno.ENOENT:
                    raise
                continue
            found += decode_pairs(key, value, self._cpus)
        return found

    def evict(
        self, now_ns: int, seen: Sequence[PairSeen] | None = None, *, idle_ns: int = IDLE_NS
    ) -> int:
        """Makes room where a device has none left for new pairs; how many rows it took.

        Of a device whose room is full (of all, where the map nearly is) at most half
        of the rows go, those longest unseen, and none that was seen within `idle_ns`
        of `now_ns` (CLOCK_MONOTONIC). Rows of devices without a slot go too, and
        rooms are set right. `seen` is what `read` has just returned, to spare reading
        again; without it nothing is read unless some room is full. Raises KernelError.
        """
        if seen is None:
            if not self._is_crowded(self._maps.pair_rooms()):
                return 0
            seen = self.read()
        rows = defaultdict(list)
        for row in seen:
            rows[row.ifindex].append(row)
        # Asked after reading: a row's device had its slot before it had the row.
        slots = {slot.ifindex: slot for slot in self._maps.slots()}
        for ifindex in rows.keys() - slots.keys():
            self._remove(rows[ifindex])
        own = {
            slot.slot: [row for row in rows[ifindex] if not row.is_rest]
            for ifindex, slot in slots.items()
        }
        for number, actual in own.items():
            # One that has changed since is in order.
            self._maps.correct_pair_room(number, self._rooms[number], len(actual))
        gone = 0
        for slot in slots.values():
            if len(own[slot.slot]) >= _room(slot):
                gone += self._let_go(own[slot.slot], now_ns - idle_ns, slots)
        if len(seen) - gone >= _CROWDED_ROWS:
            left = [row for each in own.values() for row in each]
            gone += self._let_go(left, now_ns - idle_ns, slots)
        self.evicted += gone
        return gone

    def forget(self, ifindex: int) -> None:
        """Removes the rows of a device that keeps its slot. Raises KernelError."""
        slot = self._maps.find(ifindex)
        if slot is not None:
            self._maps.forget_pairs(slot.slot, ifindex)

    def _is_crowded(self, rooms: Sequence[int]) -> bool:
        return sum(rooms) >= _CROWDED_ROWS or any(
            rooms[slot.slot] >= _room(slot) for slot in self._maps.slots()
        )

    def _let_go(
        self, rows: Collection[PairSeen], before_ns: int, slots: dict[int, PortSlot]
    ) -> int:
        idle = [row for row in rows if row.last_seen_ns <= before_ns]
        idle.sort(key=attrgetter("last_seen_ns"))
        removed = self._remove(idle[: len(rows) // 2])
        for row in removed:
            self._maps.add_pair_room(slots[row.ifindex].slot, -1)
            self.evicted_frames += row.frames
        return len(removed)

    def _remove(self, rows: Iterable[PairSeen]) -> list[PairSeen]:
        """Those that were still there."""
        fd = self._maps.fd("tap_pairs")
        return [row for row in rows if syscall.map_delete(fd, encode_key(row), _WHAT)]


def _room(slot: PortSlot) -> int:
    uplink = slot.role == abi.TAP_ROLE_UPLINK
    return abi.TAP_PAIRS_PER_UPLINK if uplink else abi.TAP_PAIRS_PER_PORT
