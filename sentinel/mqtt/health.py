# SPDX-License-Identifier: Apache-2.0
"""How the publisher does, as it tells the daemon. Pure: clocks are passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Health:
    """What happened, and since when. Times are wall clock, in ns."""

    broker: str
    state: str = "connecting"
    protocol: str = ""
    connected_since_wall_ns: int | None = None
    disconnected_since_wall_ns: int | None = None
    last_error: str = ""
    last_error_wall_ns: int | None = None
    connects: int = 0
    failures: int = 0
    """Connections that ended, or did not come about."""
    missed: int = 0
    """Entries that were gone from the journal before they could be told."""
    missed_wall_ns: int | None = None
    missed_to_seq: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    """By what they are about; an empty one is none."""

    def connected(self, protocol: str, now_ns: int) -> None:
        """The broker has taken us."""
        self.state, self.protocol = "connected", protocol
        self.connected_since_wall_ns, self.disconnected_since_wall_ns = now_ns, None
        self.connects += 1

    def disconnected(self, why: str, now_ns: int) -> None:
        """The broker is away, or will not have us."""
        if self.state == "connected" or self.disconnected_since_wall_ns is None:
            self.disconnected_since_wall_ns = now_ns
        self.state, self.connected_since_wall_ns = "connecting", None
        self.last_error, self.last_error_wall_ns = why, now_ns
        self.failures += 1

    def skipped(self, from_seq: int, to_seq: int, now_ns: int) -> None:
        """Entries are missing, both ends included; what was said before counts once."""
        if to_seq > self.missed_to_seq:
            self.missed += to_seq - max(from_seq - 1, self.missed_to_seq)
            self.missed_to_seq, self.missed_wall_ns = to_seq, now_ns

    def stopped(self, now_ns: int) -> None:
        """We have been told to stop."""
        self.state, self.connected_since_wall_ns = "stopped", None
        self.disconnected_since_wall_ns = now_ns

    def report(
        self, cursor: str, acknowledged: int, in_flight: int, oldest_in_flight_ns: int
    ) -> dict[str, Any]:
        """The members of `sentinel.protocol.Report`."""
        seq = cursor.rpartition("-")[2]
        return {
            "state": self.state,
            "broker": self.broker,
            "protocol": self.protocol,
            "connected_since_wall_ns": self.connected_since_wall_ns,
            "disconnected_since_wall_ns": self.disconnected_since_wall_ns,
            "last_error": self.last_error,
            "last_error_wall_ns": self.last_error_wall_ns,
            "cursor": cursor,
            "cursor_seq": int(seq) if seq.isdecimal() else 0,
            "acknowledged": acknowledged,
            "in_flight": in_flight,
            "oldest_in_flight_ns": oldest_in_flight_ns,
            "connects": self.connects,
            "failures": self.failures,
            "missed": self.missed,
            "missed_wall_ns": self.missed_wall_ns,
            "problems": [text for text in self.problems.values() if text][:8],
        }
