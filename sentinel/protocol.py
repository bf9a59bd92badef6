# SPDX-License-Identifier: Apache-2.0
"""What may be asked at the control socket: one JSON object a line, by its `op`.

The requests are the types below, validated before anything looks at them; an
unknown member is an error. Answers are in `envelope`. After a `watch` the first
answer says from where, and then every line is one event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from sentinel import envelope
from sentinel.errors import PortGoneError, ProtocolError, RefusedError
from sentinel.signed import MAX_MESSAGE_BYTES

MAX_INCIDENTS = 1000
MAX_REASON_CHARACTERS = 400
MOST_IDS = 16

_LONGEST_PROBLEM_CHARACTERS = 200
_INT64_MAX = 2**63 - 1
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Reason = Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARACTERS)]
_Line = Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARACTERS)]
_Id = Annotated[str, msgspec.Meta(max_length=64)]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)]
_Positive = Annotated[int, msgspec.Meta(ge=1, le=_INT64_MAX)]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel saw it when it connected (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]

    def may_order(self, group_gid: int | None) -> bool:
        """Root, or a member of the group; with no group, root alone."""
        if self.uid == 0:
            return True
        return self._is_in(group_gid)

    def may_look(self, group_gid: int | None, readers_gid: int | None) -> bool:
        """Who may order, or a member of the group of those who only look."""
        return self.may_order(group_gid) or self._is_in(readers_gid)

    def may_carry(self, publisher_uid: int | None) -> bool:
        """Root, or the publisher's own user: who may bring what came over MQTT."""
        return self.uid == 0 or (publisher_uid is not None and self.uid == publisher_uid)

    def _is_in(self, gid: int | None) -> bool:
        return gid is not None and (self.gid == gid or gid in self.groups)


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    pass


class Ping(_Request, frozen=True, tag="ping"):
    """Is anybody there? Answers {}."""


class Status(_Request, frozen=True, tag="status"):
    """How the guard is doing."""


class Ports(_Request, frozen=True, tag="ports"):
    """Every port and uplink with its counters."""


class Show(_Request, frozen=True, tag="show"):
    """Everything about one port."""

    port: _Name


class Dhcp(_Request, frozen=True, tag="dhcp"):
    """Leases as seen on the wire; with a port, the last exchange of each of its clients."""

    port: _Name | None = None


class Audit(_Request, frozen=True, tag="audit"):
    """What is wrong with the host's own network."""


class Incidents(_Request, frozen=True, tag="incidents"):
    """Incidents, the newest first; `since_wall_ns` is nanoseconds since the epoch."""

    since_wall_ns: _Natural | None = None
    port: _Name | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_INCIDENTS)] = 50
    open: bool = False


class Watch(_Request, frozen=True, tag="watch"):
    """Events as they are journaled, from the one after `after`; null: from now on.

    With `ids`, names of entries that the asker has had, the latest first: from the one
    after the first of them that this journal knows; from the oldest if it knows none.
    What was removed before it was read is told, in its place, by one `log.gap`.
    """

    after: _Natural | None = None
    ids: Annotated[tuple[_Id, ...], msgspec.Meta(max_length=MOST_IDS)] | None = None


class Report(_Request, frozen=True, tag="report"):
    """How the publisher does, as it tells itself; `status` shows the latest."""

    state: Literal["connecting", "connected", "stopped"]
    broker: _Line
    protocol: Annotated[str, msgspec.Meta(max_length=16)] = ""
    connected_since_wall_ns: _Natural | None = None
    disconnected_since_wall_ns: _Natural | None = None
    last_error: _Line = ""
    last_error_wall_ns: _Natural | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The name of the last entry that the broker has acknowledged, and all before it."""
    cursor_seq: _Natural = 0
    acknowledged: _Natural = 0
    in_flight: _Natural = 0
    oldest_in_flight_ns: _Natural = 0
    connects: _Natural = 0
    failures: _Natural = 0
    """Connections that ended, or did not come about."""
    missed: _Natural = 0
    """Entries that were gone from the journal before they could be told, since its start."""
    missed_wall_ns: _Natural | None = None
    problems: Annotated[tuple[_Line, ...], msgspec.Meta(max_length=8)] = ()


class Carry(_Request, frozen=True, tag="carry"):
    """A signed message that came over MQTT, as it came; `via` is the broker."""

    what: Literal["order", "notice"]
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_BYTES)]
    via: _Line = ""


class Notices(_Request, frozen=True, tag="notices"):
    """This host's own notices, signed."""


class Quarantine(_Request, frozen=True, tag="quarantine"):
    """Cut a port. `for_ns` null: until released."""

    port: _Name
    for_ns: _Positive | None = None
    reason: _Reason = ""


class Release(_Request, frozen=True, tag="release"):
    """End a port's quarantine."""

    port: _Name
    reason: _Reason = ""


class Reload(_Request, frozen=True, tag="reload"):
    """Read the configuration's file anew, and go by it."""


Order = Quarantine | Release | Reload
Request = (
    Ping
    | Status
    | Ports
    | Show
    | Dhcp
    | Audit
    | Incidents
    | Watch
    | Report
    | Carry
    | Notices
    | Order
)

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def decode_request(line: bytes) -> Request:
    """The request in a line. Raises ProtocolError, with a message fit for the asker."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
        if len(problem) > _LONGEST_PROBLEM_CHARACTERS:
            problem = problem[:_LONGEST_PROBLEM_CHARACTERS] + "…"
        raise ProtocolError(f"not a request: {problem}") from None


def code_of(error: Exception) -> str:
    """The answer's code for an error that a handler raised on purpose."""
    if isinstance(error, PortGoneError):
        return envelope.NOT_FOUND
    if isinstance(error, RefusedError):
        return envelope.REFUSED
    if isinstance(error, ProtocolError):
        return envelope.USAGE
    return envelope.INTERNAL
