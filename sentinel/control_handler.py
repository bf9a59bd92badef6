# SPDX-License-Identifier: Apache-2.0
"""What the daemon does for the control socket, and who of it answers a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sentinel.errors import ControlError
from sentinel.protocol import (
    Audit,
    Dhcp,
    Incidents,
    Notices,
    Peer,
    Ping,
    Ports,
    Report,
    Request,
    Show,
    Status,
)


class Handler(Protocol):
    """What the daemon does for the control socket. Results are what orjson can encode.

    RefusedError becomes the answer `refused`, PortGoneError `not_found`, every
    other TapsentinelError `internal` with its message; anything else is logged
    and told as a failure without details.
    """

    async def status(self) -> object:
        """How the guard is doing."""

    async def ports(self) -> object:
        """Every port and uplink with its counters, as a list."""

    async def show(self, name: str) -> object:
        """Everything about one port. Raises PortGoneError for an unknown one."""

    async def dhcp(self, port: str | None) -> object:
        """Every lease, or one port's exchanges. Raises PortGoneError for an unknown one."""

    async def audit(self) -> object:
        """What is wrong with the host's own network."""

    async def incidents(
        self, since_wall_ns: int | None, port: str | None, limit: int, open_only: bool
    ) -> object:
        """At most `limit` incidents, the newest first."""

    async def report(self, report: Report) -> object:
        """Take how the publisher does."""

    async def quarantine(self, port: str, hold_ns: int | None, reason: str, peer: Peer) -> object:
        """Cut a port; None: until released. Once it returns, no frame passes."""

    async def release(self, port: str, reason: str, peer: Peer) -> object:
        """End a port's quarantine."""

    async def reload(self, peer: Peer) -> object:
        """Read the configuration anew. Raises RefusedError if it cannot be taken."""

    async def carried_order(self, message: str, via: str) -> object:
        """Open an order that came over MQTT and carry it out: the document that answers it."""

    async def carried_notice(self, message: str, via: str) -> object:
        """Take another host's notice; says whether, and why not."""

    async def notices(self) -> object:
        """This host's own notices, signed, as a list."""

    async def last_seq(self) -> int:
        """The number of the newest event; 0 if there is none."""

    async def resume(self, ids: Sequence[str]) -> int | None:
        """The number to go on after, for who had these entries; None: none is known."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[Mapping[str, object]]:
        """The events next after a number, in order, each with its number as `seq`."""

    def peer_refused(self, peer: Peer, times: int) -> None:
        """Somebody without a right asked, `times` times since the last such call for it."""


async def view(handler: Handler, request: Request) -> object:
    """What answers a request that changes nothing."""
    match request:
        case Ping():
            return {}
        case Status():
            return await handler.status()
        case Ports():
            return await handler.ports()
        case Show(port=port):
            return await handler.show(port)
        case Dhcp(port=one):
            return await handler.dhcp(one)
        case Audit():
            return await handler.audit()
        case Report():
            return await handler.report(request)
        case Notices():
            return await handler.notices()
        case Incidents(since_wall_ns=since, port=only, limit=limit, open=open_only):
            return await handler.incidents(since, only, limit, open_only)
    raise ControlError(f"no answer is known to {type(request).__name__}")
