# SPDX-License-Identifier: Apache-2.0
"""What the kernel's reasons and functions for a drop mean, in plain words.

Reasons are those of enum skb_drop_reason (include/net/dropreason-core.h) without their
prefix; kernels before 5.17 know none, and then the function says it.
"""

from __future__ import annotations

from typing import Final

from sentinel.audit.host import Host
from sentinel.traffic import LossSeen

OUR_CUTS: Final = frozenset({"TC_INGRESS", "TC_EGRESS"})
"""Reasons of frames that a tc program dropped: the checks and latches say those."""
OUR_SYMBOLS: Final = frozenset(
    {"sch_handle_ingress", "sch_handle_egress", "tc_run", "tcx_run", "tcf_classify"}
)
NOISE: Final = frozenset(
    {"OTHERHOST", "NO_SOCKET", "UNHANDLED_PROTO", "QUEUE_PURGE", "NOT_DROPPED_YET", "CONSUMED"}
)
"""Reasons of what nobody wanted: other hosts' frames, ports nobody listens at, queues of devices
that go away."""

CAPTURES: Final = frozenset({"packet_rcv", "tpacket_rcv", "packet_rcv_spkt"})
"""Functions that drop a capture's copy of a frame, not the frame."""

_ROOM_BYTES: Final = {
    "br_dev_queue_push_xmit": 18,
    "br_nf_dev_queue_xmit": 0,
    "ovs_vport_send": 14,
}
"""Functions that drop what is larger than the device's MTU, and how much of a frame is no part of
it there: a bridge leaves room for a tag, whether there is one or not (is_skb_forwardable); where
bridged packets go through iptables, the Ethernet header is off."""

_REASONS: Final = {
    "FULL_RING": (
        "the guest behind {at} does not empty its receive queue",
        "Look at the guest: it is stopped, out of CPU, or its network driver hangs. If it is "
        "alive and busy, give it a longer queue (rx_queue_size) or more of them.",
    ),
    "PKT_TOO_BIG": (
        "frames are larger than what {at} takes (MTU {mtu})",
        "Make the MTUs on the path one: `tapsentinel show PORT` draws it.",
    ),
    "NETFILTER_DROP": (
        "a rule of the host's packet filter drops them",
        "Look for the rule: nft list ruleset; iptables-save -c; ebtables-save.",
    ),
    "QDISC_DROP": (
        "the queue (qdisc) of {at} is full or drops by its rules",
        "Look at `tc -s qdisc show dev {at}`: its limit, its rate, its backlog.",
    ),
    "QDISC_OVERLIMIT": (
        "the queue (qdisc) of {at} is at its limit",
        "Look at `tc -s qdisc show dev {at}`: its limit, its rate, its backlog.",
    ),
    "CPU_BACKLOG": (
        "a CPU of the host does not keep up with what comes in",
        "Raise net.core.netdev_max_backlog, or spread receiving over more CPUs (RPS).",
    ),
    "XDP": ("an XDP program drops them", "Look whose: bpftool net show dev {at}."),
    "TAP_FILTER": (
        "the VMM's filter on {at} drops them",
        "The guest did not ask for these addresses: nothing to repair unless it should.",
    ),
    "TAP_TXFILTER": (
        "the VMM's filter on {at} drops them",
        "The guest did not ask for these addresses: nothing to repair unless it should.",
    ),
    "DEV_READY": ("{at} is not ready for frames", "Look whether its VMM runs and has it open."),
    "NOMEM": ("the host has no memory for them", "Free memory on the host."),
    "SKB_UCOPY_FAULT": (
        "they cannot be copied to the guest's memory",
        "Look at the VMM's log: its memory or its vhost worker is broken.",
    ),
    "HDR_TRUNC": ("they end inside their headers", "Look at who sends them: they are broken."),
    "PKT_TOO_SMALL": ("they are too short", "Look at who sends them: they are broken."),
    "SKB_GSO_SEG": (
        "a super-frame cannot be cut into segments",
        "Turn segmentation offload off at {at} (ethtool -K {at} gso off tso off) and see.",
    ),
    "SKB_CSUM": ("their checksum is wrong", "Look at who sends them, and at its offloads."),
    "IP_RPFILTER": (
        "the host's reverse path filter drops them",
        "Look at net.ipv4.conf.*.rp_filter and at the route back.",
    ),
    "BRIDGE_INGRESS_STP_STATE": (
        "spanning tree blocks {at}",
        "Look at `bridge link show dev {at}`: its state, and who the root is.",
    ),
    "MAC_INVALID_SOURCE": ("their source MAC is no host's", "Look at who sends them."),
    "LOCAL_MAC": (
        "their source MAC is one of the host's own: a loop, or a MAC used twice",
        "Look for the MAC: ip link; bridge fdb show.",
    ),
    "NO_TX_TARGET": ("no member of the bridge is to get them", "Look at `bridge link show`."),
    "VXLAN_VNI_NOT_FOUND": (
        "no VXLAN device has their network (VNI)",
        "Look at `ip -d link show type vxlan`.",
    ),
    "VXLAN_NO_REMOTE": ("the VXLAN device knows no other end", "Look at `bridge fdb show`."),
    "RECURSION_LIMIT": (
        "they go round in circles among the host's devices",
        "Look for a loop: `ip -d link show`, `bridge link show`.",
    ),
    "OVS_DROP_EXPLICIT": (
        "a flow of Open vSwitch drops them",
        "Look for it: ovs-appctl ofproto/trace, ovs-ofctl dump-flows.",
    ),
    "OVS_DROP_LAST_ACTION": (
        "no flow of Open vSwitch leads them anywhere",
        "Look for it: ovs-appctl ofproto/trace, ovs-ofctl dump-flows.",
    ),
    "OVS_DROP_METER": ("a meter of Open vSwitch drops them", "Look at ovs-ofctl dump-meters."),
}
_SYMBOLS: Final = {
    "tun_net_xmit": _REASONS["FULL_RING"],
    "br_handle_frame": (
        "the bridge takes no frames from {at}",
        "Look at `bridge link show dev {at}`: blocked by spanning tree, or its guard?",
    ),
    "br_handle_frame_finish": (
        "the bridge takes no frames from {at}",
        "Look at `bridge link show dev {at}` and `bridge vlan show dev {at}`.",
    ),
    "__allowed_ingress": (
        "the bridge's VLAN filter drops what comes in by {at}",
        "Look at `bridge vlan show dev {at}`.",
    ),
    "br_handle_vlan": (
        "the bridge's VLAN filter drops what goes out by {at}",
        "Look at `bridge vlan show dev {at}`.",
    ),
    "nf_hook_slow": _REASONS["NETFILTER_DROP"],
    "ovs_dp_upcall": (
        "Open vSwitch cannot ask its daemon about them",
        "Look whether ovs-vswitchd runs, and at `ovs-appctl dpif/show`.",
    ),
    "vlan_dev_hard_start_xmit": ("{at} does not take them", "Look at what is below {at}."),
    "bond_start_xmit": ("{at} has no slave to send by", "Look at /proc/net/bonding/{at}."),
    "enqueue_to_backlog": _REASONS["CPU_BACKLOG"],
}


def is_our_cut(loss: LossSeen) -> bool:
    """Whether a tc program took the frames, as our own do."""
    return loss.reason in OUR_CUTS or loss.symbol.split(".")[0] in OUR_SYMBOLS


def is_too_large(host: Host, loss: LossSeen) -> bool:
    """Whether frames were lost because they did not fit the device they were at."""
    if loss.reason == "PKT_TOO_BIG":
        return True
    at, room_bytes = host.links.get(loss.at_ifindex), _ROOM_BYTES.get(loss.symbol.split(".")[0])
    if at is None or not at.up or room_bytes is None:
        return False
    return loss.largest_bytes > at.mtu_bytes + room_bytes


def loss_text(host: Host, loss: LossSeen) -> str:
    """Why frames were lost, as a part of a sentence."""
    at = host.links.get(loss.at_ifindex)
    symbol = loss.symbol.split(".")[0]
    if at is not None and is_too_large(host, loss) and symbol in _ROOM_BYTES:
        return (
            f"{_switch(host, loss)} does not forward to {at.name} what is larger than its MTU "
            f"of {at.mtu_bytes}"
        )
    known = _known(loss)
    if known is None:
        reason = loss.reason or "no reason"
        return f"the kernel gave them up: {reason} in {loss.symbol or 'an unknown function'}"
    return _filled(host, loss, known[0])


def loss_repair(host: Host, loss: LossSeen) -> str:
    """What to look at or to change."""
    if is_too_large(host, loss):
        return "Make the MTUs on the path one: `tapsentinel show PORT` draws it."
    known = _known(loss)
    if known is None:
        return "The kernel's source says more: look for the function and the reason."
    return _filled(host, loss, known[1])


def _known(loss: LossSeen) -> tuple[str, str] | None:
    return _REASONS.get(loss.reason) or _SYMBOLS.get(loss.symbol.split(".")[0])


def _filled(host: Host, loss: LossSeen, text: str) -> str:
    at = host.links.get(loss.at_ifindex or loss.from_ifindex)
    name = host.name(loss.at_ifindex or loss.from_ifindex)
    mtu = "unknown" if at is None else str(at.mtu_bytes)
    return text.replace("{mtu}", mtu).replace("{at}", name)


def _switch(host: Host, loss: LossSeen) -> str:
    at = host.links.get(loss.at_ifindex)
    master = host.links.get(at.master) if at is not None and at.master is not None else None
    if master is None:
        return "the kernel"
    return f"bridge {master.name}" if master.kind == "bridge" else "Open vSwitch"
