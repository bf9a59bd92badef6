# SPDX-License-Identifier: Apache-2.0
"""How often refusals of what came over MQTT are told. Pure: the clock is passed in.

Whoever may publish to the broker may have messages refused as often as it likes, and
must not fill the journal with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sentinel.durations import MINUTE_NS
from sentinel.window_gate import WindowGate

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
        self._gate: WindowGate[str, Refusal] = WindowGate(WINDOW_NS, MOST_NAMES, "")
        self.count = 0
        """Refusals, ever."""

    def note(self, refusal: Refusal, now_ns: int) -> list[Refusal]:
        """Take a refusal: what is to be told of it now."""
        self.count += 1
        is_told = self._gate.note(self._gate.key_of(refusal.by), refusal, now_ns)
        return [refusal] if is_told else []

    def due(self, now_ns: int) -> list[Refusal]:
        """What came in windows that are over by now."""
        return [replace(refusal, times=times) for refusal, times in self._gate.due(now_ns)]
