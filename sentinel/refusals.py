# SPDX-License-Identifier: Apache-2.0
"""How often refusals of what came over MQTT are told. Pure: the clock is passed in.

Whoever may publish to the broker may have messages refused as often as it likes, and
must not fill the journal with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sentinel.durations import MINUTE_NS

WINDOW_NS: Final = MINUTE_NS
MOST_NAMES: Final = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is to be told: the latest of those that `times` counts."""

    what: str
    """The order, or "notice"."""
    by: str
    """Who it was by, if the signature says so; empty: not known."""
    sender: str
    id: str
    via: str
    port: str | None
    problem: str
    times: int = 1


class Refusals:
    """One refusal per signer and window, the unknown ones together as one signer."""

    def __init__(self) -> None:
        self._opened_ns: dict[str, int] = {}
        self._waiting: dict[str, Refusal] = {}
        self.count = 0
        """Refusals, ever."""

    def note(self, refusal: Refusal, now_ns: int) -> list[Refusal]:
        """Take a refusal: what is to be told of it now."""
        self.count += 1
        name = refusal.by
        if name not in self._opened_ns and len(self._opened_ns) >= MOST_NAMES:
            name = ""
        if name not in self._opened_ns:
            self._opened_ns[name] = now_ns
            return [refusal]
        before = self._waiting.get(name)
        self._waiting[name] = replace(refusal, times=1 if before is None else before.times + 1)
        return []

    def due(self, now_ns: int) -> list[Refusal]:
        """What came in windows that are over by now."""
        told = []
        for name in [name for name, at in self._opened_ns.items() if now_ns - at >= WINDOW_NS]:
            del self._opened_ns[name]
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                told.append(waiting)
                self._opened_ns[name] = now_ns
        return told
