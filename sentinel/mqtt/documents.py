# SPDX-License-Identifier: Apache-2.0
"""What is retained, or told at an interval, beside the events. Pure.

Schemas of these types are in docs/events, made by tools/generate_events.py.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    reason: Literal["connected", "stopped", "reconnecting", "lost"]
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
    """A summary in numbers: the guard, all ports' counters together, journal and publisher."""

    version: int
    host: str
    time: str
    program: str
    metrics: dict[str, float]
    """By name, `tapsentinel_…`; docs/events.md has them."""
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


def port_document(host: str, port: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one of `ports --json`."""
    return {"version": VERSION, "host": host} | {name: port.get(name) for name in _PORT_MEMBERS}
