# SPDX-License-Identifier: Apache-2.0
"""How often an open incident is told of: soon at first, then at growing intervals."""

from __future__ import annotations

from typing import Final

FIRST_UPDATE_NS: Final = 1_000_000_000
LONGEST_UPDATE_NS: Final = 60 * FIRST_UPDATE_NS


class Pace:
    """Of one incident; every interval is twice the one before, up to the longest."""

    __slots__ = ("_interval_ns", "_next_ns")

    def __init__(self, first_ns: int) -> None:
        """`first_ns` is when it may be told of next."""
        self._interval_ns = FIRST_UPDATE_NS
        self._next_ns = first_ns

    @classmethod
    def opened(cls, now_ns: int) -> Pace:
        """Of an incident that is told of just now."""
        return cls(now_ns + FIRST_UPDATE_NS)

    def allows(self, now_ns: int) -> bool:
        """Whether it is time again."""
        return now_ns >= self._next_ns

    def told(self, now_ns: int) -> None:
        """It was told of."""
        self._interval_ns = min(2 * self._interval_ns, LONGEST_UPDATE_NS)
        self._next_ns = now_ns + self._interval_ns
