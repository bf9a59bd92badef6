# SPDX-License-Identifier: Apache-2.0
"""What is retained, or told at an interval, beside the events. Pure.

Schemas of these types are in docs/events, made by tools/generate_events.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sentinel.vm import VmIdentity

VERSION: Final = 1
CHANGING: Final = frozenset({"counters", "last_sent_wall_ns", "last_received_wall_ns"})
"""Of a port in `ports --json`: what changes with each frame, and is no state."""


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """Whether a host's publisher is there; `offline` is left behind as its will."""

    version: int
    host: str
    state: Literal["online", "offline"]
    reason: Literal["connected", "stopped", "lost"]
    guard: Literal["up", "down", "unknown"]
    """Whether the daemon answered the publisher; the kernel guards either way."""
    since: str
    """RFC 3339: when it became so; of a will, when the connection was made."""
    program: str
    """The version of the program."""


@dataclass(frozen=True, slots=True)
class PortDocument:
    """A port or an uplink as it is now, without its counters."""

    version: int
    host: str
    name: str
    ifindex: int
    role: str
    state: str
    vm: VmIdentity | None
    mac: str | None = None
    bridge: str | None = None
    mtu_bytes: int | None = None
    trusted_checks: tuple[str, ...] = ()
    quarantine: dict[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class MetricsDocument:
    """A summary: of the guard, of all ports' counters together, of the publisher."""

    version: int
    host: str
    time: str
    program: str
    guard: dict[str, Any]
    fuse: dict[str, Any]
    events: dict[str, Any]
    journal: dict[str, Any]
    totals: dict[str, int]
    publisher: dict[str, Any]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Why an order was not carried out."""

    code: Literal["refused", "not_found", "usage", "internal", "no_daemon"]
    message: str


@dataclass(frozen=True, slots=True)
class AnswerDocument:
    """The answer to an order, with the correlation data of the order; not signed."""

    version: int
    id: str | None
    """The order's own; null: it could not be read."""
    host: str
    time: str
    repeated: bool
    """The order was answered before, and nothing was done again."""
    result: Any = None
    """As the command's `--json` has it."""
    error: AnswerError | None = None


DOCUMENTS: Final[dict[str, tuple[type, str]]] = {
    "status": (StatusDocument, "whether a host's publisher is there"),
    "port": (PortDocument, "a port's state"),
    "metrics": (MetricsDocument, "a summary of a host"),
    "answer": (AnswerDocument, "the answer to an order"),
}

_PORT_MEMBERS: Final = (
    *("name", "ifindex", "role", "state", "vm", "mac", "bridge", "mtu_bytes"),
    *("trusted_checks", "quarantine", "problem"),
)
_SUMMED: Final = ("frames", "bytes", "oversized", "oversized_by_tags", "vlan_tagged", "vlan_nested")
_JOURNAL_MEMBERS: Final = ("ok", "entries", "size_bytes", "pending", "lost", "last_seq")


def port_document(host: str, port: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one of `ports --json`."""
    return {"version": VERSION, "host": host} | {name: port.get(name) for name in _PORT_MEMBERS}


def metrics_document(
    host: str,
    time: str,
    status: Mapping[str, Any],
    ports: Iterable[Mapping[str, Any]],
    publisher: Mapping[str, Any],
) -> dict[str, Any]:
    """The summary of `status --json` and `ports --json`."""
    journal = status.get("journal") or {}
    return {
        "version": VERSION,
        "host": host,
        "time": time,
        "program": str(status.get("version", "")),
        "guard": status.get("guard") or {},
        "fuse": status.get("fuse") or {},
        "events": status.get("events") or {},
        "journal": {name: journal.get(name) for name in _JOURNAL_MEMBERS},
        "totals": totals(ports),
        "publisher": dict(publisher),
        "problems": tuple(status.get("problems") or ()),
    }


def totals(ports: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What the ports' counters come to, by what is sent and received by guests.

    Uplinks are left out: a frame that leaves the host would count twice.
    """
    sums = {
        f"{side}_{name}": 0
        for side in ("from_guest", "to_guest")
        for name in (*_SUMMED, "bpdu", "dhcp", "dropped")
    }
    for port in ports:
        for side, counters in (port.get("counters") or {}).items():
            if f"{side}_frames" not in sums:
                continue
            for name in _SUMMED:
                sums[f"{side}_{name}"] += counters.get(name, 0)
            for name in ("bpdu", "dhcp", "dropped"):
                sums[f"{side}_{name}"] += (counters.get(name) or {}).get("total", 0)
    return sums
