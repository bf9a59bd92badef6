# SPDX-License-Identifier: Apache-2.0
"""The way of a DHCP message in order: record, step, client, trouble, incident.

Facts and a clock in, effects out, like the engine that it is a part of. `now_ns`
is CLOCK_MONOTONIC, and a `Dial` says what the wall's clock shows at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sentinel import abi
from sentinel.decode_message import KernelMessage
from sentinel.dhcp.book import LeaseBook
from sentinel.dhcp.client import SECOND_NS, Client
from sentinel.dhcp.document import exchange_document, lease_document
from sentinel.dhcp.facts import PortFacts
from sentinel.dhcp.incidents import DhcpIncidents
from sentinel.dhcp.lease import Lease
from sentinel.dhcp.port_book import PortBook
from sentinel.dhcp.reading import read_step
from sentinel.dhcp.sentences import Dial, Scene
from sentinel.dhcp.step import OF_SERVER, Step
from sentinel.dhcp.store import break_off, dump, is_worth_keeping, key_of, load
from sentinel.dhcp.verdict import Trouble
from sentinel.effect import Effect, ForgetLease, KeepLease
from sentinel.event import Incident
from sentinel.inventory import Device
from sentinel.vm import UNKNOWN_VM

GAP_NS: Final = 5 * SECOND_NS
"""Ticks are a second apart. After a gap like this what happened meanwhile is not read yet."""
LONGEST_KEEP_NS: Final = 16 * SECOND_NS
"""A client that never rests is kept this often; one whose lease changed, at once."""
MOST_KEPT: Final = 256
"""Clients in one tick: when all guests boot at once, the others wait for the next."""


@dataclass(slots=True)
class _Saved:
    """What the journal has of a client, to tell when it should have more."""

    at_ns: int
    wait_ns: int
    lease: Lease | None
    granted: Lease | None
    state: str

    def is_due(self, client: Client, now_ns: int) -> bool:
        """Whether it is time to keep what changed."""
        return (
            client.lease is not self.lease
            or client.granted is not self.granted
            or (client.state in _ENDS and client.state != self.state)
            or now_ns - self.at_ns >= self.wait_ns
        )


_ENDS: Final = frozenset({"lost", "released", "declined", "refused", "superseded"})


class LeaseWatch:
    """The leases of the ports that the inventory knows."""

    def __init__(self, devices: Mapping[int, Device], next_key: Callable[[], int]) -> None:
        """`devices` is the inventory's view, which follows."""
        self._devices = devices
        self._book = LeaseBook()
        self._incidents = DhcpIncidents(next_key)
        self._kept: dict[int, dict[str, _Saved]] = {}
        """What the journal has, by ifindex and key."""
        self._unkept: dict[int, None] = {}
        """Ports of which more is to be kept when its time comes."""
        self._ticked_ns: int | None = None
        self._was_behind = False

    def message(self, message: KernelMessage) -> Step | None:
        """Take a record; the step, if it is a guest's that speaks as a server."""
        step = read_step(message)
        if step is None:
            return None
        return self.take(step)

    def take(self, step: Step) -> Step | None:
        """Take a step; the same again, if it is a guest's that speaks as a server."""
        device = self._devices.get(step.port_ifindex)
        if device is None or device.role != "port":
            return None
        if step.role == "port" and step.direction == abi.TAP_IN and step.act in OF_SERVER:
            return step
        self._book.take(step, device.name)
        return None

    def read(self, facts: PortFacts) -> None:
        """Take a reading of a port that was wanted."""
        self._book.read(facts)

    def wanted(self, now_ns: int) -> list[int]:
        """The ifindexes of the ports that should be read now."""
        return self._book.wanted(now_ns)

    def tick(self, now_ns: int, dial: Dial) -> Iterator[Effect]:
        """Let time pass: incidents, and what the journal should keep."""
        if not self._is_behind(now_ns):
            self._book.tick(now_ns)
            found: list[tuple[Trouble, Scene]] = []
            for port, troubles in self._book.troubles(now_ns):
                if port.ifindex in self._devices:
                    scene = self._scene(port, dial)
                    found += [(trouble, scene) for trouble in troubles]
            yield from self._incidents.settle(found, dial.wall_ns(now_ns))
        yield from self._keep_changed(now_ns, dial, at_once=False)

    def stop(self, now_ns: int, dial: Dial) -> Iterator[Effect]:
        """Keep what is not kept yet: the daemon stops."""
        yield from self._incidents.flush()
        yield from self._keep_changed(now_ns, dial, at_once=True)

    def _is_behind(self, now_ns: int) -> bool:
        """Whether to let the messages of a gap be read first: for one tick, not for ever."""
        is_after_gap = self._ticked_ns is None or now_ns - self._ticked_ns >= GAP_NS
        self._ticked_ns = now_ns
        self._was_behind = is_after_gap and not self._was_behind
        return self._was_behind

    def _keep_changed(self, now_ns: int, dial: Dial, *, at_once: bool) -> Iterator[Effect]:
        # Who has waited longest comes first.
        ifindexes = [*dict.fromkeys([*self._unkept, *self._book.touched()])]
        self._unkept = {}
        room = MOST_KEPT
        for ifindex in ifindexes:
            port = self._book.port(ifindex)
            if room <= 0 and not at_once:
                self._unkept[ifindex] = None
            elif port is not None:
                for effect in self._keep(port, now_ns, dial, at_once):
                    room -= 1
                    yield effect

    def _keep(self, port: PortBook, now_ns: int, dial: Dial, at_once: bool) -> Iterator[Effect]:
        before = self._kept.get(port.ifindex, {})
        now: dict[str, _Saved] = {}
        for client in port.clients.values():
            if not is_worth_keeping(client):
                continue
            key = key_of(port.name, client)
            saved = before.get(key)
            if saved is not None and (
                not client.is_changed or not (at_once or saved.is_due(client, now_ns))
            ):
                now[key] = saved
                if client.is_changed:
                    self._unkept[port.ifindex] = None
                continue
            client.is_changed = False
            now[key] = _saved(client, saved, now_ns)
            state = dump(client, dial.wall_minus_monotonic_ns)
            yield KeepLease(key, port.name, dial.wall_ns(now_ns), state)
        for key in before.keys() - now.keys():
            yield ForgetLease(key)
        self._kept[port.ifindex] = now

    # Ports come and go.

    def gone(self, ifindex: int, now_wall_ns: int) -> Iterator[Effect]:
        """The port is gone."""
        self._book.forget_port(ifindex)
        self._unkept.pop(ifindex, None)
        for key in self._kept.pop(ifindex, ()):
            yield ForgetLease(key)
        yield from self._incidents.device_gone(ifindex, now_wall_ns)

    def renamed(self, device: Device) -> None:
        """The port has another name."""
        self._book.rename(device.ifindex, device.name)

    # What an earlier daemon kept.

    def restore(
        self,
        key: str,
        port_name: str,
        state: object,
        dial: Dial,
        *,
        is_continuous: bool = True,
    ) -> Iterator[Effect]:
        """Put back a client; forgets it in the journal if its port is not there any more.

        `is_continuous` False: the port's messages were not counted all the while, as after
        the guard was taken off. Then nothing is concluded from a renewal that was not seen.
        """
        client = load(state, dial.wall_minus_monotonic_ns)
        device = None if client is None else self._devices.get(client.ifindex)
        if (
            client is None
            or device is None
            or (device.name, device.role) != (port_name, "port")
            or key_of(port_name, client) != key
        ):
            yield ForgetLease(key)
            return
        if not is_continuous:
            break_off(client)
        if not self._book.restore(port_name, client):
            yield ForgetLease(key)
            return
        kept = self._kept.setdefault(client.ifindex, {})
        kept[key] = _saved(client, None, 0)

    def reopen(self, incident: Incident, now_wall_ns: int) -> int | None:
        """Go on with an incident that was left open; its key, or None if its port is gone."""
        device = self._devices.get(incident.ifindex)
        if device is None or device.name != incident.port:
            return None
        return self._incidents.left_open(incident, now_wall_ns)

    # What is shown.

    def leases(self, now_ns: int, dial: Dial, ifindex: int | None = None) -> list[dict[str, Any]]:
        """Every client, or one port's, by port and MAC."""
        ports = [port for port in self._book.ports() if ifindex is None or port.ifindex == ifindex]
        documents = []
        for port in ports:
            scene = self._scene(port, dial)
            troubles = self._troubles_of(port, now_ns)
            documents += [
                lease_document(client, scene, now_ns, troubles.get(id(client), ()))
                for client in port.clients.values()
            ]
        return sorted(documents, key=lambda one: (one["port"], one["mac"], one["family"]))

    def exchanges(self, ifindex: int, now_ns: int, dial: Dial) -> list[dict[str, Any]]:
        """One port's clients with their last conversation, the newest first."""
        port = self._book.port(ifindex)
        if port is None:
            return []
        scene = self._scene(port, dial)
        troubles = self._troubles_of(port, now_ns)
        newest = sorted(port.clients.values(), key=lambda client: client.last_ns, reverse=True)
        return [
            {
                **lease_document(client, scene, now_ns, troubles.get(id(client), ())),
                "exchange": exchange_document(client.exchange, scene),
                "left_out": client.exchange.sights.left_out if client.exchange is not None else 0,
            }
            for client in newest
        ]

    def counts(self) -> dict[str, int]:
        """How many clients are remembered, and were forgotten for want of room."""
        return {"clients": len(self._book), "forgotten": self._book.forgotten}

    def _troubles_of(self, wanted: PortBook, now_ns: int) -> dict[int, list[str]]:
        """Causes now open, by the id() of the client."""
        told = self._incidents.causes(wanted.ifindex)
        found: dict[int, list[str]] = {}
        if told:
            for trouble in self._book.troubles_of(wanted, now_ns):
                if trouble.cause in told:
                    found.setdefault(id(trouble.client), []).append(str(trouble.cause))
        return found

    def _scene(self, port: PortBook, dial: Dial) -> Scene:
        device = self._devices.get(port.ifindex)
        return Scene(
            port=port.name,
            vm=device.vm if device is not None else UNKNOWN_VM,
            drain=port.drain,
            sent_ns=port.sent_ns,
            name_of=self._name_of,
            dial=dial,
        )

    def _name_of(self, ifindex: int) -> str:
        device = self._devices.get(ifindex)
        return device.name if device is not None else f"device {ifindex}"


def _saved(client: Client, before: _Saved | None, now_ns: int) -> _Saved:
    """The more often it changes, the longer it waits."""
    wait_ns = SECOND_NS
    if before is not None and now_ns - before.at_ns < 4 * before.wait_ns:
        wait_ns = min(2 * before.wait_ns, LONGEST_KEEP_NS)
    return _Saved(now_ns, wait_ns, client.lease, client.granted, client.state)


def said_by(step: Step) -> str:
    """What a guest said as a server, for the time line of its incident."""
    words = [step.name, *step.addresses[:2]]
    words.append(f"to {step.mac}")
    if step.server_address:
        words.append(f"as server {step.server_address}")
    if not step.passed:
        words.append("- dropped")
    return " ".join(words)
