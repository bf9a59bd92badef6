# SPDX-License-Identifier: Apache-2.0
"""What a server granted: addresses, and when a client has to ask for them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sentinel.dhcp.step import INFINITE_NS, Step

MOST_ADDRESSES: Final = 8
"""Of one lease that are remembered; RFC 8415 lets a server give any number."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One grant as it was seen to pass. Times are CLOCK_MONOTONIC; t1 and t2 count from it."""

    addresses: tuple[str, ...]
    family: int
    server: str | None
    server_mac: str | None
    server_address: str | None
    vid: int | None
    acked_ns: int
    lease_ns: int
    """INFINITE_NS: no end."""
    t1_ns: int
    t2_ns: int
    missed: int
    """The port's messages that were never told by then."""

    @property
    def is_infinite(self) -> bool:
        """Whether it never ends."""
        return self.lease_ns >= INFINITE_NS

    @property
    def expires_ns(self) -> int:
        """When it ends."""
        return self.acked_ns + self.lease_ns

    @property
    def renew_ns(self) -> int:
        """When the client should ask its server again (T1)."""
        return self.acked_ns + self.t1_ns

    @property
    def rebind_ns(self) -> int:
        """When the client should ask any server (T2)."""
        return self.acked_ns + self.t2_ns

    @property
    def overdue_ns(self) -> int:
        """When every client has asked for it: some go by half of it, whatever T1 and T2 are."""
        return max(self.rebind_ns, self.acked_ns + self.lease_ns * 5 // 8)

    @property
    def last_renewal_ns(self) -> int:
        """When no client asks its own server any more: some go by 7/8 of it."""
        return max(self.rebind_ns, self.acked_ns + self.lease_ns * 7 // 8)


def lease_of(ack: Step) -> Lease | None:
    """What an acknowledgement grants; None if it grants no time (it answers an inform).

    T1 and T2 where the server left them out, or made no sense: half and 7/8 of the
    lease (RFC 2131 section 4.4.5), half and 4/5 (RFC 8415 section 21.4). A DHCPv6
    server that says infinity for them wants no renewal (RFC 8415 section 14.2).
    """
    if not ack.lease_ns or ack.lease_ns < 0 or not ack.addresses:
        return None
    lease_ns = ack.lease_ns
    t1_ns, t2_ns = ack.t1_ns or 0, ack.t2_ns or 0
    if ack.family == 6 and t1_ns >= INFINITE_NS:
        t1_ns = t2_ns = lease_ns
    if not 0 < t2_ns <= lease_ns:
        t2_ns = lease_ns * 7 // 8 if ack.family == 4 else lease_ns * 4 // 5
        if t1_ns <= lease_ns:
            t2_ns = max(t1_ns, t2_ns)
    if t1_ns <= 0:
        t1_ns = lease_ns // 2
    return Lease(
        addresses=ack.addresses[:MOST_ADDRESSES],
        family=ack.family,
        server=ack.server,
        server_mac=ack.server_mac,
        server_address=ack.server_address,
        vid=ack.vid,
        acked_ns=ack.time_ns,
        lease_ns=lease_ns,
        t1_ns=min(t1_ns, t2_ns),
        t2_ns=t2_ns,
        missed=ack.missed,
    )
