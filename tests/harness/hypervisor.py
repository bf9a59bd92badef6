# SPDX-License-Identifier: Apache-2.0
"""The whole lab: a hypervisor with a bridge, an uplink to a switch, guests on taps.

guest ── tap ─┐
guest ── tap ─┤ br0 ── uplink0 ═══ et1 ─ switch ─ et2 ═══ eth0 outside
bare tap ─────┘  (hypervisor)            (STP on, et1 guarded)
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.harness.closing import Closing
from tests.harness.guests import Guest
from tests.harness.hosts import Host
from tests.harness.namespaces import Namespace
from tests.harness.switch import Switch
from tests.harness.taps import Tap
from tests.harness.wire import WireCounter

NETWORK = "192.0.2"  # TEST-NET-1, RFC 5737
OUTSIDE_MAC = "00:1c:73:00:00:01"
FIRST_GUEST = 10


class Hypervisor:
    """A namespace with the bridge that guests and uplink are ports of."""

    bridge = "br0"
    uplink = "uplink0"

    def __init__(self) -> None:
        self.netns = Namespace("hv")
        self.taps: dict[str, Tap] = {}
        self.guests: dict[str, Guest] = {}
        self._numbers = iter(range(FIRST_GUEST, 250))
        self.netns.ip(
            f"link add name {self.bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {self.bridge} addrgenmode none up",
        )

    def plug_in(self, switch: Switch, *, guard: bool = True) -> str:
        """Connect the uplink and return the switch's port."""
        port = switch.connect(self.netns, self.uplink, guard=guard)
        self.netns.ip(f"link set {self.uplink} master {self.bridge} up")
        return port

    def add_tap(
        self,
        name: str,
        *,
        bridged: bool = True,
        vnet_hdr: bool = False,
        multi_queue: bool = False,
        offload: bool = False,
        mtu_bytes: int = 0,
        ifindex: int = 0,
    ) -> Tap:
        """Open a tap, on the bridge and up. Frames that nobody reads fill its queue."""
        tap = Tap(
            name,
            self.netns,
            vnet_hdr=vnet_hdr,
            multi_queue=multi_queue,
            offload=offload,
            ifindex=ifindex,
        )
        try:
            tap.up(master=self.bridge if bridged else "", mtu_bytes=mtu_bytes)
        except BaseException:
            tap.close()
            raise
        self.taps[name] = tap
        return tap

    def add_taps(self, names: Iterable[str], *, bridged: bool = True) -> list[Tap]:
        """Open many taps with one `ip` for all."""
        made = []
        for name in names:
            made.append(Tap(name, self.netns))
            self.taps[name] = made[-1]
        master = f" master {self.bridge}" if bridged else ""
        self.netns.ip(*(f"link set {tap.name} addrgenmode none{master} up" for tap in made))
        return made

    def add_guest(
        self,
        name: str,
        *,
        mac: str | None = None,
        address: str | None = None,
        offload: bool = False,
    ) -> Guest:
        """A guest whose tap is called `name`."""
        number = next(self._numbers)
        tap = self.add_tap(name, offload=offload)
        try:
            guest = Guest(
                name,
                tap,
                mac or f"fa:16:3e:00:00:{number:02x}",
                address or f"{NETWORK}.{number}",
                offload,
            )
        except BaseException:
            self.remove(name)
            raise
        self.guests[name] = guest
        return guest

    def remove(self, name: str) -> None:
        """Unplug a guest or a bare tap."""
        guest = self.guests.pop(name, None)
        if guest is not None:
            guest.close()
        tap = self.taps.pop(name, None)
        if tap is not None:
            tap.close()

    def uplink_dropped(self) -> int:
        """Frames that the uplink's driver could not hand over: 0 or the counts are off."""
        done = self.netns.run(["ip", "-json", "-stats", "link", "show", "dev", self.uplink])
        dropped: int = json.loads(done.stdout)[0]["stats64"]["tx"]["dropped"]
        return dropped

    def close(self) -> None:
        """Take everything away; may be called again."""
        for name in [*self.guests, *self.taps]:
            self.remove(name)
        self.netns.close()


class Lab(Closing):
    """Context manager; see the picture above. `guard` is the switch's, on et1."""

    def __init__(self, *, guard: bool = True) -> None:
        self._parts: list[Hypervisor | Switch | Host] = []
        try:
            self.hypervisor = Hypervisor()
            self._parts.append(self.hypervisor)
            self.switch = Switch()
            self._parts.append(self.switch)
            self.outside = Host("out", OUTSIDE_MAC, f"{NETWORK}.1")
            self._parts.append(self.outside)
            self.port = self.hypervisor.plug_in(self.switch, guard=guard)
            self.switch.connect(self.outside.netns, self.outside.device, guard=False)
            self.outside.configure()
        except BaseException:
            self.close()
            raise

    def add_tap(self, name: str, *, vnet_hdr: bool = False, multi_queue: bool = False) -> Tap:
        """See Hypervisor.add_tap, which has more choices."""
        return self.hypervisor.add_tap(name, vnet_hdr=vnet_hdr, multi_queue=multi_queue)

    def add_guest(self, name: str, *, offload: bool = False) -> Guest:
        """See Hypervisor.add_guest."""
        return self.hypervisor.add_guest(name, offload=offload)

    def capture(self) -> WireCounter:
        """Count what arrives at the switch from the hypervisor."""
        return self.switch.capture(self.port)

    def close(self) -> None:
        """Take the lab down, whatever state it is in; may be called again."""
        problems: list[Exception] = []
        while self._parts:
            try:
                self._parts.pop().close()
            except Exception as problem:
                problems.append(problem)
        if problems:
            raise ExceptionGroup("the lab was not taken down cleanly", problems)
