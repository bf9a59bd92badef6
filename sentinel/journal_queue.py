# SPDX-License-Identifier: Apache-2.0
"""Rows on their way to the disk, in order and bounded; pure.

Everything the journal writes passes through here. While the disk takes it, it
stays no longer than one call; while it does not, the oldest give way to the
newest once there is no more room, and are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeVar

from sentinel.journal_rows import CUT_RELEASED, CUT_RELEASED_BY, Row

MOST_EVENTS: Final = 10_000
MOST_EVENT_BYTES: Final = 8 << 20
MOST_STATES: Final = 4096
"""Of incidents, of quarantines, of releases, of leases and of memos each."""
MOST_STATE_BYTES: Final = 8 << 20
"""Likewise."""
_ROW_OVERHEAD_BYTES: Final = 128

_KeyT = TypeVar("_KeyT")

CutKey = tuple[int, int]
"""ifindex and since_wall_ns."""
MemoKey = tuple[str, str]
"""Kind and key."""


class Latest(Generic[_KeyT]):
    """The latest row of each key, the keys in the order they came; bounded."""

    def __init__(self) -> None:
        self.rows: dict[_KeyT, Row] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.rows)

    def put(self, key: _KeyT, row: Row) -> int:
        """Take a row; returns how many others had to go for it."""
        self._bytes += _state_bytes(row) - _state_bytes(self.rows.get(key))
        self.rows[key] = row
        lost = 0
        while len(self.rows) > MOST_STATES or self._bytes > MOST_STATE_BYTES:
            self.drop(next(iter(self.rows)))
            lost += 1
        return lost

    def drop(self, key: _KeyT) -> None:
        """Forget a key's row, if there is one."""
        self._bytes -= _state_bytes(self.rows.pop(key, None))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes."""

    events: list[Row]
    incidents: list[Row]
    cuts: list[Row]
    releases: list[Row]
    leases: list[Row]
    """A row of the key alone: to be forgotten."""
    memos: list[Row]
    """A row of kind and key alone: to be forgotten."""

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return sum(
            len(rows)
            for rows in (
                self.events,
                self.incidents,
                self.cuts,
                self.releases,
                self.leases,
                self.memos,
            )
        )


@dataclass(slots=True)
class Waiting:
    """The queue: events in order, and the latest state of what changes."""

    events: deque[Row] = field(default_factory=deque)
    incidents: Latest[int] = field(default_factory=Latest)
    cuts: Latest[CutKey] = field(default_factory=Latest)
    releases: Latest[CutKey] = field(default_factory=Latest)
    """Of quarantines that are on the disk: the parameters of RELEASE_QUARANTINE."""
    leases: Latest[str] = field(default_factory=Latest)
    """A row of the key alone: to be forgotten."""
    memos: Latest[MemoKey] = field(default_factory=Latest)
    """A row of kind and key alone: to be forgotten."""
    lost: int = 0
    """How many had no room, ever."""
    _event_bytes: int = 0

    def __len__(self) -> int:
        return len(self.events) + self._states

    @property
    def has_states(self) -> bool:
        """Whether anything but events waits."""
        return self._states > 0

    @property
    def _states(self) -> int:
        return sum(
            len(kind)
            for kind in (self.incidents, self.cuts, self.releases, self.leases, self.memos)
        )

    def add_event(self, row: Row) -> None:
        """Queue an event's row; the oldest goes if there is no room."""
        self.events.append(row)
        self._event_bytes += _size_bytes(row)
        while len(self.events) > MOST_EVENTS or self._event_bytes > MOST_EVENT_BYTES:
            self._event_bytes -= _size_bytes(self.events.popleft())
            self.lost += 1

    def add_incident(self, row: Row) -> None:
        """Queue an incident's row; it replaces an older state of the same incident."""
        self.lost += self.incidents.put(row[0], row)

    def add_cut(self, row: Row) -> None:
        """Queue a quarantine's row."""
        key = (row[0], row[1])
        self.releases.drop(key)
        self.lost += self.cuts.put(key, row)

    def release(self, key: CutKey, released_wall_ns: int, released_by: str) -> None:
        """Queue a quarantine's end, whether its beginning is on the disk or waits here."""
        waiting = self.cuts.rows.get(key)
        if waiting is not None:
            row = list(waiting)
            row[CUT_RELEASED], row[CUT_RELEASED_BY] = released_wall_ns, released_by
            self.cuts.put(key, tuple(row))
        else:
            self.lost += self.releases.put(key, (released_wall_ns, released_by, *key))

    def add_lease(self, row: Row) -> None:
        """Queue a DHCP client's row; it replaces an older state of the same client."""
        self.lost += self.leases.put(row[0], row)

    def forget_lease(self, key: str) -> None:
        """Queue a DHCP client's end."""
        self.lost += self.leases.put(key, (key,))

    def put_memo(self, row: Row) -> None:
        """Queue a memo's row, or of kind and key alone its end."""
        self.lost += self.memos.put((row[0], row[1]), row)

    def batch(self, most_rows: int, most_bytes: int) -> Batch:
        """The oldest rows, up to both bounds but never none if anything waits."""
        room = _Room(most_rows, most_bytes)
        # Cuts first: that an event tells of one is worth little if it is forgotten.
        cuts = room.take(self.cuts.rows.values(), _state_bytes)
        releases = room.take(self.releases.rows.values(), _state_bytes)
        return Batch(
            room.take(self.events, _size_bytes),
            room.take(self.incidents.rows.values(), _state_bytes),
            cuts,
            releases,
            room.take(self.leases.rows.values(), _state_bytes),
            room.take(self.memos.rows.values(), _state_bytes),
        )

    def done(self, batch: Batch) -> None:
        """Forget what is on the disk now. Nothing may be added since `batch`."""
        for row in batch.events:
            self.events.popleft()
            self._event_bytes -= _size_bytes(row)
        for row in batch.incidents:
            self.incidents.drop(row[0])
        for row in batch.cuts:
            self.cuts.drop((row[0], row[1]))
        for row in batch.releases:
            self.releases.drop((row[2], row[3]))
        for row in batch.leases:
            self.leases.drop(row[0])
        for row in batch.memos:
            self.memos.drop((row[0], row[1]))

    def renumber(self, first: int) -> int:
        """Give the waiting events new numbers from `first` on; returns the next free one."""
        self.events = deque((first + at, *row[1:]) for at, row in enumerate(self.events))
        return first + len(self.events)


class _Room:
    """What is left of a transaction's bounds: rows of each kind, bytes of all together."""

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        self._most_rows = most_rows
        self._bytes = most_bytes
        self._is_empty = True

    def take(self, rows: Iterable[Row], size_of: Callable[[Row], int]) -> list[Row]:
        taken = []
        for row in islice(rows, self._most_rows):
            size_bytes = size_of(row)
            if size_bytes > self._bytes and not self._is_empty:
                break
            self._bytes -= size_bytes
            self._is_empty = False
            taken.append(row)
        return taken


def _size_bytes(row: Row) -> int:
    return _ROW_OVERHEAD_BYTES + len(row[5] or "") + len(row[6])


def _state_bytes(row: Row | None) -> int:
    if row is None:
        return 0
    return _ROW_OVERHEAD_BYTES + sum(len(value) for value in row if isinstance(value, str))
