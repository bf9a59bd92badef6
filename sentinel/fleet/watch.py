# SPDX-License-Identifier: Apache-2.0
"""Notices given and taken, and the ports here that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sentinel.config_orders import FleetConfig
from sentinel.effect import Effect, Log
from sentinel.event import Quarantine
from sentinel.event_carried import notice_forgotten, notice_matched, notice_taken
from sentinel.fleet.issued import Issued
from sentinel.fleet.notice import Notice
from sentinel.fleet.watch_list import WatchList
from sentinel.inventory import Device
from sentinel.vm import VmIdentity


class FleetWatch:
    """What this host tells the others, and what it knows from them.

    `wanted` are ports whose VM a notice is about and that nothing was done about yet.
    """

    def __init__(self, fleet: FleetConfig, host: str, devices: Mapping[int, Device]) -> None:
        """`devices` is the inventory's view, which follows."""
        self.action = fleet.action
        self._publish, self._follow = fleet.publish, fleet.follow
        self._devices = devices
        self.issued = Issued(host, fleet.longest_ns)
        self.known = WatchList()
        self.wanted: dict[int, Notice] = {}
        self.matched = 0
        """Ports that a notice was about, ever."""
        self._dealt: dict[int, Notice] = {}
        self._postponed: dict[int, Notice] = {}

    def reconfigure(self, fleet: FleetConfig) -> None:
        """Go by another configuration; what another action would do is wanted anew."""
        is_another = (fleet.follow, fleet.action) != (self._follow, self.action)
        self.action = fleet.action
        self._publish, self._follow = fleet.publish, fleet.follow
        self.issued.longest_ns = fleet.longest_ns
        if is_another:
            for book in (self.wanted, self._dealt, self._postponed):
                book.clear()
            for device in self._devices.values():
                self.look(device)

    def take(self, notice: Notice, now_ns: int) -> Iterator[Effect]:
        """Take a notice, and look for its guest. Raises RefusedError if there is no room."""
        yield from self.known.take(notice)
        yield Log(notice_taken(now_ns, notice, self.action))
        for device in self._devices.values():
            if device.ifindex in self.wanted or notice.matches(device.vm):
                self.look(device)

    def look(self, device: Device) -> None:
        """A port is there, or its VM is known now."""
        if not self._follow or device.role != "port":
            return
        ifindex = device.ifindex
        notice = self.known.match(device.vm)
        self._postponed.pop(ifindex, None)
        if notice is None or self._dealt.get(ifindex) == notice:
            self.wanted.pop(ifindex, None)
        else:
            self.wanted[ifindex] = notice

    def gone(self, ifindex: int) -> None:
        """The port is not there any more."""
        for book in (self.wanted, self._dealt, self._postponed):
            book.pop(ifindex, None)

    def dealt(self, device: Device, notice: Notice, action: str, now_ns: int) -> Iterator[Effect]:
        """What a notice is for was done: `action` "count" or "quarantine"."""
        self.pass_over(device, notice)
        self.matched += 1
        yield Log(notice_matched(now_ns, notice, action, device.name, device.ifindex, device.vm))

    def pass_over(self, device: Device, notice: Notice) -> None:
        """What a notice is for was done before."""
        self.wanted.pop(device.ifindex, None)
        self._dealt[device.ifindex] = notice

    @property
    def waiting(self) -> int:
        """Ports that a notice is about and nothing was done about: not guarded yet, or the fuse."""
        return len(self.wanted) + len(self._postponed)

    def postpone(self, ifindex: int) -> None:
        """The fuse allows no cut now: later, perhaps."""
        self._postponed[ifindex] = self.wanted.pop(ifindex)

    def cut(self, quarantine: Quarantine | None, now_ns: int) -> Iterator[Effect]:
        """A port is cut, or it is known now whose it is: tell the others if there is cause."""
        if self._publish and quarantine is not None:
            yield from self.issued.cut(quarantine, now_ns)

    def released(self, vm: VmIdentity, port: str, now_ns: int) -> Iterator[Effect]:
        """An operator released a port: nothing counts against its VM any more."""
        if self._publish:
            yield from self.issued.released(vm, port, now_ns)
        while (notice := self.known.match(vm)) is not None:
            yield self.known.forget(notice)
            yield Log(notice_forgotten(now_ns, notice, port, vm))
        for device in self._devices.values():
            if device.ifindex in self.wanted or device.ifindex in self._postponed:
                self.look(device)

    def tick(self, now_ns: int) -> Iterator[Effect]:
        """Forget what is over; what was postponed is wanted again."""
        yield from self.issued.expire(now_ns)
        yield from self.known.expire(now_ns)
        if self._postponed:
            for ifindex in list(self._postponed):
                if ifindex in self._devices:
                    self.look(self._devices[ifindex])
