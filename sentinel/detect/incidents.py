# SPDX-License-Identifier: Apache-2.0
"""Incidents: opened by the first record of a cause, counted by the counters, closed by quiet.

However many frames, one incident: it is told when it opens, at growing intervals
while it lasts, and when it closes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sentinel.decode import Counters
from sentinel.detect.evidence import add_moment
from sentinel.detect.finding import Finding, Key
from sentinel.detect.pace import Pace
from sentinel.effect import Effect, IncidentKeys, Keep
from sentinel.event import Incident, Kind, Moment

SECOND_NS: Final = 1_000_000_000
QUIET_NS: Final = 60 * SECOND_NS
"""Without a further frame an incident is over."""
_QUIET: Final = f"no further frame for {QUIET_NS // SECOND_NS} s"
_LEFT_OPEN: Final = "the daemon began anew and could not follow it further"

Sample = Mapping[int, tuple[Counters, Counters]]
"""Counters by ifindex, (from the device, to the device)."""


@dataclass(slots=True)
class _Open:
    key: int
    finding: Finding
    incident: Incident
    base: int
    """Offences that the counters had before this incident's first frame."""
    pace: Pace
    is_dirty: bool = False


class IncidentBook:
    """Every open incident, and what the counters had said before them."""

    def __init__(self, keys: IncidentKeys | None = None) -> None:
        """`keys` is shared with whoever else opens incidents."""
        self._keys = IncidentKeys() if keys is None else keys
        self._open: dict[Key, _Open] = {}
        self._settled: dict[tuple[int, int, str], int] = {}
        """Offences in incidents that are over, by (seen at, direction, check)."""

    def __len__(self) -> int:
        return len(self._open)

    def devices(self) -> set[int]:
        """The ifindexes whose counters are needed."""
        return {key[0] for key in self._open}

    def settle(self, ifindex: int, direction: int, check: str, frames: int) -> None:
        """Say how many offences earlier incidents stood for (after a restart)."""
        self._settled[ifindex, direction, check] = frames

    def settled(self, ifindex: int, direction: int, check: str) -> int:
        """How many offences incidents stand for that are over."""
        return self._settled.get((ifindex, direction, check), 0)

    def note(self, finding: Finding, action: str, now_ns: int) -> Iterator[Effect]:
        """Take a finding: opens an incident, or makes the open one's verdict graver."""
        found = self._open.get(finding.key)
        if found is not None:
            graver = _gravity(finding.verdict) > _gravity(found.incident.verdict)
            if graver:
                found.incident = replace(
                    found.incident,
                    action=action,
                    verdict=finding.verdict,
                    summary=finding.summary,
                    evidence=add_moment(found.incident.evidence, _sighting(finding, now_ns)),
                )
                # At once, however long it has been open: it happens twice or thrice in its life.
                yield Keep(found.key, found.incident, Kind.INCIDENT_UPDATED)
            return
        key = self._keys.new()
        incident = Incident(
            id=0,
            check=finding.check,
            detail=finding.detail,
            port=finding.port,
            ifindex=finding.ifindex,
            vm=finding.vm,
            mac=finding.mac,
            opened_wall_ns=now_ns,
            updated_wall_ns=now_ns,
            closed_wall_ns=None,
            frames=1,
            action=action,
            verdict=finding.verdict,
            frame_hex=finding.frame_hex,
            summary=finding.summary,
            uplink=finding.uplink,
            evidence=add_moment((), _sighting(finding, now_ns)),
        )
        base = self._settled.get((finding.key[0], finding.direction, finding.check), 0)
        self._open[finding.key] = _Open(key, finding, incident, base, Pace.opened(now_ns))
        yield Keep(key, incident, Kind.INCIDENT_OPENED)

    def add_evidence(self, ifindex: int, check: str, moment: Moment) -> bool:
        """Add to the time line of the open incident that a port's own program saw.

        False if there is none. It is told and kept with the incident's next update.
        """
        found = self._open.get((ifindex, ifindex, check))
        if found is None:
            return False
        evidence = add_moment(found.incident.evidence, moment)
        found.incident = replace(found.incident, evidence=evidence)
        found.is_dirty = True
        return True

    def count(self, sample: Sample, now_ns: int) -> Iterator[Effect]:
        """Take counters: updates the incidents that grew, closes those that are over."""
        for key, one in list(self._open.items()):
            counters = sample.get(key[0])
            if counters is not None:
                self._grow(one, counters, now_ns)
            if now_ns - one.incident.updated_wall_ns >= QUIET_NS:
                yield from self._close(key, one, now_ns, _QUIET)
            elif one.is_dirty and one.pace.allows(now_ns):
                one.is_dirty = False
                one.pace.told(now_ns)
                yield Keep(one.key, one.incident, Kind.INCIDENT_UPDATED)

    def _grow(self, one: _Open, counters: tuple[Counters, Counters], now_ns: int) -> None:
        finding = one.finding
        frames = counters[finding.direction].offences(finding.check) - one.base
        if frames > one.incident.frames:
            one.incident = replace(one.incident, frames=frames, updated_wall_ns=now_ns)
            one.is_dirty = True

    def current(self) -> list[Incident]:
        """The open incidents as they stand; ids are the journal's business."""
        return [one.incident for one in self._open.values()]

    def flush(self, sample: Sample, now_ns: int) -> Iterator[Effect]:
        """Keep what has grown without telling of it: the daemon stops."""
        for key, one in self._open.items():
            if key[0] in sample:
                self._grow(one, sample[key[0]], now_ns)
            yield Keep(one.key, one.incident, None)

    def device_gone(self, ifindex: int, now_ns: int) -> Iterator[Effect]:
        """The device is gone: its incidents are over, and its counters with it."""
        for key, one in list(self._open.items()):
            if ifindex in key[:2]:
                is_uplink = one.finding.uplink and ifindex == key[0]
                gone = "the uplink is gone" if is_uplink else "the port is gone"
                yield from self._close(key, one, now_ns, gone)
        for settled in [each for each in self._settled if each[0] == ifindex]:
            del self._settled[settled]

    def reopen(self, finding: Finding, incident: Incident, base: int, now_ns: int) -> int:
        """Go on with an incident that an earlier daemon left open; returns its key."""
        key = self._keys.new()
        self._open[finding.key] = _Open(
            key,
            finding,
            replace(incident, updated_wall_ns=now_ns),
            base,
            Pace(now_ns),
            is_dirty=True,
        )
        return key

    def end_kept(self, incident: Incident, now_ns: int) -> Keep:
        """End an incident that an earlier daemon left open and nobody can go on with."""
        ended_ns = max(now_ns, incident.updated_wall_ns)
        end = Moment(ended_ns, incident.port, _LEFT_OPEN)
        ended = replace(
            incident, closed_wall_ns=ended_ns, evidence=add_moment(incident.evidence, end)
        )
        return Keep(self._keys.new(), ended, Kind.INCIDENT_CLOSED)

    def _close(self, key: Key, one: _Open, now_ns: int, why: str) -> Iterator[Effect]:
        del self._open[key]
        settled = (key[0], one.finding.direction, one.finding.check)
        self._settled[settled] = max(self._settled.get(settled, 0), one.base + one.incident.frames)
        end = Moment(now_ns, one.finding.place or one.finding.port, why)
        closed = replace(
            one.incident,
            closed_wall_ns=now_ns,
            evidence=add_moment(one.incident.evidence, end),
        )
        yield Keep(one.key, closed, Kind.INCIDENT_CLOSED)


def _sighting(finding: Finding, now_ns: int) -> Moment:
    return Moment(now_ns, finding.place or finding.port, finding.sight or finding.summary)


def _gravity(verdict: str) -> int:
    return ("passed", "fused", "dropped", "latched").index(verdict) if verdict in (
        "passed", "fused", "dropped", "latched",
    ) else -1  # fmt: skip
