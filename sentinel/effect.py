# SPDX-License-Identifier: Apache-2.0
"""What the engine wants done. Data: the daemon carries it out, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.event import Event, Incident, Json, Kind, Quarantine


class IncidentKeys:
    """Names for incidents, each given once in a daemon's life.

    Whoever opens incidents takes its keys from the same one: the journal numbers
    them by key.
    """

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> int:
        """A key that was never given before."""
        self._last += 1
        return self._last


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


@dataclass(frozen=True, slots=True)
class KeepLease:
    """Keep the state of a DHCP client; the latest of a key replaces those before.

    `state` is JSON of at most journal_rows.LARGEST_LEASE_BYTES, and is not changed
    after: another thread writes it down.
    """

    key: str
    port: str
    saved_wall_ns: int
    state: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class ForgetLease:
    """Forget the state of a DHCP client."""

    key: str


@dataclass(frozen=True, slots=True)
class KeepMemo:
    """Keep what counts until a moment; the latest of a kind and key replaces those before.

    `state` is JSON of at most journal_rows.LARGEST_MEMO_BYTES, and is not changed after.
    """

    kind: str
    key: str
    until_wall_ns: int
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ForgetMemo:
    """Forget what was kept."""

    kind: str
    key: str


Effect = (
    Shut | Open | Log | Keep | KeepCut | EndCut | KeepLease | ForgetLease | KeepMemo | ForgetMemo
)
