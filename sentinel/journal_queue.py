# SPDX-License-Identifier: Apache-2.0
"""Rows on their way to the disk, in order and bounded; pure.

Everything the journal writes passes through here. While the disk takes it, it
stays no longer than one call; while it does not, the oldest give way to the
newest once there is no more room, and are counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from sentinel.journal_rows import CUT_RELEASED, CUT_RELEASED_BY, Row

MOST_EVENTS: Final = 10_000
MOST_EVENT_BYTES: Final = 8 << 20
MOST_STATES: Final = 4096
"""Of incidents, of quarantines and of releases each."""
_ROW_OVERHEAD_BYTES: Final = 128

_KeyT = TypeVar("_KeyT")

CutKey = tuple[int, int]
"""ifindex and since_wall_ns."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes."""

    events: list[Row]
    incidents: list[Row]
    cuts: list[Row]
    releases: list[Row]

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return len(self.events) + len(self.incidents) + len(self.cuts) + len(self.releases)


@dataclass(slots=True)
class Waiting:
    """The queue: events in order, and the latest state of what changes."""

    events: deque[Row] = field(default_factory=deque)
    incidents: dict[int, Row] = field(default_factory=dict)
    cuts: dict[CutKey, Row] = field(default_factory=dict)
    releases: dict[CutKey, Row] = field(default_factory=dict)
    """Of quarantines that are on the disk: the parameters of RELEASE_QUARANTINE."""
    lost: int = 0
    """How many had no room, ever."""
    _event_bytes: int = 0

    def __len__(self) -> int:
        return len(self.events) + len(self.incidents) + len(self.cuts) + len(self.releases)

    @property
    def has_states(self) -> bool:
        """Whether anything but events waits."""
        return bool(self.incidents or self.cuts or self.releases)

    def add_event(self, row: Row) -> None:
        """Queue an event's row; the oldest goes if there is no room."""
        self.events.append(row)
        self._event_bytes += _size_bytes(row)
        while len(self.events) > MOST_EVENTS or self._event_bytes > MOST_EVENT_BYTES:
            self._event_bytes -= _size_bytes(self.events.popleft())
            self.lost += 1

    def add_incident(self, row: Row) -> None:
        """Queue an incident's row; it replaces an older state of the same incident."""
        self.incidents[row[0]] = row
        self._bound(self.incidents)

    def add_cut(self, row: Row) -> None:
        """Queue a quarantine's row."""
        key = (row[0], row[1])
        self.cuts[key] = row
        self.releases.pop(key, None)
        self._bound(self.cuts)

    def release(self, key: CutKey, released_wall_ns: int, released_by: str) -> None:
        """Queue a quarantine's end, whether its beginning is on the disk or waits here."""
        waiting = self.cuts.get(key)
        if waiting is not None:
            row = list(waiting)
            row[CUT_RELEASED], row[CUT_RELEASED_BY] = released_wall_ns, released_by
            self.cuts[key] = tuple(row)
        else:
            self.releases[key] = (released_wall_ns, released_by, *key)
            self._bound(self.releases)

    def batch(self, most_rows: int, most_bytes: int) -> Batch:
        """The oldest rows, up to both bounds but never none if anything waits."""
        events: list[Row] = []
        room = most_bytes
        for row in islice(self.events, most_rows):
            room -= _size_bytes(row)
            if events and room < 0:
                break
            events.append(row)
        return Batch(
            events,
            list(islice(self.incidents.values(), most_rows)),
            list(islice(self.cuts.values(), most_rows)),
            list(islice(self.releases.values(), most_rows)),
        )

    def done(self, batch: Batch) -> None:
        """Forget what is on the disk now. Nothing may be added since `batch`."""
        for row in batch.events:
            self.events.popleft()
            self._event_bytes -= _size_bytes(row)
        for row in batch.incidents:
            del self.incidents[row[0]]
        for row in batch.cuts:
            del self.cuts[(row[0], row[1])]
        for row in batch.releases:
            del self.releases[(row[2], row[3])]

    def renumber(self, first: int) -> int:
        """Give the waiting events new numbers from `first` on; returns the next free one."""
        self.events = deque((first + at, *row[1:]) for at, row in enumerate(self.events))
        return first + len(self.events)

    def _bound(self, states: dict[_KeyT, Row]) -> None:
        while len(states) > MOST_STATES:
            del states[next(iter(states))]
            self.lost += 1


def _size_bytes(row: Row) -> int:
    return _ROW_OVERHEAD_BYTES + len(row[5] or "") + len(row[6])
