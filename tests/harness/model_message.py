# SPDX-License-Identifier: Apache-2.0
"""Which DHCP messages are told, in plain Python: the rules of docs/counting.md once more.

Time stands still in it, as in the rest of the model. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

ANSWERS_AT_ONE_PLACE = 8
STRANGERS_DEVICES = 16

ExchangeKey = tuple[int, bytes, bytes]
"""(family, transaction, client's MAC)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DHCP message. `counter` is as `ports --json` has it: "dhcp.offer", "dhcp6.solicit"."""

    counter: str
    is_server: bool
    """Only a server sends it."""
    exchange: ExchangeKey | None
    """What it shares with its answers; None: nothing."""


@dataclass(slots=True)
class Talk:
    """Of one device: what was told in the running window, and what was missed."""

    told_in: int = 0
    told_out: int = 0
    missed: int = 0


@dataclass(slots=True)
class Exchange:
    """Who asked, and how many answers were told since."""

    ifindex: int
    at_port: int = 0
    at_uplink: int = 0


class Fate(NamedTuple):
    """What becomes of a message at one hook."""

    counter: str | None
    """ "messages_told", "messages_suppressed", or None: it is of no interest there."""
    port_ifindex: int = 0
    """Of the port whose exchange it belongs to; 0: unknown."""


NO_INTEREST = Fate(None)
SUPPRESSED = Fate("messages_suppressed")


def told(port_ifindex: int) -> Fate:
    """In the ring."""
    return Fate("messages_told", port_ifindex)


@dataclass(slots=True)
class Messages:
    """All that is known of exchanges. `watched` are the ifindexes of ports and uplinks."""

    watched: set[int] = field(default_factory=set)
    exchanges: dict[ExchangeKey, Exchange] = field(default_factory=dict)
    strangers: int = 0
    rate: int = 0
    """Messages of a device and direction in a window."""

    def forget(self) -> None:
        """No exchange is open, and no answer was told that nobody waited for."""
        self.exchanges.clear()
        self.strangers = 0

    def from_guest(self, ifindex: int, talk: Talk, message: Message, *, passed: bool) -> Fate:
        """Everything, at the port's rate; what a client asked and was told opens an exchange."""
        if talk.told_in >= self.rate:
            talk.missed += 1
            return SUPPRESSED
        talk.told_in += 1
        if passed and not message.is_server and message.exchange is not None:
            open_now = self._open(message)
            if open_now is None or open_now.ifindex == ifindex:
                self.exchanges[message.exchange] = Exchange(ifindex)
        return told(ifindex)

    def to_guest(self, ifindex: int, talk: Talk, message: Message) -> Fate:
        """Answers: those that its guest waits for, and a few that nobody does."""
        if not message.is_server:
            return NO_INTEREST
        exchange = self._open(message)
        if exchange is None:
            if talk.told_out >= self.rate:
                return SUPPRESSED
            talk.told_out += 1
            return told(ifindex) if self._stranger() else SUPPRESSED
        if exchange.ifindex != ifindex:
            return NO_INTEREST
        if exchange.at_port >= ANSWERS_AT_ONE_PLACE:
            return SUPPRESSED
        exchange.at_port += 1
        return told(ifindex)

    def to_wire(self, origin_port: int | None, message: Message) -> Fate:
        """What a guest asked and was told at its port; `origin_port` is where it came from."""
        exchange = self._open(message)
        if message.is_server or exchange is None:
            return NO_INTEREST
        if origin_port is not None and origin_port != exchange.ifindex:
            return NO_INTEREST
        return self._at_uplink(exchange)

    def from_wire(self, talk: Talk, message: Message) -> Fate:
        """Answers, also a few that nobody waits for."""
        if not message.is_server:
            return NO_INTEREST
        exchange = self._open(message)
        if exchange is not None:
            return self._at_uplink(exchange)
        if talk.told_in >= self.rate:
            return SUPPRESSED
        talk.told_in += 1
        return told(0) if self._stranger() else SUPPRESSED

    def _open(self, message: Message) -> Exchange | None:
        found = self.exchanges.get(message.exchange) if message.exchange else None
        return found if found is not None and found.ifindex in self.watched else None

    @staticmethod
    def _at_uplink(exchange: Exchange) -> Fate:
        if exchange.at_uplink >= ANSWERS_AT_ONE_PLACE:
            return SUPPRESSED
        exchange.at_uplink += 1
        return told(exchange.ifindex)

    def _stranger(self) -> bool:
        if self.strangers >= STRANGERS_DEVICES * self.rate:
            return False
        self.strangers += 1
        return True
