# SPDX-License-Identifier: Apache-2.0
"""How the host's switches reach the wire: its uplinks, and the MTU of each way out.

A switch is a Linux bridge or a kernel Open vSwitch datapath. Switches that
hand frames to one another (by a veth pair, or by a vlan device on a bridge)
form one segment. A segment reaches the wire by the bond or NIC that is its
member, or that lies below a vlan or macvlan that is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sentinel.link import LinkFacts

NIC_KIND: Final = ""
TEAM_KINDS: Final = frozenset({"bond", "team"})
WIRE_KINDS: Final = TEAM_KINDS | {NIC_KIND, "dsa", "hsr"}
STACKED_KINDS: Final = frozenset({"vlan", "macvlan", "macsec"})
TUNNEL_KINDS: Final = frozenset({"vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ip6erspan"})
# Open vSwitch's own tunnel devices have about the largest MTU there is, which says nothing.
LARGEST_TUNNEL_MTU_BYTES: Final = 64_000


@dataclass(frozen=True, slots=True)
class Uplink:
    """A device through which frames leave the host; `bridge` is None if several lead to it."""

    bridge: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Uplinks by ifindex, and by switch ifindex the smallest MTU on its way to the wire."""

    uplinks: Mapping[int, Uplink]
    mtu_bytes_by_switch: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Way:
    """A member of a switch that leads out: to `end`, or into a tunnel (None)."""

    end: LinkFacts | None
    chain: tuple[LinkFacts, ...]

    @property
    def mtu_bytes(self) -> int:
        return min(link.mtu_bytes for link in self.chain)


@dataclass(slots=True)
class _Segment:
    switches: set[int] = field(default_factory=set)
    ways: list[tuple[LinkFacts, _Way]] = field(default_factory=list)
    veths: list[tuple[LinkFacts, _Way]] = field(default_factory=list)
    has_ports: bool = False


def find_topology(
    links: Mapping[int, LinkFacts],
    *,
    is_port: Callable[[LinkFacts], bool],
    is_named_port: Callable[[str], bool],
    switches_with_taps: Collection[int],
    configured: Collection[str],
) -> Topology:
    """Find uplinks by rule, or take the `configured` names and no other.

    A veth is an uplink by rule only where nothing better is, and where VMs are
    or its switch has no other veth: containers' veths are legs, not the wire.
    Nor is one that bears a port's name: Neutron's DHCP server has `tap…` veths.
    """
    segments = _segments(links, is_port, is_named_port, switches_with_taps, configured)
    uplinks: dict[int, Uplink] = {}
    mtus: dict[int, int] = {}
    switches_of_end: dict[int, set[int]] = {}
    for segment in segments:
        ways = _chosen(segment, configured)
        for switch, way in ways:
            if way.end is not None:
                switches_of_end.setdefault(way.end.ifindex, set()).add(switch.ifindex)
        if ways:
            smallest = min(way.mtu_bytes for _, way in ways)
            mtus.update(dict.fromkeys(segment.switches, smallest))
    for ifindex, switches in switches_of_end.items():
        if configured and links[ifindex].name not in configured:
            continue
        bridge = links[next(iter(switches))].name if len(switches) == 1 else None
        rule = "ports.uplinks" if configured else f"reached from {_names(links, switches)}"
        uplinks[ifindex] = Uplink(bridge, rule)
    for link in links.values():
        # One that no switch leads to, yet asked for.
        if link.name in configured and link.ifindex not in uplinks and link.ethernet:
            uplinks[link.ifindex] = Uplink(None, "ports.uplinks")
    return Topology(uplinks, mtus)


def _names(links: Mapping[int, LinkFacts], ifindexes: Collection[int]) -> str:
    return ", ".join(sorted(links[ifindex].name for ifindex in ifindexes))


def _segments(
    links: Mapping[int, LinkFacts],
    is_port: Callable[[LinkFacts], bool],
    is_named_port: Callable[[str], bool],
    switches_with_taps: Collection[int],
    configured: Collection[str],
) -> list[_Segment]:
    switches = {link.ifindex for link in links.values() if link.is_switch}
    joined = _Joined(switches)
    ways: list[tuple[int, _Way]] = []
    veths: list[tuple[int, _Way]] = []
    with_ports = set(switches_with_taps)
    for link in links.values():
        if link.master not in switches or not link.ethernet:
            continue
        if is_port(link):
            with_ports.add(link.master)
            continue
        if link.kind in TUNNEL_KINDS and link.mtu_bytes <= LARGEST_TUNNEL_MTU_BYTES:
            ways.append((link.master, _Way(None, (link,))))
            continue
        chain = tuple(_downwards(links, link, configured))
        end = chain[-1]
        other_switch = _switch_beyond(links, end) if end.name not in configured else None
        if other_switch in switches:
            joined.join(link.master, other_switch)
        elif end.name in configured or _is_wire(end):
            ways.append((link.master, _Way(end, chain)))
        elif end.kind == "veth" and not is_named_port(link.name):
            veths.append((link.master, _Way(end, chain)))

    segments: dict[int, _Segment] = {}
    for switch in switches:
        segment = segments.setdefault(joined.root(switch), _Segment())
        segment.switches.add(switch)
        segment.has_ports |= switch in with_ports
    for switch, way in ways:
        segments[joined.root(switch)].ways.append((links[switch], way))
    for switch, way in veths:
        segments[joined.root(switch)].veths.append((links[switch], way))
    return list(segments.values())


def _chosen(segment: _Segment, configured: Collection[str]) -> list[tuple[LinkFacts, _Way]]:
    everyone = segment.ways + segment.veths
    asked_for = [
        (switch, way) for switch, way in everyone if way.end and way.end.name in configured
    ]
    if asked_for:
        return asked_for
    reaches_wire = any(way.end is not None for _, way in segment.ways)
    if not reaches_wire and (segment.has_ports or len(segment.veths) == 1):
        return everyone
    return segment.ways


def _is_wire(end: LinkFacts) -> bool:
    # A vlan or macvlan whose lower device is in another namespace is all there is here.
    return end.kind in WIRE_KINDS or (end.kind in STACKED_KINDS and end.lower is None)


def _switch_beyond(links: Mapping[int, LinkFacts], end: LinkFacts) -> int | None:
    """The other switch of this host that the device leads to, if it does."""
    if end.is_switch:
        return end.ifindex
    peer = links.get(end.lower) if end.kind == "veth" and end.lower is not None else None
    # A peer that moved away leaves its ifindex behind until this end is told anew.
    if peer is None or peer.kind != "veth" or peer.lower != end.ifindex:
        return None
    return peer.master


def _downwards(
    links: Mapping[int, LinkFacts], top: LinkFacts, configured: Collection[str]
) -> Iterator[LinkFacts]:
    """The device and those below it, to the bond or NIC (a bond, not its slave)."""
    link, seen = top, {top.ifindex}
    yield link
    while link.name not in configured:
        below = None
        if link.kind in STACKED_KINDS and link.lower is not None:
            below = links.get(link.lower)
        elif link is not top and link.master is not None:
            master = links.get(link.master)
            below = master if master is not None and master.kind in TEAM_KINDS else None
        if below is None or below.ifindex in seen:
            return
        link = below
        seen.add(link.ifindex)
        yield link


class _Joined:
    """Disjoint sets of switches."""

    def __init__(self, switches: Collection[int]) -> None:
        self._parent = {switch: switch for switch in switches}

    def root(self, switch: int) -> int:
        while self._parent[switch] != switch:
            switch = self._parent[switch]
        return switch

    def join(self, left: int, right: int) -> None:
        self._parent[self.root(left)] = self.root(right)
