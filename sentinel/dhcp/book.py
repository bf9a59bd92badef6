# SPDX-License-Identifier: Apache-2.0
"""Every client behind every port, bounded, and what is known of their ports.

Only those are looked at once a second that something happens to, or whose time has
come. Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sentinel import abi
from sentinel.dhcp.alarms import Alarms
from sentinel.dhcp.claims import Claims, ClientKey, Whereabouts
from sentinel.dhcp.client import SECOND_NS, Client
from sentinel.dhcp.drain import Draining
from sentinel.dhcp.facts import PortFacts
from sentinel.dhcp.lease import Lease
from sentinel.dhcp.port_book import PortBook
from sentinel.dhcp.step import OF_CLIENT, Act, Step
from sentinel.dhcp.verdict import (
    UNDECIDED_NS,
    Look,
    Rival,
    Trouble,
    find_troubles,
    is_doubtful,
)

MOST_OF_PORT: Final = 32
"""Clients remembered behind one port: a guest that makes them up forgets its own."""
MOST_CLIENTS: Final = 8192
CLOSE_LOOK_NS: Final = 15 * SECOND_NS
CLOSE_EVERY_NS: Final = 900_000_000
FAR_EVERY_NS: Final = 9_900_000_000
"""A port in doubt is read every second at first, and every ten later."""
MOST_WANTED: Final = 64
"""Ports at once: when a server is down, all of them are in doubt."""
_BEGINNINGS: Final = frozenset({Act.FIND, Act.TAKE, Act.REBOOT})


class LeaseBook:
    """Who holds which address, as far as it was seen."""

    def __init__(self) -> None:
        self._ports: dict[int, PortBook] = {}
        self._claims = Claims()
        self._count = 0
        self._awake: dict[Whereabouts, None] = {}
        """Clients that something happened to, or that something is wrong with."""
        self._alarms: Alarms[Whereabouts] = Alarms()
        """When time alone changes something for the others."""
        self._doubted: set[int] = set()
        self._urgent: set[int] = set()
        self._touched: set[int] = set()
        self.forgotten = 0
        """Clients that were forgotten for want of room."""

    def __len__(self) -> int:
        return self._count

    def ports(self) -> Iterator[PortBook]:
        """Every port with clients."""
        yield from self._ports.values()

    def port(self, ifindex: int) -> PortBook | None:
        """One port's clients; None: it has none."""
        return self._ports.get(ifindex)

    def take(self, step: Step, port_name: str) -> None:
        """Take a message of a watched port."""
        begins = step.role == "port" and step.direction == abi.TAP_IN and step.act in OF_CLIENT
        port = self._ports.get(step.port_ifindex)
        if port is None:
            if not begins:
                return
            port = PortBook(step.port_ifindex, port_name, missed=step.missed)
            self._ports[step.port_ifindex] = port
        port.see_missed(step.missed, step.time_ns)
        client = self._client(port, step) if begins else port.clients.get(_key(step))
        if client is None:
            return
        port.name = port_name
        # The newest news last.
        key = _key(step)
        port.clients[key] = port.clients.pop(key, client)
        before = client.lease
        client.take(step)
        if begins:
            port.sent_ns = max(port.sent_ns, step.sent_ns)
            if client.exchange is not None and is_doubtful(client, step.time_ns):
                self._urgent.add(port.ifindex)
        self._wake(client)
        if client.lease is not before:
            self._claim(client, before)
            if step.act is Act.ACK:
                self._supersede(port, client)

    def _client(self, port: PortBook, step: Step) -> Client:
        key = _key(step)
        client = port.clients.get(key)
        if client is None:
            self._make_room(port)
            client = Client(
                port.ifindex, step.family, key[1], step.mac,
                first_ns=step.time_ns, missed=port.missed,
            )  # fmt: skip
            port.clients[key] = client
            self._count += 1
        return client

    def read(self, facts: PortFacts) -> None:
        """Take a reading that was wanted."""
        port = self._ports.get(facts.ifindex)
        if port is not None:
            port.read(facts)

    def tick(self, now_ns: int) -> None:
        """Let time pass for everybody whom it changes something for."""
        for who in self._alarms.due(now_ns):
            self._awake[who] = None
        doubted = set()
        for port, client in self._present(self._awake):
            if client.exchange is not None and client.exchange.arrivals:
                client.exchange.give_up_arrivals(now_ns)
                client.is_changed = True
            client.forget_old_loss(now_ns)
            # What was read while a lease ran out is told of with its loss.
            was_doubtful = is_doubtful(client, now_ns)
            self._pass_time(port, client, now_ns)
            if client.is_changed:
                self._touched.add(port.ifindex)
            if was_doubtful or is_doubtful(client, now_ns):
                doubted.add(port.ifindex)
        for ifindex in doubted:
            self._doubt(ifindex, now_ns)
        for ifindex in self._doubted - doubted:
            port = self._ports[ifindex]
            port.doubt_ns = 0
            port.drain.clear()
        self._doubted = doubted

    def _doubt(self, ifindex: int, now_ns: int) -> None:
        self._doubted.add(ifindex)
        port = self._ports[ifindex]
        port.doubt_ns = port.doubt_ns or now_ns

    def _pass_time(self, port: PortBook, client: Client, now_ns: int) -> None:
        before = client.lease
        settle_ns = client.settle_ns()
        if settle_ns is not None and now_ns >= settle_ns and client.has_settled():
            client.settle()
        lease = client.lease
        if client.is_deaf():
            client.lose(now_ns, is_cut=port.is_cut)
        elif lease is not None and client.is_expired(now_ns):
            if client.granted is not None and client.has_settled():
                client.settle()
            elif _is_decided(port.look(), lease.expires_ns, now_ns):
                client.lose(now_ns, is_cut=port.is_cut)
        self._claim(client, before)

    def troubles(self, now_ns: int) -> list[tuple[PortBook, list[Trouble]]]:
        """What is wrong at each port where anything is; who is well goes to sleep."""
        found: dict[int, list[Trouble]] = {}
        asleep = []
        for port, client in self._present(self._awake):
            troubles = find_troubles(client, port.look(), now_ns, self._rival(client))
            if troubles:
                found.setdefault(port.ifindex, []).extend(troubles)
            elif not is_doubtful(client, now_ns) and not (
                client.exchange is not None and client.exchange.arrivals
            ):
                asleep.append(client)
        for client in asleep:
            who = _where(client)
            self._awake.pop(who, None)
            due_ns = client.due_ns()
            if due_ns is not None:
                self._alarms.set(who, due_ns)
        return [(self._ports[ifindex], troubles) for ifindex, troubles in found.items()]

    def troubles_of(self, port: PortBook, now_ns: int) -> list[Trouble]:
        """What is wrong at one port."""
        return [
            trouble
            for client in port.clients.values()
            for trouble in find_troubles(client, port.look(), now_ns, self._rival(client))
        ]

    def wanted(self, now_ns: int) -> list[int]:
        """The ports to read now, because a doubt about them lasts."""
        for ifindex in self._urgent & self._ports.keys():
            self._doubt(ifindex, now_ns)
        due = []
        for ifindex in self._doubted:
            port = self._ports[ifindex]
            is_close = ifindex in self._urgent or now_ns - port.doubt_ns < CLOSE_LOOK_NS
            if now_ns - port.wanted_ns >= (CLOSE_EVERY_NS if is_close else FAR_EVERY_NS):
                due.append((ifindex not in self._urgent, port.wanted_ns, ifindex))
        wanted = [ifindex for _, _, ifindex in sorted(due)[:MOST_WANTED]]
        for ifindex in wanted:
            self._ports[ifindex].wanted_ns = now_ns
        self._urgent.difference_update(wanted)
        return wanted

    def touched(self) -> set[int]:
        """The ports where anything changed since this was asked last."""
        touched, self._touched = self._touched, set()
        return touched

    # Ports come and go.

    def rename(self, ifindex: int, name: str) -> None:
        """The port has another name."""
        port = self._ports.get(ifindex)
        if port is not None:
            port.name = name
            self._touched.add(ifindex)
            for client in port.clients.values():
                client.is_changed = True

    def forget_port(self, ifindex: int) -> None:
        """The port is gone, and its clients with it."""
        port = self._ports.get(ifindex)
        if port is None:
            return
        for client in [*port.clients.values()]:
            self._remove(port, client)
        del self._ports[ifindex]
        for noted in (self._doubted, self._urgent, self._touched):
            noted.discard(ifindex)

    def restore(self, port_name: str, client: Client) -> bool:
        """Put back a client that an earlier daemon kept; False: there is no room for it."""
        key = (client.family, client.key)
        port = self._ports.get(client.ifindex)
        if port is None:
            port = PortBook(client.ifindex, port_name, missed=client.missed)
        if key in port.clients:
            return True
        if len(port.clients) >= MOST_OF_PORT or self._count >= MOST_CLIENTS:
            return False
        self._ports[client.ifindex] = port
        port.clients[key] = client
        self._count += 1
        self._claim(client, None)
        self._wake(client)
        return True

    def _present(self, awake: Iterable[Whereabouts]) -> list[tuple[PortBook, Client]]:
        return [(self._ports[ifindex], self._ports[ifindex].clients[key]) for ifindex, key in awake]

    def _wake(self, client: Client) -> None:
        self._awake[_where(client)] = None
        self._touched.add(client.ifindex)

    def _make_room(self, port: PortBook) -> None:
        if len(port.clients) >= MOST_OF_PORT:
            self._drop(port)
        if self._count < MOST_CLIENTS:
            return
        # Who has more than a fair share forgets its own; the others take from the richest.
        share = MOST_CLIENTS // len(self._ports)
        richest = port
        if len(port.clients) <= share:
            richest = max(self._ports.values(), key=lambda each: len(each.clients))
        self._drop(richest)

    def _drop(self, port: PortBook) -> None:
        """Forget the oldest client without a lease, or else the oldest."""
        client = min(
            port.clients.values(),
            key=lambda each: (each.lease is not None or each.granted is not None, each.last_ns),
        )
        self._remove(port, client)
        self._touched.add(port.ifindex)
        self.forgotten += 1

    def _remove(self, port: PortBook, client: Client) -> None:
        who = _where(client)
        del port.clients[who[1]]
        self._count -= 1
        self._awake.pop(who, None)
        self._alarms.drop(who)
        self._claims.change(who, client.lease, None)

    # Who else holds an address.

    def _claim(self, client: Client, before: Lease | None) -> None:
        """Note what a client holds now; whoever holds the same is in trouble with it."""
        if client.lease is before:
            return
        who = _where(client)
        self._claims.change(who, before, client.lease)
        for other in self._claims.others(who, client.lease):
            self._awake[other] = None

    def _supersede(self, port: PortBook, client: Client) -> None:
        """One interface has one client at a time, whatever it calls itself.

        A boot loader and the system it loads have a DUID each (DHCPv6); a guest that
        changes its MAC keeps its client identifier, and with it the address.
        """
        exchange = client.exchange
        first = next(iter(exchange.sights), None) if exchange is not None else None
        if exchange is None or first is None or first.act not in _BEGINNINGS:
            return
        for other in port.clients.values():
            if other is client or other.lease is None or other.family != client.family:
                continue
            is_same = other.mac == client.mac or (
                other.client_id is not None
                and other.client_id == client.client_id
                and client.lease is not None
                and not set(client.lease.addresses).isdisjoint(other.lease.addresses)
            )
            if is_same and other.last_ns < exchange.started_ns:
                before = other.lease
                other.supersede()
                self._claim(other, before)
                self._wake(other)

    def _rival(self, client: Client) -> Rival | None:
        """Another client to whom the same server leased the same address."""
        lease = client.lease
        if lease is None:
            return None
        for ifindex, key in self._claims.others(_where(client), lease):
            port = self._ports[ifindex]
            other = port.clients[key]
            # The same MAC elsewhere is the same guest that moved.
            if other.mac == client.mac or other.lease is None:
                continue
            # Where messages went untold, a lease may have been given back.
            if (
                client.missed == lease.missed
                and other.missed == other.lease.missed
                and (
                    max(lease.acked_ns, other.lease.acked_ns)
                    < min(lease.expires_ns, other.lease.expires_ns)
                )
            ):
                return Rival(port.name, other.mac)
        return None


def _key(step: Step) -> ClientKey:
    return step.family, step.client or step.mac


def _where(client: Client) -> Whereabouts:
    return client.ifindex, (client.family, client.key)


def _is_decided(look: Look, expired_ns: int, now_ns: int) -> bool:
    """Whether the port was read since, and it is known whether the guest takes anything."""
    if look.read_ns >= expired_ns and look.draining is not Draining.UNKNOWN:
        return True
    return bool(look.doubt_ns) and now_ns - max(look.doubt_ns, expired_ns) >= UNDECIDED_NS
