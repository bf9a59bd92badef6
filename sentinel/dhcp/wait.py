# SPDX-License-Identifier: Apache-2.0
"""Questions that no answer has come to. Times are CLOCK_MONOTONIC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Wait:
    """One kind of question since its last answer.

    What is `sure` counts from the last time when a message of the port went untold
    or was cut by this guard: only that no untold answer can refute.
    """

    asked: int = 0
    since_ns: int = 0
    last_ns: int = 0
    sure: int = 0
    sure_since_ns: int = 0
    lost: int = 0
    """Answers that were at an uplink and never came to the port."""
    lost_since_ns: int = 0
    lost_rounds: int = 0
    """Questions whose answers that befell; for sure."""
    lost_of_ns: int = 0
    """When the newest of them was asked."""

    def ask(self, time_ns: int) -> None:
        """One question more."""
        if not self.asked:
            self.since_ns = time_ns
        if not self.sure:
            self.sure_since_ns = time_ns
        self.asked += 1
        self.sure += 1
        self.last_ns = time_ns

    def lose(self, time_ns: int, asked_ns: int) -> None:
        """An answer, seen at an uplink at the first time, did not come to the port."""
        if not self.asked:
            # Another answer to the same question has come: none is missing.
            return
        if not self.lost:
            self.lost_since_ns = time_ns
        self.lost += 1
        if self.lost_of_ns != asked_ns:
            # Several servers may answer one question.
            self.lost_of_ns = asked_ns
            self.lost_rounds += 1

    def doubt(self) -> None:
        """What was counted so far may have been answered unseen."""
        self.sure = self.lost_rounds = 0

    def clear(self) -> None:
        """An answer has come."""
        self.asked = self.sure = self.lost = self.lost_rounds = 0
        self.lost_of_ns = 0
