# SPDX-License-Identifier: Apache-2.0
"""What the journal holds: events, incidents, quarantines.

All times are nanoseconds since the epoch (wall clock). Whatever a reader of the
log is told is an `Event`; incidents and quarantines are states beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sentinel import event_bodies as bodies
from sentinel.durations import format_duration
from sentinel.event_kinds import Kind as _Kind
from sentinel.vm import VmIdentity

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

Kind = _Kind
Moment = bodies.Moment
_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999."""

VERSION: Final = 1
"""Of what events say: rises when a member changes its meaning or goes."""
LONGEST_TEXT_CHARS: Final = 512
"""Of a reason or a problem in an event; what is longer is cut and ends in "…"."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log, before it has a number."""

    kind: str
    time_ns: int
    port: str | None
    ifindex: int | None
    vm: VmIdentity | None
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Epoch:
    """One opening of a journal: with it, a number is unique for ever and everywhere."""

    id: str
    """Random, in hex."""
    host: str
    """What the host was called then."""


NO_EPOCH: Final = Epoch("0" * 16, "")
"""Of entries that no opening is known for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event with its number. Numbers rise and never repeat; they may leave gaps."""

    seq: int
    event: Event
    epoch: Epoch = NO_EPOCH

    @property
    def id(self) -> str:
        """What names this entry for ever, whatever becomes of the journal."""
        return event_id(self.epoch.id, self.seq)

    def to_dict(self) -> dict[str, Any]:
        """The entry as one flat JSON object, as `watch` tells it."""
        event = self.event
        return {
            "seq": self.seq,
            "kind": str(event.kind),
            "time_ns": event.time_ns,
            "port": event.port,
            "ifindex": event.ifindex,
            "vm": None if event.vm is None else bodies.members(event.vm),
            "body": dict(event.body),
            "id": self.id,
            "host": self.epoch.host,
            "time": rfc3339(event.time_ns),
            "version": VERSION,
        }


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause at one port, however many frames. `id` 0: not yet in the journal."""

    id: int
    check: str
    detail: str
    """What of the check, e.g. "rstp"."""
    port: str
    ifindex: int
    vm: VmIdentity
    mac: str | None
    """Source MAC of the frame."""
    opened_wall_ns: int
    updated_wall_ns: int
    closed_wall_ns: int | None
    frames: int
    """All of them, by the kernel's counters."""
    action: str
    verdict: str
    frame_hex: str
    """First bytes of the first frame seen."""
    summary: str
    """One plain sentence."""
    uplink: bool = False
    """Seen at an uplink; `port` is then the uplink, unless the offender is known."""
    evidence: tuple[Moment, ...] = ()
    """What it rests on, the oldest first; `sentinel.detect.evidence` keeps it bounded."""

    def to_dict(self) -> dict[str, Any]:
        """The incident as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A port that is cut, and until when."""

    port: str
    ifindex: int
    vm: VmIdentity
    cause: str
    """The name of a check, or "order"."""
    reason: str
    uid: int | None
    """Who ordered it; None for a check."""
    since_wall_ns: int
    hold_ns: int | None
    """None: until it is released."""
    until_wall_ns: int | None
    relapses: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The quarantine as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PastCut:
    """A quarantine in retrospect; `released_wall_ns` None: it still holds."""

    cause: str
    since_wall_ns: int
    released_wall_ns: int | None


def clip(text: str) -> str:
    """Text of a bounded length, for what came from outside."""
    return text if len(text) <= LONGEST_TEXT_CHARS else text[: LONGEST_TEXT_CHARS - 1] + "…"


def event_id(epoch: str, seq: int) -> str:
    """What names an entry for ever."""
    return f"{epoch}-{seq}"


def rfc3339(time_ns: int) -> str:
    """A moment in UTC with nanoseconds (RFC 3339 §5.6); what no calendar has is the epoch's."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    if not 0 <= seconds <= _LAST_SECOND:
        seconds = rest_ns = 0
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest_ns:09d}Z"


def port_appeared(
    time_ns: int, port: str, ifindex: int, vm: VmIdentity | None, *, role: str
) -> Event:
    """Tell of a port or an uplink that is there now."""
    return _told(Kind.PORT_APPEARED, time_ns, port, ifindex, vm, bodies.Device(role))


def port_gone(time_ns: int, port: str, ifindex: int, vm: VmIdentity | None, *, role: str) -> Event:
    """Tell of a device that is not there any more."""
    return _told(Kind.PORT_GONE, time_ns, port, ifindex, vm, bodies.Device(role))


def port_renamed(
    time_ns: int, port: str, ifindex: int, vm: VmIdentity | None, *, old_name: str
) -> Event:
    """Tell of a device's new name; `port` is the new one."""
    return _told(Kind.PORT_RENAMED, time_ns, port, ifindex, vm, bodies.Renamed(old_name))


def guard_attached(
    time_ns: int,
    port: str,
    ifindex: int,
    vm: VmIdentity | None,
    *,
    role: str,
    hook: str,
    adopted: bool = False,
) -> Event:
    """Tell that a device's frames are judged from now on; `adopted`: they were already."""
    body = bodies.Attached(role, hook, adopted)
    return _told(Kind.GUARD_ATTACHED, time_ns, port, ifindex, vm, body)


def guard_failed(
    time_ns: int, port: str, ifindex: int, vm: VmIdentity | None, *, role: str, problem: str
) -> Event:
    """Tell that a device's frames are not judged, and why."""
    body = bodies.AttachFailed(role, clip(problem))
    return _told(Kind.GUARD_FAILED, time_ns, port, ifindex, vm, body)


def incident_opened(incident: Incident) -> Event:
    """Tell of an incident's first frame."""
    return _of_incident(Kind.INCIDENT_OPENED, incident.opened_wall_ns, incident)


def incident_updated(incident: Incident) -> Event:
    """Tell how far an incident has got."""
    return _of_incident(Kind.INCIDENT_UPDATED, incident.updated_wall_ns, incident)


def incident_closed(incident: Incident) -> Event:
    """Tell that an incident is over, and how many frames it had."""
    return _of_incident(
        Kind.INCIDENT_CLOSED, incident.closed_wall_ns or incident.updated_wall_ns, incident
    )


def quarantine_set(
    quarantine: Quarantine, *, changed: bool = True, time_ns: int | None = None
) -> Event:
    """Tell of a cut, at its beginning unless `time_ns` says otherwise.

    `changed` False: an order for a port that was cut already.
    """
    message = f"{'cut' if changed else 'stays cut'} by {_whom(quarantine.cause, quarantine.uid)}"
    if quarantine.hold_ns is None:
        message += " until released"
    else:
        message += f" for {format_duration(quarantine.hold_ns)}"
    body = bodies.Cut(*_facts(quarantine), _because(message, quarantine.reason), changed)
    at_ns = quarantine.since_wall_ns if time_ns is None else time_ns
    return _of_quarantine(Kind.QUARANTINE_SET, at_ns, quarantine, body)


def quarantine_released(
    time_ns: int, quarantine: Quarantine, *, by: str, uid: int | None = None, reason: str = ""
) -> Event:
    """Tell of a release; `by` is "order", "hold" or "gone" (the port went away)."""
    how = {
        "hold": "released: the hold is over",
        "gone": "released: the port is gone",
    }.get(by, f"released by {_whom(by, uid)}")
    body = bodies.Released(*_facts(quarantine), _because(how, reason), True, by, uid, clip(reason))
    return _of_quarantine(Kind.QUARANTINE_RELEASED, time_ns, quarantine, body)


def release_idle(
    time_ns: int, port: str, ifindex: int, vm: VmIdentity | None, *, uid: int | None, reason: str
) -> Event:
    """Tell of an order to release a port that was not cut."""
    by = "" if uid is None else f" by uid {uid}"
    message = _because(f"was not cut; release ordered{by}", reason)
    body = bodies.ReleasedIdle(message, "order", uid, clip(reason), False)
    return _told(Kind.QUARANTINE_RELEASED, time_ns, port, ifindex, vm, body)


def quarantine_refused(
    time_ns: int,
    port: str,
    ifindex: int,
    vm: VmIdentity | None,
    *,
    cause: str,
    problem: str,
    quarantined: int,
    limit: int,
) -> Event:
    """Tell of a cut that the fuse forbade."""
    body = bodies.CutRefused(cause, clip(problem), quarantined, limit)
    return _told(Kind.QUARANTINE_REFUSED, time_ns, port, ifindex, vm, body)


def order_refused(
    time_ns: int,
    *,
    order: str,
    uid: int,
    gid: int,
    pid: int,
    problem: str,
    port: str | None = None,
    times: int = 1,
) -> Event:
    """Tell of a peer without the right; `times` is how many refusals this stands for."""
    body = bodies.OrderRefused(clip(order), uid, gid, pid, clip(problem), times)
    return _told(Kind.ORDER_REFUSED, time_ns, port, None, None, body)


def daemon_started(time_ns: int, *, version: str, pid: int, adopted: int) -> Event:
    """Tell of a start; `adopted` is how many devices were guarded already."""
    return _of_host(Kind.DAEMON_STARTED, time_ns, bodies.Started(version, pid, adopted))


def daemon_stopped(time_ns: int, *, reason: str) -> Event:
    """Tell of a stop in good order."""
    return _of_host(Kind.DAEMON_STOPPED, time_ns, bodies.Stopped(clip(reason)))


def journal_damaged(time_ns: int, *, problem: str, aside: str | None, salvaged: int) -> Event:
    """Tell of a journal file that was given up, where it is now and what was saved of it."""
    body = bodies.JournalDamaged(clip(problem), aside, salvaged)
    return _of_host(Kind.JOURNAL_DAMAGED, time_ns, body)


def journal_full(time_ns: int, *, problem: str) -> Event:
    """Tell that entries do not reach the disk from here on."""
    return _of_host(Kind.JOURNAL_FULL, time_ns, bodies.JournalFull(clip(problem)))


def journal_recovered(time_ns: int, *, waited_ns: int, kept: int, lost: int) -> Event:
    """Tell that entries reach the disk again: `kept` had waited, `lost` had no room to."""
    message = f"{kept} entries had waited for the disk and are written, {lost} are lost"
    body = bodies.JournalRecovered(message, waited_ns, kept, lost)
    return _of_host(Kind.JOURNAL_RECOVERED, time_ns, body)


def _whom(cause: str, uid: int | None) -> str:
    if cause != "order":
        return f"the {cause} check"
    return "an order" if uid is None else f"an order of uid {uid}"


def _because(message: str, reason: str) -> str:
    return clip(f"{message}: {reason}" if reason else message)


def _told(
    kind: Kind, time_ns: int, port: str | None, ifindex: int | None, vm: VmIdentity | None,
    body: object,
) -> Event:  # fmt: skip
    return Event(kind, time_ns, port, ifindex, vm, bodies.members(body))


def _of_host(kind: Kind, time_ns: int, body: object) -> Event:
    return _told(kind, time_ns, None, None, None, body)


def _of_incident(kind: Kind, time_ns: int, one: Incident) -> Event:
    body = bodies.IncidentState(
        one.id, one.check, one.detail, one.mac, one.opened_wall_ns, one.updated_wall_ns,
        one.closed_wall_ns, one.frames, one.action, one.verdict, one.frame_hex, one.summary,
        one.uplink, one.evidence,
    )  # fmt: skip
    return _told(kind, time_ns, one.port, one.ifindex, one.vm, body)


def _of_quarantine(kind: Kind, time_ns: int, cut: Quarantine, body: object) -> Event:
    return _told(kind, time_ns, cut.port, cut.ifindex, cut.vm, body)


def _facts(cut: Quarantine) -> tuple[str, str, int | None, int, int | None, int | None, int]:
    """The first members of a body that tells of a quarantine."""
    reason = clip(cut.reason)
    return (
        cut.cause, reason, cut.uid, cut.since_wall_ns, cut.hold_ns, cut.until_wall_ns, cut.relapses
    )  # fmt: skip
