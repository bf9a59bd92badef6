# SPDX-License-Identifier: Apache-2.0
"""A DHCP client and its server played through the core, with a clock of its own. Pure.

Times are CLOCK_MONOTONIC in nanoseconds; the wall's clock of a play is that plus EPOCH_NS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import count
from typing import Any

import orjson

from sentinel import abi
from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.facts import PortFacts, QueueReading
from sentinel.dhcp.sentences import Dial
from sentinel.dhcp.step import OF_SERVER, Act, Step
from sentinel.dhcp.watch import LeaseWatch
from sentinel.effect import Effect, ForgetLease, Keep, KeepLease
from sentinel.event import Incident, Kind
from sentinel.inventory import Device
from sentinel.vm import VmIdentity

EPOCH_NS = 1_790_000_000 * SECOND_NS
PORT, UPLINK = 7, 3
MAC = "fa:16:3e:00:00:07"
SERVER, SERVER_MAC = "10.0.0.1", "52:54:00:00:00:01"
ADDRESS = "10.0.0.7"
ADDRESS6, SERVER6 = "fd00::7", "fe80::1"
NAMES4 = {
    Act.FIND: "DHCPDISCOVER", Act.TAKE: "DHCPREQUEST", Act.REBOOT: "DHCPREQUEST",
    Act.RENEW: "DHCPREQUEST", Act.REBIND: "DHCPREQUEST", Act.OFFER: "DHCPOFFER",
    Act.ACK: "DHCPACK", Act.NAK: "DHCPNAK", Act.INFORM: "DHCPINFORM",
    Act.RELEASE: "DHCPRELEASE", Act.DECLINE: "DHCPDECLINE", Act.WAKE: "DHCPFORCERENEW",
    Act.OTHER: "DHCP type 77",
}  # fmt: skip
NAMES6 = {
    Act.FIND: "Solicit", Act.TAKE: "Request", Act.REBOOT: "Confirm", Act.RENEW: "Renew",
    Act.REBIND: "Rebind", Act.OFFER: "Advertise", Act.ACK: "Reply", Act.NAK: "Reply",
    Act.INFORM: "Information-request", Act.RELEASE: "Release", Act.DECLINE: "Decline",
    Act.WAKE: "Reconfigure", Act.OTHER: "type 77",
}  # fmt: skip


def device(ifindex: int, name: str, role: Any = "port") -> Device:
    """A watched device."""
    return Device(
        ifindex=ifindex,
        name=name,
        role=role,
        mac="fe:16:3e:00:00:07",
        mtu_bytes=1500,
        path_mtu_bytes=1500,
        bridge="br0",
        vm=VmIdentity(uuid=None, name="web", source="libvirt"),
        trusted_checks=frozenset(),
        rule="",
    )


class Queue:
    """A tap's receive queue, as its counters show it."""

    def __init__(self) -> None:
        self.passed = self.taken = self.dropped = 0
        self.drains = True

    def reading(self) -> QueueReading:
        """What is read of it now."""
        if self.drains:
            self.taken = self.passed - self.dropped
        return QueueReading(self.passed, self.taken, self.dropped, None, None)


class Play:
    """One host: ports, an uplink, and what the daemon would do once a second."""

    def __init__(self) -> None:
        self.devices = {PORT: device(PORT, "tap7"), UPLINK: device(UPLINK, "uplink0", "uplink")}
        self._keys = count(1)
        self.now_ns = 1_000_000 * SECOND_NS
        self.epoch_ns = EPOCH_NS
        self.incidents: dict[int, tuple[Kind | None, Incident]] = {}
        self.told: list[tuple[Kind, Incident]] = []
        self.kept: dict[str, KeepLease] = {}
        self.sent_ns = 0
        self.missed = 0
        self.queues: defaultdict[int, Queue] = defaultdict(Queue)
        self.is_cut = False
        self.reads = True
        """Whether a port that is wanted can be read."""
        self.readings = 0
        self.watch = LeaseWatch(self.devices, lambda: next(self._keys))
        self.apply(self.watch.tick(self.now_ns, self.dial))

    @property
    def queue(self) -> Queue:
        """Of the port that most plays are about."""
        return self.queues[PORT]

    def restart(
        self, *, stops: bool = True, is_continuous: bool = True, boot: bool = False
    ) -> None:
        """Another daemon takes over; `stops`: the one before had time to write all down.

        `boot`: the host's, so that CLOCK_MONOTONIC begins anew.
        """
        if stops:
            self.apply(self.watch.stop(self.now_ns, self.dial))
        if boot:
            self.epoch_ns += self.now_ns - SECOND_NS
            self.now_ns = SECOND_NS
        self.watch = LeaseWatch(self.devices, lambda: next(self._keys))
        for one in [*self.kept.values()]:
            # Through text, as in the journal.
            state = orjson.loads(orjson.dumps(one.state))
            self.apply(
                self.watch.restore(one.key, one.port, state, self.dial, is_continuous=is_continuous)
            )
        for number, (kind, incident) in [*self.incidents.items()]:
            if incident.closed_wall_ns is None:
                del self.incidents[number]
                key = self.watch.reopen(incident, self.dial.wall_ns(self.now_ns))
                if key is not None:
                    self.incidents[key] = kind, incident

    def add_port(self, ifindex: int, name: str) -> None:
        """One port more."""
        self.devices[ifindex] = device(ifindex, name)

    @property
    def dial(self) -> Dial:
        """UTC."""
        return Dial(self.epoch_ns)

    def apply(self, effects: Iterable[Effect]) -> None:
        """What the journal would hold."""
        for effect in effects:
            match effect:
                case Keep():
                    self.incidents[effect.key] = effect.kind, effect.incident
                    if effect.kind is not None:
                        self.told.append((effect.kind, effect.incident))
                case KeepLease():
                    self.kept[effect.key] = effect
                case ForgetLease():
                    self.kept.pop(effect.key, None)

    def wait(self, seconds: float) -> None:
        """Let time pass, with a tick each second and the readings that it wants."""
        until_ns = self.now_ns + round(seconds * SECOND_NS)
        while self.now_ns < until_ns:
            self.now_ns = min(until_ns, self.now_ns + SECOND_NS)
            self.tick()

    def tick(self) -> None:
        """What the daemon does once a second."""
        self.read()
        self.apply(self.watch.tick(self.now_ns, self.dial))

    def read(self) -> None:
        """Read the ports that are wanted."""
        for ifindex in self.watch.wanted(self.now_ns):
            self.readings += 1
            if not self.reads:
                continue
            self.watch.read(
                PortFacts(
                    ifindex=ifindex,
                    time_ns=self.now_ns,
                    sent_ns=self.sent_ns,
                    received_ns=self.now_ns,
                    missed=self.missed,
                    is_cut=self.is_cut,
                    queue=self.queues[ifindex].reading(),
                )
            )

    def step(
        self,
        act: Act,
        *,
        xid: int = 1,
        role: str = "port",
        port: int = PORT,
        mac: str = MAC,
        client: str | None = None,
        family: Any = 4,
        address: str | None = ADDRESS,
        lease_s: float | None = None,
        t1_s: float | None = None,
        t2_s: float | None = None,
        passed: bool = True,
        client_id: str | None = None,
        server: str = SERVER,
        server_mac: str = SERVER_MAC,
        vid: int | None = None,
        note: str | None = None,
    ) -> None:
        """One message at one place, now."""
        if family == 6 and address == ADDRESS:
            address = ADDRESS6
        is_answer = act in OF_SERVER
        inwards = is_answer == (role == "uplink")
        self.watch.take(
            Step(
                time_ns=self.now_ns,
                ifindex=port if role == "port" else UPLINK,
                port_ifindex=port,
                role=role,
                direction=abi.TAP_IN if inwards else abi.TAP_OUT,
                passed=passed,
                sent_ns=self.sent_ns,
                received_ns=0,
                missed=self.missed,
                family=family,
                act=act,
                name=(NAMES4 if family == 4 else NAMES6)[act],
                xid=xid,
                client=client or mac,
                mac=mac,
                client_id=client_id,
                server=server if is_answer else None,
                server_mac=server_mac if is_answer else None,
                server_address=server,
                addresses=(address,) if address else (),
                lease_ns=None if lease_s is None else round(lease_s * SECOND_NS),
                t1_ns=None if t1_s is None else round(t1_s * SECOND_NS),
                t2_ns=None if t2_s is None else round(t2_s * SECOND_NS),
                vid=vid,
                is_broadcast=False,
                relay=None,
                host_name=None,
                note=note,
            )
        )
        self.read()

    def ask(self, act: Act, *, leaves: bool = True, **more: Any) -> None:
        """A question at the port, and then at the uplink."""
        self.step(act, **more)
        if leaves:
            self.now_ns += 100_000
            self.step(act, role="uplink", **more)

    def answer(self, act: Act, *, arrives: bool = True, passes: bool = True, **more: Any) -> None:
        """An answer at the uplink, and then at the port."""
        self.now_ns += 1_000_000
        if arrives:
            self.step(act, role="uplink", **more)
        if passes:
            self.now_ns += 100_000
            self.queues[more.get("port", PORT)].passed += 1
            self.step(act, **more)

    def lease(self, lease_s: float = 60, xid: int = 1, **more: Any) -> None:
        """Discover, offer, request, acknowledgement."""
        self.ask(Act.FIND, xid=xid, **more)
        self.answer(Act.OFFER, xid=xid, lease_s=lease_s, **more)
        self.ask(Act.TAKE, xid=xid, **more)
        self.answer(Act.ACK, xid=xid, lease_s=lease_s, **more)

    def renew(self, lease_s: float = 60, xid: int = 2, **more: Any) -> None:
        """Request and acknowledgement."""
        self.ask(Act.RENEW, xid=xid, **more)
        self.answer(Act.ACK, xid=xid, lease_s=lease_s, **more)

    # What came of it.

    def open(self) -> dict[str, Incident]:
        """The open incidents by cause."""
        return {one.detail: one for _, one in self.incidents.values() if one.closed_wall_ns is None}

    def opened(self) -> list[str]:
        """The causes of every incident that was ever opened, in order."""
        return [one.detail for kind, one in self.told if kind is Kind.INCIDENT_OPENED]

    def opened_at(self, ifindex: int) -> list[str]:
        """Those of one port."""
        return [
            one.detail
            for kind, one in self.told
            if kind is Kind.INCIDENT_OPENED and one.ifindex == ifindex
        ]

    def summary(self, cause: str) -> str:
        """What the newest incident of a cause says."""
        return [one.summary for _, one in self.incidents.values() if one.detail == cause][-1]

    def evidence(self, cause: str) -> list[str]:
        """Its time line: where, and what."""
        (one,) = [one for _, one in self.incidents.values() if one.detail == cause][-1:]
        return [f"{moment.place}: {moment.text}" for moment in one.evidence]

    def document(self, mac: str = MAC, port: int = PORT) -> dict[str, Any]:
        """The client's line in `dhcp --json`."""
        (found,) = (one for one in self.leases() if (one["mac"], one["ifindex"]) == (mac, port))
        return found

    def exchange(self) -> list[dict[str, Any]]:
        """The ladder of the client with the newest messages."""
        ladder: list[dict[str, Any]] = self.watch.exchanges(PORT, self.now_ns, self.dial)[0][
            "exchange"
        ]
        return ladder

    def leases(self) -> list[dict[str, Any]]:
        """All of `dhcp --json`."""
        return self.watch.leases(self.now_ns, self.dial)
