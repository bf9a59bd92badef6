# SPDX-License-Identifier: Apache-2.0
"""What came from the broker and went no further: how many, why, and when last. Pure."""

from __future__ import annotations

from typing import Final

from sentinel.durations import MINUTE_NS, SECOND_NS, format_duration

SAID_FOR_NS: Final = 10 * MINUTE_NS
"""So long after the last one it is still worth a look."""


class LeftOutError(Exception):
    """A message that goes no further; says why, in the words of this program alone."""


class LeftOut:
    """Counts by reason, of which there are few: texts of the program, never of a message."""

    def __init__(self, of_what: str) -> None:
        """`of_what` is a plural: orders, notices."""
        self._of_what = of_what
        self._counts: dict[str, int] = {}
        self._last_ns = 0

    @property
    def total(self) -> int:
        """How many, ever."""
        return sum(self._counts.values())

    def add(self, why: str, now_ns: int) -> None:
        """Count one. `now_ns` is monotonic."""
        self._counts[why] = self._counts.get(why, 0) + 1
        self._last_ns = now_ns

    def problem(self, now_ns: int) -> str:
        """What an operator should look at; empty: nothing, or nothing of late."""
        passed_ns = now_ns - self._last_ns
        if not self._counts or passed_ns > SAID_FOR_NS:
            return ""
        most_first = sorted(self._counts.items(), key=lambda one: -one[1])
        reasons = ", ".join(f"{count} {why}" for why, count in most_first)
        ago = format_duration(passed_ns // SECOND_NS * SECOND_NS) if passed_ns >= SECOND_NS else ""
        when = f"{ago} ago" if ago else "just now"
        return f"{self.total} {self._of_what} were left out ({reasons}), the last {when}"
