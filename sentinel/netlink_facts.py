# SPDX-License-Identifier: Apache-2.0
"""An rtnetlink message of a link into facts.

What is read is what the kernel says; which attribute a kind of device keeps it
under stands here, one function for each kind.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any, Final, Literal

from sentinel.link import LinkFacts, device_name
from sentinel.tag import TPID_8021Q, Tag
from sentinel.tunnel import TUNNEL_KINDS, tunnel_overhead_bytes

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


def facts_from_message(message: Any) -> LinkFacts:
    """Facts of an AF_UNSPEC NEWLINK; raises ValueError for one without index or name.

    `virtual_functions` is 0 where the message does not tell: events never do.
    """
    name = message.get_attr("IFLA_IFNAME")
    if not message["index"] or not name:
        raise ValueError(f"no index or no name: {message['index']!r} {name!r}")
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    ethernet = message["ifi_type"] == ARPHRD_ETHER
    lower = message.get_attr("IFLA_LINK")
    is_elsewhere = message.get_attr("IFLA_LINK_NETNSID") is not None
    facts = LinkFacts(
        ifindex=message["index"],
        name=device_name(name),
        kind=kind,
        tun_type=_tun_type(info, ethernet) if kind == "tun" else None,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or None,
        # A physical device may name itself.
        lower=None if is_elsewhere or lower in (0, message["index"]) else lower,
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        ethernet=ethernet,
        alias=device_name(message.get_attr("IFLA_IFALIAS") or ""),
        lower_elsewhere=is_elsewhere,
        virtual_functions=virtual_functions_of(message) or 0,
    )
    return _with_kind_s_own(facts, info) if info else facts


def virtual_functions_of(message: Any) -> int | None:
    """IFLA_NUM_VF; None where the message does not tell."""
    number = message.get_attr("IFLA_NUM_VF")
    return number if isinstance(number, int) else None


def member_facts(facts: LinkFacts, bridge_message: Any) -> LinkFacts:
    """The same device with what an AF_BRIDGE NEWLINK says of it as a bridge's member.

    What is set through sysfs, or by `bridge link set`, is told in these alone.
    """
    return _as_member(facts, bridge_message.get_attr("IFLA_PROTINFO"))


def _with_kind_s_own(facts: LinkFacts, info: Any) -> LinkFacts:
    data = info.get_attr("IFLA_INFO_DATA")
    # What pyroute2 knows no layout of comes as text.
    if hasattr(data, "get_attr"):
        if facts.kind == "vlan":
            tpid, vid = data.get_attr("IFLA_VLAN_PROTOCOL"), data.get_attr("IFLA_VLAN_ID")
            facts = replace(facts, tag=Tag(tpid or TPID_8021Q, vid or 0))
        elif facts.kind == "bond":
            facts = _as_bond(facts, data)
        elif facts.kind == "bridge":
            facts = replace(
                facts,
                stp=bool(data.get_attr("IFLA_BR_STP_STATE")),
                group_fwd_mask=data.get_attr("IFLA_BR_GROUP_FWD_MASK") or 0,
                vlan_filtering=bool(data.get_attr("IFLA_BR_VLAN_FILTERING")),
            )
        elif facts.kind in TUNNEL_KINDS:
            facts = _as_tunnel(facts, data)
        elif facts.kind == "macsec":
            facts = replace(facts, tunnel_overhead_bytes=tunnel_overhead_bytes("macsec"))
    elif overhead_bytes := tunnel_overhead_bytes(facts.kind):
        facts = replace(facts, tunnel_overhead_bytes=overhead_bytes)
    if info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge":
        facts = _as_member(facts, info.get_attr("IFLA_INFO_SLAVE_DATA"))
    return facts


def _as_bond(facts: LinkFacts, data: Any) -> LinkFacts:
    number = data.get_attr("IFLA_BOND_MODE") or 0
    return replace(
        facts,
        bond_mode=BOND_MODES[number] if number < len(BOND_MODES) else f"mode {number}",
        bond_active=data.get_attr("IFLA_BOND_ACTIVE_SLAVE") or None,
    )


def _as_member(facts: LinkFacts, data: Any) -> LinkFacts:
    if not hasattr(data, "get_attr"):
        return facts
    return replace(
        facts,
        port_group_fwd_mask=data.get_attr("IFLA_BRPORT_GROUP_FWD_MASK") or 0,
        bpdu_guard=bool(data.get_attr("IFLA_BRPORT_GUARD")),
    )


def _as_tunnel(facts: LinkFacts, data: Any) -> LinkFacts:
    kind = facts.kind
    if kind == "vxlan":
        over_ipv6 = any(data.get_attr(f"IFLA_VXLAN_{end}6") for end in ("GROUP", "LOCAL"))
        return replace(
            facts,
            tunnel_overhead_bytes=tunnel_overhead_bytes(kind, over_ipv6=over_ipv6),
            tunnel_lower=data.get_attr("IFLA_VXLAN_LINK") or None,
        )
    if kind == "geneve":
        over_ipv6 = bool(data.get_attr("IFLA_GENEVE_REMOTE6"))
        return replace(
            facts, tunnel_overhead_bytes=tunnel_overhead_bytes(kind, over_ipv6=over_ipv6)
        )
    is_ip6 = kind.startswith("ip6")
    prefix = "IFLA_IP6GRE" if is_ip6 else "IFLA_GRE"
    options = data.get_attr(f"{prefix}_OFLAGS") or 0
    if is_ip6:
        # pyroute2 reads this one as it lies: in network order.
        options = socket.ntohs(options)
    flags = data.get_attr(f"{prefix}_FLAGS") or 0
    limits = is_ip6 and not flags & IP6_TNL_F_IGN_ENCAP_LIMIT
    return replace(
        facts,
        tunnel_overhead_bytes=tunnel_overhead_bytes(
            kind, gre_flags=options, limits_encapsulation=limits
        ),
        tunnel_lower=data.get_attr(f"{prefix}_LINK") or None,
    )


def _tun_type(info: Any, ethernet: bool) -> Literal["tun", "tap"]:
    data = info.get_attr("IFLA_INFO_DATA")
    number = data.get_attr("IFLA_TUN_TYPE") if data else None
    # Only a tap carries Ethernet, should a kernel not name the type.
    return TUN_TYPES.get(number or 0) or ("tap" if ethernet else "tun")
