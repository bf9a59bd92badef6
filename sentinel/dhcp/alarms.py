# SPDX-License-Identifier: Apache-2.0
"""When to look at whom again: so that a second costs what happens in it, not what is known."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

_Who = TypeVar("_Who", bound=Hashable)


class Alarms(Generic[_Who]):
    """At most one alarm for each; one that is overtaken is left in the heap and passed over."""

    def __init__(self) -> None:
        self._set: dict[_Who, int] = {}
        self._heap: list[tuple[int, int, _Who]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._set)

    def set(self, who: _Who, at_ns: int) -> None:
        """Wake at that time, or at the earlier one that was set before."""
        before_ns = self._set.get(who)
        if before_ns is not None and before_ns <= at_ns:
            return
        self._set[who] = at_ns
        # The count keeps the order of those at the same time; they need not be comparable.
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, who))
        if len(self._heap) > 2 * len(self._set) + 64:
            self._rebuild()

    def drop(self, who: _Who) -> None:
        """Wake it no more."""
        self._set.pop(who, None)

    def due(self, now_ns: int) -> list[_Who]:
        """Those whose time has come, the earliest first; they have no alarm any more."""
        due = []
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, _, who = heapq.heappop(self._heap)
            if self._set.get(who) == at_ns:
                del self._set[who]
                due.append(who)
        return due

    def _rebuild(self) -> None:
        self._heap = [one for one in self._heap if self._set.get(one[2]) == one[0]]
        heapq.heapify(self._heap)
