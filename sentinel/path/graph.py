# SPDX-License-Identifier: Apache-2.0
"""What joins a host's switches to one another and to the wire: members, patches, ways out.

A switch is a Linux bridge, or a bridge of Open vSwitch: one of a kernel datapath,
told apart by the database where there is one. Members that lead to another switch
(a veth pair, a vlan device on a bridge, a patch port) are patches; those that lead
to a NIC, a bond or into a tunnel are ways out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsFacts, OvsPort
from sentinel.tunnel import TUNNEL_KINDS

NIC_KIND: Final = ""
TEAM_KINDS: Final = frozenset({"bond", "team"})
WIRE_KINDS: Final = TEAM_KINDS | {NIC_KIND, "dsa", "hsr"}
STACKED_KINDS: Final = frozenset({"vlan", "macvlan", "macsec"})
# Open vSwitch's own tunnel devices have about the largest MTU there is, which says nothing.
LARGEST_TUNNEL_MTU_BYTES: Final = 64_000

SwitchKey = tuple[int, str]
"""The ifindex of a bridge or datapath, and the name of the datapath's bridge where known."""


@dataclass(frozen=True, slots=True)
class Way:
    """A member of a switch that leads out.

    `chain` is the member and what lies below it; `end` the last of it, through
    which frames leave the host, None for a tunnel. `slaves` are those of a bond or
    team at the end, by name.
    """

    chain: tuple[LinkFacts, ...]
    end: LinkFacts | None
    slaves: tuple[LinkFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """A member of a switch that leads into `other`, another switch of this host.

    `chain` holds the devices in between, down to the far end of a veth pair; none
    for a patch port of Open vSwitch, which is no device.
    """

    member: str
    chain: tuple[LinkFacts, ...]
    other: SwitchKey
    entry: str
    """The device or patch port by which frames come into the other one."""


@dataclass(slots=True)
class Segment:
    """Switches that hand frames to one another, and the ways out that were chosen."""

    switches: set[SwitchKey] = field(default_factory=set)
    ways: dict[SwitchKey, list[Way]] = field(default_factory=dict)
    patches: dict[SwitchKey, list[Patch]] = field(default_factory=dict)
    veths: dict[SwitchKey, list[Way]] = field(default_factory=dict)
    has_ports: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Which devices are ports and which are uplinks, as the configuration has it."""

    is_port: Callable[[LinkFacts], bool]
    is_named_port: Callable[[str], bool]
    configured: Collection[str]
    """[ports] uplinks"""


class Host:
    """The links of a host and Open vSwitch's tables, looked at from a switch's member.

    `switches_with_taps` are the masters of the taps that are left out of `links`.
    """

    def __init__(
        self,
        links: Mapping[int, LinkFacts],
        rules: Rules,
        switches_with_taps: Collection[int] = (),
        ovs: OvsFacts = NO_OVS,
    ) -> None:
        self.links = links
        self.ovs = ovs
        self._ovs_port_by_interface: dict[str, OvsPort] = {
            interface: port for port in ovs.ports.values() for interface in port.interfaces
        }
        self._configured = frozenset(rules.configured)
        self._rules = rules
        self._with_taps = switches_with_taps
        self._slaves: dict[int, list[LinkFacts]] = {}
        masters = set(switches_with_taps)
        for link in links.values():
            if link.master is not None:
                masters.add(link.master)
                master = links.get(link.master)
                if master is not None and master.kind in TEAM_KINDS:
                    self._slaves.setdefault(link.master, []).append(link)
        datapaths = [link.ifindex for link in links.values() if link.kind == "openvswitch"]
        in_use = [ifindex for ifindex in datapaths if ifindex in masters]
        self.datapath = min(in_use or datapaths, default=None)
        """The device that stands for Open vSwitch's kernel datapath."""

    def switch_of(self, member: LinkFacts) -> SwitchKey | None:
        """The switch that a device is a member of."""
        master = self.links.get(member.master) if member.master is not None else None
        if master is None or not master.is_switch:
            return None
        return self._key(master, member.name)

    def ways_down(self, top: LinkFacts) -> Way:
        """What lies below a device, as if it were a way out."""
        chain = tuple(self._downwards(top))
        return Way(chain, chain[-1], self.slaves_of(chain[-1], chain))

    def switch_below(self, end: LinkFacts) -> SwitchKey | None:
        """The switch that frames come to by the switch's own device, e.g. `br-ex`."""
        if not end.is_switch:
            return None
        if end.kind == "openvswitch" and end.ifindex != self.datapath:
            # An internal port of one of the datapath's bridges.
            datapath = self.links.get(self.datapath) if self.datapath is not None else None
            return self._key(datapath, end.name) if datapath is not None else None
        return self._key(end, end.name)

    def ovs_port(self, key: SwitchKey, member: str) -> OvsPort | None:
        """The port of a bridge of Open vSwitch that a member is; None on other switches."""
        port = self._ovs_port_by_interface.get(member)
        return port if port is not None and port.bridge == key[1] else None

    def slaves_of(
        self, team: LinkFacts, chain: tuple[LinkFacts, ...] = ()
    ) -> tuple[LinkFacts, ...]:
        """Those of a bond or team, by name, but for what is in `chain` already."""
        slaves = self._slaves.get(team.ifindex, ())
        mine = [slave for slave in slaves if slave not in chain]
        return tuple(sorted(mine, key=lambda one: (one.name, one.ifindex)))

    def segments(self) -> list[Segment]:
        """All switches, by segment, each with the ways out that its frames take."""
        own = {link.ifindex for link in self.links.values() if link.is_switch}
        whole = Segment()
        joined = _Joined()
        for ifindex in sorted(own):
            if self.links[ifindex].kind == "bridge" or ifindex == self.datapath:
                whole.switches.add((ifindex, ""))
        with_ports: set[SwitchKey] = set()
        for link in sorted(self.links.values(), key=lambda one: one.ifindex):
            if link.master in own and link.ethernet:
                self._take_member(link, whole, with_ports)
        self._take_patch_ports(whole)
        for key, patches in whole.patches.items():
            for patch in patches:
                joined.join(key, patch.other)
        segments: dict[SwitchKey, Segment] = {}
        # A datapath's taps are not told apart by bridge: each of its bridges may have some.
        for key in sorted(whole.switches):
            segment = segments.setdefault(joined.root(key), Segment())
            segment.switches.add(key)
            segment.has_ports |= key in with_ports or key[0] in self._with_taps
            for name in ("ways", "patches", "veths"):
                if key in (mine := getattr(whole, name)):
                    getattr(segment, name)[key] = mine[key]
        for segment in segments.values():
            segment.ways = self._chosen(segment)
        return list(segments.values())

    def _take_member(self, link: LinkFacts, whole: Segment, with_ports: set[SwitchKey]) -> None:
        key = self.switch_of(link)
        if key is None:
            return
        whole.switches.add(key)
        if self._rules.is_port(link):
            with_ports.add(key)
            return
        if link.kind in TUNNEL_KINDS and link.mtu_bytes <= LARGEST_TUNNEL_MTU_BYTES:
            whole.ways.setdefault(key, []).append(Way((link,), None))
            return
        chain = tuple(self._downwards(link))
        end = chain[-1]
        is_asked_for = end.name in self._configured
        other, peer = (None, None) if is_asked_for else self._beyond(end)
        if other is not None:
            if other != key:
                whole.switches.add(other)
                between = chain[:-1] if peer is None else (*chain, peer)
                entry = end.name if peer is None else peer.name
                whole.patches.setdefault(key, []).append(Patch(link.name, between, other, entry))
        elif is_asked_for or _is_wire(end):
            way = Way(chain, end, self.slaves_of(chain[-1], chain))
            whole.ways.setdefault(key, []).append(way)
        elif end.kind == "veth" and not self._rules.is_named_port(link.name):
            whole.veths.setdefault(key, []).append(Way(chain, end))

    def _take_patch_ports(self, whole: Segment) -> None:
        """Patch ports are no devices: the database alone knows them."""
        if self.datapath is None:
            return
        for name, interface in sorted(self.ovs.interfaces.items()):
            if interface.type != "patch" or interface.peer is None:
                continue
            here = self._ovs_port_by_interface.get(name)
            there = self._ovs_port_by_interface.get(interface.peer)
            if here is None or there is None or here.bridge == there.bridge:
                continue
            key, other = (self.datapath, here.bridge), (self.datapath, there.bridge)
            whole.switches |= {key, other}
            whole.patches.setdefault(key, []).append(Patch(name, (), other, interface.peer))

    def _chosen(self, segment: Segment) -> dict[SwitchKey, list[Way]]:
        everyone: dict[SwitchKey, list[Way]] = {
            key: [*segment.ways.get(key, ()), *segment.veths.get(key, ())]
            for key in sorted(segment.ways.keys() | segment.veths.keys())
        }
        asked_for = {
            key: mine
            for key, ways in everyone.items()
            if (mine := [one for one in ways if one.end and one.end.name in self._configured])
        }
        if asked_for:
            return asked_for
        reaches_wire = any(way.end is not None for ways in segment.ways.values() for way in ways)
        is_lone = sum(map(len, segment.veths.values())) == 1
        if not reaches_wire and (segment.has_ports or is_lone):
            return everyone
        return segment.ways

    def _key(self, switch: LinkFacts, member: str) -> SwitchKey:
        if switch.kind == "openvswitch":
            port = self._ovs_port_by_interface.get(member)
            if port is not None:
                return switch.ifindex, port.bridge
            if member in self.ovs.bridges:
                return switch.ifindex, member
        return switch.ifindex, ""

    def _beyond(self, end: LinkFacts) -> tuple[SwitchKey | None, LinkFacts | None]:
        """The other switch of this host that the device leads to, and the veth it enters by."""
        if end.is_switch:
            return self.switch_below(end), None
        peer = self.links.get(end.lower) if end.kind == "veth" and end.lower is not None else None
        # A peer that moved away leaves its ifindex behind until this end is told anew.
        if peer is None or peer.kind != "veth" or peer.lower != end.ifindex:
            return None, None
        return self.switch_of(peer), peer

    def _downwards(self, top: LinkFacts) -> Iterator[LinkFacts]:
        """The device and those below it, to the bond or NIC (a bond, not its slave)."""
        link, seen = top, {top.ifindex}
        yield link
        while link.name not in self._configured:
            below = None
            if link.kind in STACKED_KINDS and link.lower is not None:
                below = self.links.get(link.lower)
            elif link is not top and link.master is not None:
                master = self.links.get(link.master)
                below = master if master is not None and master.kind in TEAM_KINDS else None
            if below is None or below.ifindex in seen:
                return
            link = below
            seen.add(link.ifindex)
            yield link


def _is_wire(end: LinkFacts) -> bool:
    # A vlan or macvlan whose lower device is in another namespace is all there is here.
    return end.kind in WIRE_KINDS or (end.kind in STACKED_KINDS and end.lower is None)


class _Joined:
    """Disjoint sets of switches."""

    def __init__(self) -> None:
        self._parent: dict[SwitchKey, SwitchKey] = {}

    def root(self, switch: SwitchKey) -> SwitchKey:
        path = []
        while (parent := self._parent.get(switch, switch)) != switch:
            path.append(switch)
            switch = parent
        for each in path:
            self._parent[each] = switch
        return switch

    def join(self, left: SwitchKey, right: SwitchKey) -> None:
        self._parent[self.root(left)] = self.root(right)
