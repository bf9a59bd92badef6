# SPDX-License-Identifier: Apache-2.0
"""How much was lost lately, and how much long ago: rows of losses only ever grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sentinel.traffic import LossSeen

LATELY_NS: Final = 60_000_000_000
STEP_NS: Final = 5_000_000_000

_Key = tuple[int, int, str, str]


class LossWindow:
    """Remembers the rows of the last minute. What was there at the first look is old."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, dict[_Key, int]]] = deque()

    def take(self, rows: Iterable[LossSeen], now_ns: int) -> list[LossSeen]:
        """The same rows, each with the frames it had a minute ago."""
        found = list(rows)
        frames = {_key(row): row.frames for row in found}
        if not self._looks or now_ns - self._looks[-1][0] >= STEP_NS:
            self._looks.append((now_ns, frames))
        while len(self._looks) > 1 and now_ns - self._looks[1][0] >= LATELY_NS:
            self._looks.popleft()
        before = self._looks[0][1]
        # A row that has become smaller was deleted and began anew.
        return [
            replace(row, frames_before=known)
            if (known := before.get(_key(row), 0)) <= row.frames
            else row
            for row in found
        ]


def _key(row: LossSeen) -> _Key:
    return row.from_ifindex, row.at_ifindex, row.reason, row.symbol
