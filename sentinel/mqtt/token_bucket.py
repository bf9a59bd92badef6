# SPDX-License-Identifier: Apache-2.0
"""A rate with a burst. Pure: clocks are passed in."""

from __future__ import annotations

from sentinel.durations import SECOND_NS


class TokenBucket:
    """So many a second in the long run, and `burst` of them at once."""

    __slots__ = ("_at_ns", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = self._left = burst
        self._at_ns = 0

    def allows(self, now_ns: int) -> bool:
        """Take one, if there is one. `now_ns` is monotonic."""
        passed_ns = max(0, now_ns - self._at_ns)
        self._at_ns = now_ns
        self._left = min(self._burst, self._left + passed_ns * self._per_s / SECOND_NS)
        if self._left < 1:
            return False
        self._left -= 1
        return True
