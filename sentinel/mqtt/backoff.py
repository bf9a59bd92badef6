# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try. Pure: chance is passed in."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 0.5
STEADY_S: Final = 30.0
"""A connection that lasted so long ends a row of failures."""


class Backoff:
    """Doubling pauses with full jitter in their upper half: a thousand hosts do not return as one.

    `most_s` is the longest pause.
    """

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self._failures = 0

    def failed(self, chance: float, lasted_s: float = 0.0) -> float:
        """The pause after a failure, in seconds; `chance` is in [0, 1).

        `lasted_s` is how long the connection held that ended so.
        """
        if lasted_s >= STEADY_S:
            self._failures = 0
        longest_s: float = min(self.most_s, FIRST_S * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return longest_s * (0.5 + chance / 2)
