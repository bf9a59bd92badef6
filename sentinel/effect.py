# SPDX-License-Identifier: Apache-2.0
"""What the engine wants done. Data: the daemon carries it out, in order."""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.event import Event, Incident, Kind, Quarantine


@dataclass(frozen=True, slots=True)
class Shut:
    """Write down who cuts the port and for how long, then shut its latch."""

    quarantine: Quarantine


@dataclass(frozen=True, slots=True)
class Open:
    """Open the port's latch and strike out who cut it."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class Log:
    """Put an event into the journal."""

    event: Event


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep an incident's state; tell of it as `kind`, if there is one.

    `key` names the incident until it has a number.
    """

    key: int
    incident: Incident
    kind: Kind | None


@dataclass(frozen=True, slots=True)
class KeepCut:
    """Keep a quarantine's state."""

    quarantine: Quarantine


@dataclass(frozen=True, slots=True)
class EndCut:
    """Keep a quarantine's end."""

    ifindex: int
    since_wall_ns: int
    released_wall_ns: int
    by: str


Effect = Shut | Open | Log | Keep | KeepCut | EndCut
