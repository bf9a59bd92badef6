# SPDX-License-Identifier: Apache-2.0
"""What is known of one network device: the facts that rtnetlink tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sentinel.tag import Tag

SWITCH_KINDS = frozenset({"bridge", "openvswitch"})
"""Devices that frames are switched by. Kernel Open vSwitch shows one device,
`ovs-system`, as the master of the ports of all its bridges."""


def device_name(raw: bytes | str) -> str:
    """A name as text. The kernel takes any byte but `/`, `:` and blanks: `\\xff` stands for 255."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One device of this network namespace, as of its latest netlink message.

    `kind` is IFLA_INFO_KIND, "" for a device that names none (physical NICs).
    `tun_type` is of a "tun" device only. `master` is the ifindex of the bridge,
    bond or datapath it belongs to. `lower` is IFLA_LINK: the device below a
    vlan or macvlan, the peer of a veth; None when that one is in another
    namespace. `ethernet` is false for loopback, tun and other devices whose
    frames carry no Ethernet header.

    Only what an administrator or a cable changes: no timers, counters or roots of
    spanning trees, so that two equal facts mean that nothing has happened.
    """

    ifindex: int
    name: str
    kind: str = ""
    tun_type: Literal["tap", "tun"] | None = None
    mac: str = ""
    mtu_bytes: int = 1500
    master: int | None = None
    lower: int | None = None
    up: bool = True
    carrier: bool = True
    ethernet: bool = True
    alias: str = ""
    lower_elsewhere: bool = False
    """What is below it (the peer of a veth) is in another namespace."""
    tag: Tag | None = None
    """Of a vlan device: the tag it adds (IFLA_VLAN_PROTOCOL, IFLA_VLAN_ID)."""
    bond_mode: str = ""
    """Of a bond, as the kernel's bonding documentation names it: "active-backup", "802.3ad", …"""
    bond_active: int | None = None
    """Of a bond that uses one slave at a time: the ifindex of that one."""
    stp: bool | None = None
    """Of a bridge: whether it speaks STP, in the kernel or by a daemon (IFLA_BR_STP_STATE)."""
    group_fwd_mask: int = 0
    """Of a bridge: bit n lets frames to 01-80-C2-00-00-0n pass (IFLA_BR_GROUP_FWD_MASK)."""
    vlan_filtering: bool = False
    """Of a bridge: whether it knows VLANs, and with them a tag for each member."""
    port_group_fwd_mask: int = 0
    """Of a bridge's member: the same bits for what comes in by it (IFLA_BRPORT_GROUP_FWD_MASK)."""
    bpdu_guard: bool = False
    """Of a bridge's member: whether a BPDU from there shuts it (IFLA_BRPORT_GUARD)."""
    tunnel_overhead_bytes: int = 0
    """Of a tunnel that carries Ethernet: how much larger the packet outside is than the IP
    packet inside, the inner Ethernet header included (sentinel/tunnel.py)."""
    tunnel_lower: int | None = None
    """Of a tunnel that is bound to a device: the ifindex of that one."""
    virtual_functions: int = 0
    """Of a NIC: how many virtual functions it has now (IFLA_NUM_VF)."""

    @property
    def is_tap(self) -> bool:
        """Whether a VM may sit behind it: a tun device that carries Ethernet."""
        return self.kind == "tun" and self.tun_type == "tap"

    @property
    def is_switch(self) -> bool:
        """Whether it switches frames between its members."""
        return self.kind in SWITCH_KINDS

    def is_other_kind(self, new: LinkFacts) -> bool:
        """Whether this cannot have become that: it is another device under the same number."""
        return (self.kind, self.tun_type) != (new.kind, new.tun_type)


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """What the kernel counted of a device, ever; `rx` is what came in by it."""

    rx_packets: int
    rx_bytes: int
    rx_dropped: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int
