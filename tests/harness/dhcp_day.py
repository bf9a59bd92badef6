# SPDX-License-Identifier: Apache-2.0
"""Days of DHCP in seconds: guests with the timing of real clients, a server, a lossy network.

Pure: the clock is a `Play`'s and the chance is seeded. A `Fault` befalls one guest for
a time, and what the guest does then is what its client would do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Literal

from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.step import Act
from tests.harness.dhcp_play import Play

Kind = Literal["dhclient", "udhcpc", "dhcpcd"]
Fault = Literal["", "server_stopped", "replies_lost", "deaf", "stalled", "frozen", "refused"]
TICK_S = 1.0
FIRST_PORT = 100
KEPT_XID: Kind = "udhcpc"
"""It has one transaction id for life."""


@dataclass
class Network:
    """What befalls a message outside of the host."""

    random: Random
    loss: float = 0.003
    offer_after_s: float = 3.0
    """A server that asks with a ping first whether an address is free."""

    def loses(self) -> bool:
        """Whether this one message is lost."""
        return self.random.random() < self.loss


class Day:
    """Guests on ports of one host, and time that passes for them."""

    def __init__(self, seed: int, tick_s: float = TICK_S) -> None:
        self.play = Play()
        self.random = Random(seed)
        self.network = Network(self.random)
        self.guests: list[Guest] = []
        self._tick_ns = round(tick_s * SECOND_NS)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = count()

    def add(self, kind: Kind, lease_s: int, family: Literal[4, 6]) -> Guest:
        """A guest on a port of its own, that boots within the first minute."""
        ifindex = FIRST_PORT + len(self.guests)
        self.play.add_port(ifindex, f"tap{ifindex}")
        guest = Guest(self, kind, lease_s, family, ifindex)
        self.guests.append(guest)
        self.after(self.random.uniform(0, 60), guest.boot)
        return guest

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something at its time."""
        at_ns = self.play.now_ns + round(seconds * SECOND_NS)
        heapq.heappush(self._due, (at_ns, next(self._count), do))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        play = self.play
        until_ns = play.now_ns + round(seconds * SECOND_NS)
        next_tick_ns = play.now_ns + self._tick_ns
        while play.now_ns < until_ns:
            if self._due and self._due[0][0] <= next_tick_ns:
                at_ns, _, do = heapq.heappop(self._due)
                # What is done takes time itself.
                play.now_ns = max(play.now_ns, at_ns)
                do()
            else:
                play.now_ns = max(play.now_ns, next_tick_ns)
                play.tick()
                next_tick_ns += self._tick_ns


class Guest:
    """A client with its timers. RFC 2131 section 4.4.5, RFC 8415 sections 15 and 18.2."""

    def __init__(
        self, day: Day, kind: Kind, lease_s: int, family: Literal[4, 6], ifindex: int
    ) -> None:
        self.day = day
        self.kind = kind
        self.lease_s = lease_s
        self.family = family
        self.ifindex = ifindex
        self.mac = f"fa:16:3e:{family:02x}:00:{ifindex:02x}"
        self.address = f"10.0.0.{ifindex}" if family == 4 else f"fd00::{ifindex:x}"
        self.fault: Fault = ""
        self.acks = 0
        self._xid = 0
        self._began_ns = 0
        """When the lease that it has begins; 0: it has none."""
        self._asking: Act | None = None
        self._attempt = 0
        self._turn = 0
        """Timers of an earlier turn are void."""
        self._new_xid()

    # Its times.

    @property
    def t1_s(self) -> float:
        """As the server gives it."""
        return self.lease_s / 2

    @property
    def t2_s(self) -> float:
        """As the server gives it."""
        return self.lease_s * (7 / 8 if self.family == 4 else 4 / 5)

    def _new_xid(self) -> None:
        self._xid = self.day.random.getrandbits(24)

    def _renew_after_s(self) -> float:
        if self.kind == "dhclient" and self.family == 4:
            return self.t1_s * self.day.random.uniform(0.75, 1)
        return self.t1_s

    def _again_after_s(self) -> float:
        """Until the same is asked again without an answer."""
        chance = self.day.random
        left_s = self.lease_s - self._age_s()
        if self._asking is Act.FIND:
            if self.kind == "udhcpc":
                return 20.0 if self._attempt % 3 == 0 else 3.0
            if self.kind == "dhclient" and self._attempt % 8 == 0:
                return 300.0
            first_s, most_s = (1.0, 3600.0) if self.family == 6 else (4.0, 64.0)
            return min(first_s * 2.0 ** min(self._attempt - 1, 20), most_s) * chance.uniform(
                0.9, 1.1
            )
        if self._asking in (Act.RENEW, Act.REBIND) and self.family == 6:
            return min(10 * 2.0 ** min(self._attempt - 1, 20), 600) * chance.uniform(0.9, 1.1)
        if self.kind == "udhcpc" and self._asking in (Act.RENEW, Act.REBIND):
            return max(left_s / 2, 1.0)
        if self.kind == "dhclient":
            return min(8 * 1.6 ** min(self._attempt, 20), 60) * chance.uniform(0.6, 1)
        return min(2 * 2.0 ** min(self._attempt, 20), 64) + chance.uniform(-1, 1)

    def _age_s(self) -> float:
        return (self.day.play.now_ns - self._began_ns) / SECOND_NS

    # What it does.

    def boot(self) -> None:
        """Begin, with what it remembers of the time before."""
        remembers = self._began_ns and self._age_s() < self.lease_s and self.kind != "udhcpc"
        self._new_xid()
        self._ask(Act.REBOOT if remembers else Act.FIND)

    def reboot(self) -> None:
        """Be away for a while, not so long that its lease is in danger."""
        self._turn += 1
        self.day.after(self.day.random.uniform(2, min(40, self.lease_s / 5)), self.boot)

    def begin(self, fault: Fault) -> None:
        """Something goes wrong."""
        self.fault = fault
        self.day.play.queues[self.ifindex].drains = fault != "stalled"

    def end(self) -> None:
        """It is repaired, and the guest is rebooted as its owner would do."""
        self.begin("")
        self.reboot()

    def decline(self) -> None:
        """Find its address taken."""
        self._step(Act.DECLINE)
        self._began_ns = 0
        self._new_xid()
        self._ask(Act.FIND)

    def _ask(self, act: Act) -> None:
        self._asking, self._attempt = act, 0
        self._turn += 1
        self._send(self._turn)

    def _send(self, turn: int) -> None:
        if turn != self._turn or self._asking is None:
            return
        if self._began_ns and self._asking in (Act.RENEW, Act.REBIND):
            if self._age_s() >= self.lease_s - 0.01:
                self._began_ns = 0
                self._new_xid()
                self._ask(Act.FIND)
                return
            if self._asking is Act.RENEW and self._age_s() >= self.t2_s - 0.01:
                if self.family == 6:
                    self._new_xid()
                self._ask(Act.REBIND)
                return
        elif self._asking in (Act.TAKE, Act.REBOOT) and self._attempt >= 4:
            self._ask(Act.FIND)
            return
        self._attempt += 1
        if self.fault != "frozen":
            self._step(self._asking)
            self._serve(self._asking, turn)
        wait_s = self._again_after_s()
        if self._began_ns and self._asking in (Act.RENEW, Act.REBIND):
            # The next state begins at its time, whatever was asked when.
            ends = (self.t2_s if self._asking is Act.RENEW else self.lease_s, self.lease_s)
            wait_s = min([wait_s, *(end - self._age_s() for end in ends if end > self._age_s())])
        self.day.after(max(wait_s, 0.01), lambda: self._send(turn))

    def _step(self, act: Act) -> None:
        self.day.play.ask(
            act, port=self.ifindex, mac=self.mac, family=self.family, xid=self._xid,
            address=self.address,
        )  # fmt: skip

    # What comes back.

    def _serve(self, asked: Act, turn: int) -> None:
        if self.fault == "server_stopped" or self.day.network.loses():
            return
        answer = Act.OFFER if asked is Act.FIND else Act.ACK
        if self.fault == "refused" and answer is Act.ACK:
            answer = Act.NAK
        after_s = self.day.random.uniform(0.0002, 0.003)
        if answer is Act.OFFER and self.family == 4 and not self._began_ns:
            after_s += self.day.network.offer_after_s
        xid = self._xid
        self.day.after(after_s, lambda: self._answered(answer, xid, turn))

    def _answered(self, answer: Act, xid: int, turn: int) -> None:
        if self.day.network.loses():
            return
        passes = self.fault != "replies_lost"
        play = self.day.play
        timed = answer in (Act.OFFER, Act.ACK)
        play.answer(
            answer, passes=passes, port=self.ifindex, mac=self.mac, family=self.family, xid=xid,
            address=self.address if timed else None, lease_s=self.lease_s if timed else None,
            t1_s=self.t1_s if timed else None, t2_s=self.t2_s if timed else None,
        )  # fmt: skip
        hears = passes and self.fault not in ("deaf", "stalled", "frozen")
        if not hears or turn != self._turn or xid != self._xid:
            return
        if answer is Act.OFFER:
            if self.family == 6:
                self._new_xid()
            self._ask(Act.TAKE)
        elif answer is Act.NAK:
            self._began_ns = 0
            self._turn += 1
            self._new_xid()
            self.day.after(2, lambda: self._ask(Act.FIND))
        else:
            self._bound()

    def _bound(self) -> None:
        self.acks += 1
        self._began_ns = self.day.play.now_ns
        self._asking = None
        self._turn += 1
        turn = self._turn

        def renew() -> None:
            if turn == self._turn:
                if self.kind != KEPT_XID or self.family == 6:
                    self._new_xid()
                self._ask(Act.RENEW)

        self.day.after(self._renew_after_s(), renew)
