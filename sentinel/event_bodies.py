# SPDX-License-Identifier: Apache-2.0
"""What an event of each kind says beside its time and its port: one type a kind.

The documents in docs/events are made from these types (tools/generate_events.py).
A member may be added; one that is there keeps its name and its meaning, or
`event.VERSION` rises.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

Role = Literal["port", "uplink"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of an incident's time line."""

    time_ns: int
    place: str
    """The device that saw it, or what else says so, e.g. "journal"."""
    text: str


@dataclass(frozen=True, slots=True)
class Device:
    """`port.appeared`, `port.gone`: a device and what it is to the guard."""

    role: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """`port.renamed`: the event's port is the new name."""

    old_name: str


@dataclass(frozen=True, slots=True)
class Attached:
    """`guard.attached`: the device's frames are judged from now on."""

    role: str
    hook: str
    adopted: bool
    """They were judged already: an earlier daemon had attached it."""


@dataclass(frozen=True, slots=True)
class AttachFailed:
    """`guard.failed`: the device's frames are not judged."""

    role: str
    problem: str


@dataclass(frozen=True, slots=True)
class IncidentState:
    """`incident.opened`, `.updated`, `.closed`: one cause at one port, however many frames."""

    id: int
    check: str
    detail: str
    mac: str | None
    opened_wall_ns: int
    updated_wall_ns: int
    closed_wall_ns: int | None
    frames: int
    """All of them by the kernel's counters: for so many this event stands."""
    action: str
    verdict: str
    frame_hex: str
    summary: str
    uplink: bool
    evidence: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """`quarantine.set`: a port is cut."""

    cause: str
    """The name of a check, or "order"."""
    reason: str
    uid: int | None
    since_wall_ns: int
    hold_ns: int | None
    until_wall_ns: int | None
    relapses: int
    message: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Released(Cut):
    """`quarantine.released`: a port is open again; what the cut was stands beside."""

    by: str
    """ "order", "hold" or "gone"."""
    by_uid: int | None
    release_reason: str


@dataclass(frozen=True, slots=True)
class ReleasedIdle:
    """`quarantine.released` by an order for a port that was not cut."""

    message: str
    by: str
    by_uid: int | None
    release_reason: str
    changed: bool


@dataclass(frozen=True, slots=True)
class CutRefused:
    """`quarantine.refused`: the fuse forbade a cut."""

    cause: str
    problem: str
    quarantined: int
    limit: int


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """`order.refused`: somebody without the right asked, `times` times."""

    order: str
    uid: int
    gid: int
    pid: int
    problem: str
    times: int


@dataclass(frozen=True, slots=True)
class CarriedRefused:
    """`order.refused`, `notice.refused`: what came over MQTT and was not taken."""

    order: str
    """What it asked for; "notice" for a notice."""
    id: str
    by: str
    """Whose signature it bears; empty: nobody's who is known."""
    sender: str
    """Who gave it, as the sender tells."""
    via: str
    """The broker."""
    problem: str
    times: int
    """How many this stands for, this one among them."""


@dataclass(frozen=True, slots=True)
class OrderDone:
    """`order.done`: an order over MQTT was carried out."""

    order: str
    id: str
    by: str
    """Whose signature it bears."""
    sender: str
    """Who gave it, as the sender tells."""
    via: str
    """The broker."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class NoticeState:
    """`notice.issued`, `.taken`, `.matched`, `.forgotten`: a guest that a host cut for cause."""

    id: str
    host: str
    """Which one gave notice."""
    uuid: str | None
    macs: tuple[str, ...]
    cause: str
    reason: str
    issued_wall_ns: int
    expires_wall_ns: int
    withdrawn: bool
    action: str
    """What is done where it appears: "count" or "quarantine"; empty: nothing here."""
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """`daemon.started`."""

    version: str
    pid: int
    adopted: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """`daemon.stopped`, in good order."""

    message: str


@dataclass(frozen=True, slots=True)
class JournalDamaged:
    """`journal.damaged`: a file was given up."""

    problem: str
    aside: str | None
    salvaged: int


@dataclass(frozen=True, slots=True)
class JournalFull:
    """`journal.full`: entries do not reach the disk from here on."""

    problem: str


@dataclass(frozen=True, slots=True)
class JournalRecovered:
    """`journal.recovered`: entries reach the disk again."""

    message: str
    waited_ns: int
    kept: int
    lost: int


@dataclass(frozen=True, slots=True)
class LogGap:
    """`log.gap`: entries that the journal no longer has stand here, for who reads by number."""

    message: str
    from_seq: int
    to_seq: int
    """The number of this entry itself."""
    missing: int
    """How many: all numbers from one to the other."""


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """A key of the configuration that has another value; both as the file writes them."""

    key: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """`config.loaded`: which configuration holds from now on, and each check's action in it."""

    message: str
    file: str
    actions: dict[str, str]
    by: str
    """ "order", or "SIGHUP", whose sender nobody knows."""
    uid: int | None
    pid: int | None
    changes: tuple[ConfigChange, ...]
    unlisted: int
    """Changes that are not among `changes`: they were too many."""


@dataclass(frozen=True, slots=True)
class ConfigRefused:
    """`config.refused`: a changed configuration was not taken; the one of before holds."""

    message: str
    file: str
    key: str
    """What is wrong: a key, a line; empty for the file as a whole."""
    problem: str
    by: str
    uid: int | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a body that was too large to be kept, or whose text was damaged."""

    message: str | None = None
    problem: str | None = None
    bytes: int | None = None


BODIES: Final[dict[str, tuple[type, ...]]] = {
    "port.appeared": (Device,),
    "port.gone": (Device,),
    "port.renamed": (Renamed,),
    "guard.attached": (Attached,),
    "guard.failed": (AttachFailed,),
    "incident.opened": (IncidentState,),
    "incident.updated": (IncidentState,),
    "incident.closed": (IncidentState,),
    "quarantine.set": (Cut,),
    "quarantine.released": (Released, ReleasedIdle),
    "quarantine.refused": (CutRefused,),
    "order.refused": (OrderRefused, CarriedRefused),
    "order.done": (OrderDone,),
    "notice.issued": (NoticeState,),
    "notice.taken": (NoticeState,),
    "notice.refused": (CarriedRefused,),
    "notice.matched": (NoticeState,),
    "notice.forgotten": (NoticeState,),
    "daemon.started": (Started,),
    "daemon.stopped": (Stopped,),
    "journal.damaged": (JournalDamaged,),
    "journal.full": (JournalFull,),
    "journal.recovered": (JournalRecovered,),
    "log.gap": (LogGap,),
    "config.loaded": (ConfigLoaded,),
    "config.refused": (ConfigRefused,),
}
"""By kind, what its body may be."""

_NAMES: Final[dict[type, tuple[str, ...]]] = {}


def members(body: object) -> dict[str, Any]:
    """A body as a JSON object, its members in the order of its type."""
    kind = type(body)
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
    return {name: _plain(getattr(body, name)) for name in names}


def _plain(value: object) -> object:
    if isinstance(value, Moment | ConfigChange):
        return members(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
