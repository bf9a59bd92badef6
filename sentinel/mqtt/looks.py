# SPDX-License-Identifier: Apache-2.0
"""When to look again: at an interval, and soon after something happened."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

SOONEST_S: Final = 1.0
"""Between two looks, however much happens."""


class Looks:
    """Kinds of events that begin with one of `changing` make another look due."""

    def __init__(self, changing: tuple[str, ...]) -> None:
        self._changing = changing
        self._wake = asyncio.Event()

    def heard(self, kind: str) -> None:
        """An event was told."""
        if kind.startswith(self._changing):
            self._wake.set()

    async def next(self, interval_s: float) -> None:
        """Wait until it is time to look again."""
        await asyncio.sleep(SOONEST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, interval_s - SOONEST_S))
        self._wake.clear()
