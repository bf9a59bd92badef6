# SPDX-License-Identifier: Apache-2.0
"""Through which devices frames leave the host: its uplinks, by rule or by configuration.

A segment of switches reaches the wire by the bond or NIC that is a member of one of
them, or that lies below a vlan or macvlan that is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sentinel.link import LinkFacts
from sentinel.path.book import PathBook
from sentinel.path.graph import (
    LARGEST_TUNNEL_MTU_BYTES,
    NIC_KIND,
    STACKED_KINDS,
    TEAM_KINDS,
    WIRE_KINDS,
    Host,
)
from sentinel.tunnel import TUNNEL_KINDS

__all__ = [
    "LARGEST_TUNNEL_MTU_BYTES",
    "NIC_KIND",
    "STACKED_KINDS",
    "TEAM_KINDS",
    "TUNNEL_KINDS",
    "WIRE_KINDS",
    "Uplink",
    "find_uplinks",
]


@dataclass(frozen=True, slots=True)
class Uplink:
    """A device through which frames leave the host; `bridge` is None if several lead to it.

    `mtu_bytes` is the smallest of its own and its slaves'.
    """

    bridge: str | None
    rule: str
    mtu_bytes: int


def find_uplinks(host: Host, book: PathBook, configured: Collection[str]) -> dict[int, Uplink]:
    """Find uplinks by rule, or take the `configured` names and no other.

    A veth is an uplink by rule only where nothing better is, and where VMs are
    or its switch has no other veth: containers' veths are legs, not the wire.
    Nor is one that bears a port's name: Neutron's DHCP server has `tap…` veths.
    """
    switches_of_end: dict[int, set[int]] = {}
    for segment in book.segments:
        for (switch, _), ways in segment.ways.items():
            for way in ways:
                if way.end is not None:
                    switches_of_end.setdefault(way.end.ifindex, set()).add(switch)
    uplinks: dict[int, Uplink] = {}
    for ifindex, switches in switches_of_end.items():
        link = host.links[ifindex]
        if configured and link.name not in configured:
            continue
        names = sorted(host.links[switch].name for switch in switches)
        bridge = names[0] if len(names) == 1 else None
        rule = "ports.uplinks" if configured else f"reached from {', '.join(names)}"
        uplinks[ifindex] = Uplink(bridge, rule, _mtu_bytes(host, link))
    if configured:
        for link in host.links.values():
            # One that no switch leads to, yet asked for.
            if link.name in configured and link.ifindex not in uplinks and link.ethernet:
                uplinks[link.ifindex] = Uplink(None, "ports.uplinks", _mtu_bytes(host, link))
    return uplinks


def _mtu_bytes(host: Host, uplink: LinkFacts) -> int:
    return min(link.mtu_bytes for link in (uplink, *host.slaves_of(uplink)))
