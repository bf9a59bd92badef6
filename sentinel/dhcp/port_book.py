# SPDX-License-Identifier: Apache-2.0
"""The clients behind one port, and what was read of it. Times are CLOCK_MONOTONIC."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentinel.dhcp.claims import ClientKey
from sentinel.dhcp.client import Client
from sentinel.dhcp.drain import Drain, Draining
from sentinel.dhcp.facts import PortFacts
from sentinel.dhcp.verdict import Look


@dataclass(slots=True)
class PortBook:
    """The clients behind one port, oldest news first, and the readings of it."""

    ifindex: int
    name: str
    clients: dict[ClientKey, Client] = field(default_factory=dict)
    drain: Drain = field(default_factory=Drain)
    sent_ns: int = 0
    """When the guest last sent more than housekeeping, by the newest news."""
    missed: int = 0
    """Its messages that were never told, by the newest news."""
    missed_ns: int = 0
    """When that was so."""
    is_cut: bool = False
    doubt_ns: int = 0
    """When the present doubt arose; 0: there is none."""
    read_ns: int = 0
    """When it was read last."""
    wanted_ns: int = 0
    """When it was last asked for a reading."""

    def look(self) -> Look:
        """What was read since the doubt arose."""
        return Look(self.drain.draining, self.read_ns, self.doubt_ns, self.is_cut)

    def see_missed(self, missed: int, time_ns: int) -> None:
        """Take news of how many messages went untold; it may begin anew with the port."""
        if time_ns < self.missed_ns:
            return
        is_first = not self.missed_ns
        self.missed_ns = time_ns
        if missed == self.missed and not is_first:
            return
        self.missed = missed
        for client in self.clients.values():
            client.see_missed(missed)

    def read(self, facts: PortFacts) -> None:
        """Take a reading."""
        self.sent_ns = max(self.sent_ns, facts.sent_ns)
        self.read_ns = max(self.read_ns, facts.time_ns)
        self.is_cut = facts.is_cut
        self.see_missed(facts.missed, facts.time_ns)
        self.drain.add(facts)
        draining = self.drain.draining
        for client in self.clients.values():
            exchange = client.exchange
            if exchange is None:
                continue
            if draining is Draining.STALLED and exchange.is_in_vain and not exchange.is_stalled:
                exchange.is_stalled = client.is_changed = True
            elif draining is Draining.DRAINED and exchange.is_stalled:
                exchange.hear_again()
                client.is_changed = True
