# SPDX-License-Identifier: Apache-2.0
"""A ceiling on what goes into the log, per port and per host. Pure: clocks are passed in.

Incidents are one per cause and told at growing intervals, records are gated in the
kernel, refusals at the socket: this is what holds if all of that does not. What is over
the rate is not lost: the latest of each cause and port waits, and says for how many it
stands when it is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sentinel.durations import SECOND_NS
from sentinel.event import Event, Kind

BURST_S: Final = 10
"""So many seconds' worth may come at once."""
MOST_PORTS: Final = 4096
MOST_HELD: Final = 4096
STANDS_FOR: Final = "stands_for"
"""The member of a body that says how many events this one stands for."""
GATED: Final = frozenset(
    {
        Kind.PORT_APPEARED,
        Kind.PORT_GONE,
        Kind.PORT_RENAMED,
        Kind.GUARD_ATTACHED,
        Kind.GUARD_FAILED,
        Kind.INCIDENT_OPENED,
        Kind.INCIDENT_UPDATED,
        Kind.INCIDENT_CLOSED,
        Kind.NOTICE_TAKEN,
    }
)
"""What guests, or who plugs them in, can bring about at any rate. Cuts and orders never wait."""

_Cause = tuple[str, str, object]


@dataclass(slots=True)
class _Bucket:
    left: float
    at_ns: int


class EventGate:
    """Lets events through at a rate; holds the latest of each cause of those beyond it."""

    def __init__(self, per_port_per_s: float, per_host_per_s: float) -> None:
        self.set_rates(per_port_per_s, per_host_per_s)
        self._ports: dict[str, _Bucket] = {}
        self._host: _Bucket | None = None
        self._held: dict[_Cause, tuple[Event, int]] = {}
        self.coalesced = 0
        """Events that others stand for, ever."""

    def set_rates(self, per_port_per_s: float, per_host_per_s: float) -> None:
        """Let events through at other rates from now on; what waits goes on waiting."""
        self._per_port = per_port_per_s
        self._per_host = per_host_per_s

    @property
    def holds(self) -> int:
        """How many wait."""
        return len(self._held)

    def admit(self, events: Iterable[Event], now_ns: int) -> list[Event]:
        """What may be logged now, the longest held first; `now_ns` rises."""
        passed = self._due(now_ns)
        for event in events:
            if event.kind not in GATED:
                passed.append(event)
                continue
            cause = _cause_of(event)
            if cause in self._held or not self._take(event.port or "", now_ns):
                self._hold(cause, event)
            else:
                passed.append(event)
        return passed

    def flush(self) -> list[Event]:
        """All that waits: the end."""
        held, self._held = self._held, {}
        return [_standing(event, times) for event, times in held.values()]

    def _due(self, now_ns: int) -> list[Event]:
        due: list[Event] = []
        for cause in list(self._held):
            if self._host is not None and self._host.left < 1 and self._host.at_ns == now_ns:
                break  # nobody's turn, however many wait
            if self._take(cause[1], now_ns):
                due.append(_standing(*self._held.pop(cause)))
        return due

    def _hold(self, cause: _Cause, event: Event) -> None:
        times = 0
        if cause in self._held:
            times = self._held[cause][1]
            self.coalesced += 1
        elif len(self._held) >= MOST_HELD:
            # No room to tell causes apart: the oldest gives way, and is counted.
            oldest = next(iter(self._held))
            self.coalesced += self._held.pop(oldest)[1]
        self._held[cause] = (event, times + 1)

    def _take(self, port: str, now_ns: int) -> bool:
        if self._host is None:
            self._host = _Bucket(self._per_host * BURST_S, now_ns)
        if port not in self._ports:
            if len(self._ports) >= MOST_PORTS:
                del self._ports[next(iter(self._ports))]
            self._ports[port] = _Bucket(self._per_port * BURST_S, now_ns)
        mine = self._ports[port]
        _fill(self._host, self._per_host, now_ns)
        _fill(mine, self._per_port, now_ns)
        if self._host.left < 1 or mine.left < 1:
            return False
        self._host.left -= 1
        mine.left -= 1
        return True


def _fill(bucket: _Bucket, per_s: float, now_ns: int) -> None:
    gained = max(0, now_ns - bucket.at_ns) * per_s / SECOND_NS
    bucket.left = min(per_s * BURST_S, bucket.left + gained)
    bucket.at_ns = now_ns


def _cause_of(event: Event) -> _Cause:
    """What events have in common that one may stand for: an incident, or a kind and a port."""
    number = event.body.get("id") if event.kind.startswith("incident.") else None
    return (event.kind, event.port or "", number)


def _standing(event: Event, times: int) -> Event:
    return event if times == 1 else replace(event, body={**event.body, STANDS_FOR: times})
