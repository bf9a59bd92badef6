# SPDX-License-Identifier: Apache-2.0
"""Incidents that an earlier daemon left open: claimed by what holds still, or ended."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Final, Generic, TypeVar

from sentinel.detect.evidence import add_moment
from sentinel.effect import Keep
from sentinel.event import Incident, Kind, Moment

UNCLAIMED_NS: Final = 30_000_000_000
"""One that holds no more after this long is over."""

Name = TypeVar("Name", bound=Hashable)


class LeftOpen(Generic[Name]):
    """By name, which is whatever tells a cause from another. Times are wall clock."""

    def __init__(self) -> None:
        self._kept: dict[Name, list[tuple[int, Incident]]] = {}
        self._since_ns = 0

    def take(self, name: Name, key: int, incident: Incident, now_ns: int) -> None:
        """Keep one under the key that it has from now on."""
        self._kept.setdefault(name, []).append((key, incident))
        self._since_ns = now_ns

    def claim(self, name: Name) -> tuple[int, Incident] | None:
        """The one that goes on, with its key; None if there is none of this name."""
        kept = self._kept.get(name)
        return kept.pop() if kept else None

    def end(self, is_meant: Callable[[Name], bool], now_ns: int, why: str) -> Iterator[Keep]:
        """End those whose names are meant."""
        for name in [name for name in self._kept if is_meant(name)]:
            for key, incident in self._kept.pop(name):
                yield ended(key, incident, now_ns, why)

    def end_unclaimed(self, now_ns: int) -> Iterator[Keep]:
        """End all that are left, once whatever holds still has had time to show."""
        if now_ns - self._since_ns >= UNCLAIMED_NS:
            yield from self.end(lambda _: True, now_ns, "it was over when the daemon came back")


def ended(key: int, incident: Incident, now_ns: int, why: str) -> Keep:
    """The end of an incident, told and kept."""
    closed_ns = max(now_ns, incident.updated_wall_ns)
    over = Moment(closed_ns, incident.port, f"over: {why}")
    return Keep(
        key,
        replace(incident, closed_wall_ns=closed_ns, evidence=add_moment(incident.evidence, over)),
        Kind.INCIDENT_CLOSED,
    )
