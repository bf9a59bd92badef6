# SPDX-License-Identifier: Apache-2.0
"""Whether a guest takes what is sent to it, from a few readings of its port.

A tap counts a frame as transmitted when the guest's side reads it. So frames that
passed towards the guest by one reading, and of which none was taken by a later one,
lie in a queue that nobody drains.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sentinel.dhcp.facts import PortFacts

TIME_TO_READ_NS: Final = 800_000_000
"""A guest that has not taken a frame after this long is not merely slow."""


class Draining(StrEnum):
    """What the readings say of the receive queue."""

    UNKNOWN = "unknown"
    DRAINED = "drained"
    STALLED = "stalled"


@dataclass(slots=True)
class Drain:
    """The readings of one port for as long as it is in doubt."""

    draining: Draining = Draining.UNKNOWN
    mark: PortFacts | None = None
    """The reading since which nothing was taken."""
    last: PortFacts | None = None
    _owed_since_ns: int = 0
    """When it was first seen that more had passed since the mark; 0: not yet."""

    def add(self, facts: PortFacts) -> None:
        """Take a reading; one whose queue could not be read says nothing."""
        queue = facts.queue
        if queue is None:
            return
        mark = self.mark.queue if self.mark is not None else None
        self.last = facts
        if mark is None or queue.taken < mark.taken or queue.passed < mark.passed:
            # The first one, or what went backwards: another device's.
            self.mark, self._owed_since_ns = facts, 0
        elif queue.taken > mark.taken:
            self.mark, self._owed_since_ns = facts, 0
            self.draining = Draining.DRAINED
        elif queue.passed > mark.passed:
            self._owed_since_ns = self._owed_since_ns or facts.time_ns
            if facts.time_ns - self._owed_since_ns >= TIME_TO_READ_NS:
                self.draining = Draining.STALLED

    def waiting(self) -> tuple[int, int]:
        """Frames that passed since anything was taken, and how many of them were dropped."""
        if self.mark is None or self.last is None:
            return 0, 0
        first, last = self.mark.queue, self.last.queue
        if first is None or last is None:
            return 0, 0
        dropped = max(0, last.dropped - first.dropped)
        return max(0, last.passed - first.passed - dropped), dropped

    def clear(self) -> None:
        """The doubt is over."""
        self.draining = Draining.UNKNOWN
        self.mark = self.last = None
        self._owed_since_ns = 0
