# SPDX-License-Identifier: Apache-2.0
"""An rtnetlink message of a link into facts.

What is read is what the kernel says; which attribute a kind of device keeps it
under stands here, one function for each kind.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from sentinel.link import LinkFacts, device_name
from sentinel.netlink_wire import attributes, network_number, number, text
from sentinel.tag import TPID_8021Q, Tag
from sentinel.tunnel import TUNNEL_KINDS, tunnel_overhead_bytes

# linux/rtnetlink.h: family, type of hardware, ifindex, flags, change.
_IFINFOMSG: Final = struct.Struct("=BxHiII")
# linux/if_link.h.
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_PROTINFO, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_NUM_VF = 12, 18, 20, 21
IFLA_LINK_NETNSID = 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_TUN_TYPE = 3
IFLA_VLAN_ID, IFLA_VLAN_PROTOCOL = 1, 5
IFLA_BOND_MODE, IFLA_BOND_ACTIVE_SLAVE = 1, 2
IFLA_BR_STP_STATE, IFLA_BR_VLAN_FILTERING, IFLA_BR_GROUP_FWD_MASK = 5, 7, 9
IFLA_BRPORT_GUARD, IFLA_BRPORT_GROUP_FWD_MASK = 5, 31
IFLA_VXLAN_LINK, IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6 = 3, 16, 17
IFLA_GENEVE_REMOTE6 = 7
# linux/if_tunnel.h; those of ip6gre are the same.
IFLA_GRE_LINK, IFLA_GRE_OFLAGS, IFLA_GRE_FLAGS = 1, 3, 13

IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000
ARPHRD_ETHER: Final = 1
TUN_TYPES: Final[dict[int, Literal["tun", "tap"]]] = {1: "tun", 2: "tap"}
IP6_TNL_F_IGN_ENCAP_LIMIT: Final = 0x1
# The kernel's Documentation/networking/bonding.rst, "mode".
BOND_MODES: Final = (
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
)


Values = Mapping[int, memoryview]


class LinkMessage:
    """A NEWLINK or DELLINK: its header read, its attributes by type."""

    __slots__ = ("family", "flags", "hardware", "ifindex", "kind", "values")

    def __init__(self, kind: int, body: memoryview) -> None:
        """`body` begins with its struct ifinfomsg. Raises ValueError for one that is too short."""
        if len(body) < _IFINFOMSG.size:
            raise ValueError(f"a link message of {len(body)} bytes")
        self.kind = kind
        self.family, self.hardware, self.ifindex, self.flags, _ = _IFINFOMSG.unpack_from(body)
        self.values: Values = attributes(body[_IFINFOMSG.size :])


def facts_from_message(message: LinkMessage) -> LinkFacts:
    """Facts of an AF_UNSPEC NEWLINK; raises ValueError for one without index or name.

    `virtual_functions` is 0 where the message does not tell: events never do.
    """
    values = message.values
    name = text(values.get(IFLA_IFNAME))
    if not message.ifindex or not name:
        raise ValueError(f"no index or no name: {message.ifindex!r} {name!r}")
    info = _nested(values, IFLA_LINKINFO)
    kind = device_name(text(info.get(IFLA_INFO_KIND)))
    ethernet = message.hardware == ARPHRD_ETHER
    lower = number(values.get(IFLA_LINK))
    is_elsewhere = IFLA_LINK_NETNSID in values
    facts = LinkFacts(
        ifindex=message.ifindex,
        name=device_name(name),
        kind=kind,
        tun_type=_tun_type(info, ethernet) if kind == "tun" else None,
        mac=bytes(values.get(IFLA_ADDRESS, b"")).hex(":"),
        mtu_bytes=number(values.get(IFLA_MTU)) or 0,
        master=number(values.get(IFLA_MASTER)) or None,
        # A physical device may name itself.
        lower=None if is_elsewhere or lower in (0, message.ifindex) else lower,
        up=bool(message.flags & IFF_UP),
        carrier=bool(message.flags & IFF_LOWER_UP),
        ethernet=ethernet,
        alias=device_name(text(values.get(IFLA_IFALIAS))),
        lower_elsewhere=is_elsewhere,
        virtual_functions=virtual_functions_of(message) or 0,
    )
    return _with_kind_s_own(facts, info) if info else facts


def virtual_functions_of(message: LinkMessage) -> int | None:
    """IFLA_NUM_VF; None where the message does not tell."""
    return number(message.values.get(IFLA_NUM_VF))


def member_facts(facts: LinkFacts, bridge_message: LinkMessage) -> LinkFacts:
    """The same device with what an AF_BRIDGE NEWLINK says of it as a bridge's member.

    What is set through sysfs, or by `bridge link set`, is told in these alone.
    """
    return _as_member(facts, bridge_message.values, IFLA_PROTINFO)


def _nested(values: Values, kind: int) -> Values:
    value = values.get(kind)
    return {} if value is None else attributes(value)


def _with_kind_s_own(facts: LinkFacts, info: Values) -> LinkFacts:
    has_data, data = IFLA_INFO_DATA in info, _nested(info, IFLA_INFO_DATA)
    if has_data and facts.kind == "vlan":
        tpid = network_number(data.get(IFLA_VLAN_PROTOCOL))
        tag = Tag(tpid or TPID_8021Q, number(data.get(IFLA_VLAN_ID)) or 0)
        facts = replace(facts, tag=tag)
    elif has_data and facts.kind == "bond":
        facts = _as_bond(facts, data)
    elif has_data and facts.kind == "bridge":
        facts = replace(
            facts,
            stp=bool(number(data.get(IFLA_BR_STP_STATE))),
            group_fwd_mask=number(data.get(IFLA_BR_GROUP_FWD_MASK)) or 0,
            vlan_filtering=bool(number(data.get(IFLA_BR_VLAN_FILTERING))),
        )
    elif has_data and facts.kind in TUNNEL_KINDS:
        facts = _as_tunnel(facts, data)
    elif overhead_bytes := tunnel_overhead_bytes(facts.kind):
        facts = replace(facts, tunnel_overhead_bytes=overhead_bytes)
    if text(info.get(IFLA_INFO_SLAVE_KIND)) == b"bridge":
        facts = _as_member(facts, info, IFLA_INFO_SLAVE_DATA)
    return facts


def _as_bond(facts: LinkFacts, data: Values) -> LinkFacts:
    mode = number(data.get(IFLA_BOND_MODE)) or 0
    return replace(
        facts,
        bond_mode=BOND_MODES[mode] if mode < len(BOND_MODES) else f"mode {mode}",
        bond_active=number(data.get(IFLA_BOND_ACTIVE_SLAVE)) or None,
    )


def _as_member(facts: LinkFacts, values: Values, kind: int) -> LinkFacts:
    # The bridge itself, and switches that speak AF_BRIDGE, tell of no member.
    if kind not in values:
        return facts
    data = _nested(values, kind)
    mask = number(data.get(IFLA_BRPORT_GROUP_FWD_MASK)) or 0
    guard = bool(number(data.get(IFLA_BRPORT_GUARD)))
    # Most members have neither, and a copy costs as much as all else here.
    if (mask, guard) == (facts.port_group_fwd_mask, facts.bpdu_guard):
        return facts
    return replace(facts, port_group_fwd_mask=mask, bpdu_guard=guard)


def _as_tunnel(facts: LinkFacts, data: Values) -> LinkFacts:
    kind = facts.kind
    if kind == "vxlan":
        over_ipv6 = IFLA_VXLAN_GROUP6 in data or IFLA_VXLAN_LOCAL6 in data
        return replace(
            facts,
            tunnel_overhead_bytes=tunnel_overhead_bytes(kind, over_ipv6=over_ipv6),
            tunnel_lower=number(data.get(IFLA_VXLAN_LINK)) or None,
        )
    if kind == "geneve":
        over_ipv6 = IFLA_GENEVE_REMOTE6 in data
        return replace(
            facts, tunnel_overhead_bytes=tunnel_overhead_bytes(kind, over_ipv6=over_ipv6)
        )
    options = network_number(data.get(IFLA_GRE_OFLAGS)) or 0
    flags = number(data.get(IFLA_GRE_FLAGS)) or 0
    limits = kind.startswith("ip6") and not flags & IP6_TNL_F_IGN_ENCAP_LIMIT
    return replace(
        facts,
        tunnel_overhead_bytes=tunnel_overhead_bytes(
            kind, gre_flags=options, limits_encapsulation=limits
        ),
        tunnel_lower=number(data.get(IFLA_GRE_LINK)) or None,
    )


def _tun_type(info: Values, ethernet: bool) -> Literal["tun", "tap"]:
    tun_type = number(_nested(info, IFLA_INFO_DATA).get(IFLA_TUN_TYPE))
    # Only a tap carries Ethernet, should a kernel not name the type.
    return TUN_TYPES.get(tun_type or 0) or ("tap" if ethernet else "tun")
