# SPDX-License-Identifier: Apache-2.0
"""Findings into incidents: one per rule and device, opened, updated, closed.

What the configuration shows is over when the configuration is right. What only frames
show comes and goes with them: such an incident stays open for LINGER_NS more, so that a
sender that tries once a minute is one incident and not many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sentinel.audit import rule_losses, rule_uplink
from sentinel.audit.accepted import is_accepted
from sentinel.audit.finding import AuditFinding, Severity
from sentinel.detect.evidence import add_moment, bounded
from sentinel.detect.left_open import LeftOpen, ended
from sentinel.detect.pace import Pace
from sentinel.effect import Effect, Keep
from sentinel.event import Incident, Kind, Moment

CHECK: Final = "audit"
SECOND_NS: Final = 1_000_000_000
LINGER_NS: Final = 60 * SECOND_NS
MOST_OPEN: Final = 256

_BY_FRAMES_ALONE: Final = frozenset({rule_uplink.RULE, rule_losses.RULE})
_SEVERITY_SAID: Final = {
    Severity.CRITICAL: "critical from here on: frames are being lost",
    Severity.WARNING: "a warning from here on",
    Severity.NOTICE: "only good to know from here on",
}
_OVER: Final = {
    "vlan-on-vlan": "it is not stacked on another VLAN any more",
    "lower-mtu": "it carries what is above it",
    "bridge-mtu": "its members have MTUs that agree",
    "host-stp": "it speaks no spanning tree to the wire any more",
    "forwards-bpdu": "it forwards BPDUs no more",
    "uplink-oversized": "no more frames that are too large left by it",
    "losses": "no more frames were lost at it",
}

_Key = tuple[str, str]
"""(rule, device's name): what a finding's id is made of."""


@dataclass(slots=True)
class _Open:
    key: int
    incident: Incident
    severity: Severity | None
    """None: of an earlier daemon, which did not keep it."""
    repair: str
    held_wall_ns: int
    """When it was last found."""
    pace: Pace
    turns: tuple[Moment, ...] = field(default=())
    """When its severity changed."""

    def is_due(self, finding: AuditFinding, now_ns: int) -> bool:
        """Whether there is something new, and it is time to tell it."""
        if self.severity is not None and finding.severity is not self.severity:
            return True
        has_more = finding.frames > self.incident.frames or finding.repair != self.repair
        return has_more and self.pace.allows(now_ns)


class AuditIncidents:
    """The open incidents of the audit. Times are wall clock."""

    def __init__(self, next_key: Callable[[], int], accepted: Sequence[str] = ()) -> None:
        """`next_key` gives numbers that no other incident has; `accepted` are patterns of ids."""
        self._next_key = next_key
        self._accepted = tuple(accepted)
        self._open: dict[_Key, _Open] = {}
        self._left_open: LeftOpen[_Key] = LeftOpen()
        self._beyond = 0

    def __len__(self) -> int:
        return len(self._open)

    def accept(self, accepted: Sequence[str]) -> None:
        """Go by other patterns of ids from the next findings on."""
        self._accepted = tuple(accepted)

    @property
    def beyond(self) -> int:
        """How many findings had no room for an incident of theirs the last time."""
        return self._beyond

    def left_open(self, incident: Incident, now_wall_ns: int) -> int:
        """Take an incident that an earlier daemon left open; returns its key from now on."""
        key = self._next_key()
        self._left_open.take((incident.detail, incident.port), key, incident, now_wall_ns)
        return key

    def settle(self, findings: Sequence[AuditFinding], now_wall_ns: int) -> Iterator[Effect]:
        """Make the open incidents what the findings of this moment say. The gravest come first."""
        holding = {
            (one.rule, one.device): one
            for one in findings
            if one.opens_incident and not is_accepted(one.id, self._accepted)
        }
        for key in [key for key in self._open if key not in holding]:
            if not self._lingers(key, now_wall_ns):
                yield from self._close(key, now_wall_ns)
        self._beyond = 0
        for key, finding in holding.items():
            if key in self._open:
                yield from self._update(self._open[key], finding, now_wall_ns)
            elif (left := self._left_open.claim(key)) is not None:
                yield self._go_on(key, *left, finding, now_wall_ns)
            elif len(self._open) < MOST_OPEN:
                yield from self._begin(key, finding, now_wall_ns)
            else:
                self._beyond += 1
        yield from self._left_open.end_unclaimed(now_wall_ns)

    def flush(self) -> Iterator[Effect]:
        """Keep what is open without telling of it: the daemon stops."""
        for one in self._open.values():
            yield Keep(one.key, one.incident, None)

    def _lingers(self, key: _Key, now_ns: int) -> bool:
        waited_ns = now_ns - self._open[key].held_wall_ns
        return key[0] in _BY_FRAMES_ALONE and 0 <= waited_ns < LINGER_NS

    def _begin(self, key: _Key, finding: AuditFinding, now_ns: int) -> Iterator[Effect]:
        incident = Incident(
            id=0,
            check=CHECK,
            detail=finding.rule,
            port=finding.device,
            ifindex=finding.ifindex,
            vm=finding.vm,
            mac=None,
            opened_wall_ns=now_ns,
            updated_wall_ns=now_ns,
            closed_wall_ns=None,
            frames=finding.frames,
            action="count",
            verdict="passed",
            frame_hex="",
            summary=summary(finding),
            evidence=_time_line(finding, ()),
        )
        number = self._next_key()
        self._open[key] = _Open(
            number,
            incident,
            finding.severity,
            finding.repair,
            now_ns,
            Pace.opened(now_ns),
        )
        yield Keep(number, incident, Kind.INCIDENT_OPENED)

    def _update(self, one: _Open, finding: AuditFinding, now_ns: int) -> Iterator[Effect]:
        one.held_wall_ns = now_ns
        if not one.is_due(finding, now_ns):
            # What is known of the severity now is what a change is measured against.
            one.severity = finding.severity
            return
        if one.severity is not None and finding.severity is not one.severity:
            turn = Moment(now_ns, finding.device, _SEVERITY_SAID[finding.severity])
            one.turns = add_moment(one.turns, turn)
        one.incident = replace(
            one.incident,
            ifindex=finding.ifindex,
            vm=finding.vm,
            frames=max(finding.frames, one.incident.frames),
            summary=summary(finding),
            evidence=_time_line(finding, one.turns),
            updated_wall_ns=now_ns,
        )
        one.severity, one.repair = finding.severity, finding.repair
        one.pace.told(now_ns)
        yield Keep(one.key, one.incident, Kind.INCIDENT_UPDATED)

    def _go_on(
        self, key: _Key, number: int, incident: Incident, finding: AuditFinding, now_ns: int
    ) -> Keep:
        """It holds still: what was said of it stands until there is more to say."""
        incident = replace(incident, ifindex=finding.ifindex, updated_wall_ns=now_ns)
        self._open[key] = _Open(
            number,
            incident,
            None,
            finding.repair,
            now_ns,
            Pace.opened(now_ns),
        )
        return Keep(number, incident, None)

    def _close(self, key: _Key, now_ns: int) -> Iterator[Effect]:
        one = self._open.pop(key)
        yield ended(one.key, one.incident, now_ns, _OVER.get(key[0], "it is not so any more"))


def summary(finding: AuditFinding) -> str:
    """What is so and what to change, as an incident says it."""
    return f"{finding.what} {finding.repair}"


def _time_line(finding: AuditFinding, turns: tuple[Moment, ...]) -> tuple[Moment, ...]:
    return bounded(sorted((*finding.evidence, *turns), key=lambda moment: moment.time_ns))
