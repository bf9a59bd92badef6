# SPDX-License-Identifier: Apache-2.0
"""BPDUs that the host sends or lets through: a switch with BPDU guard shuts its port for one.

A Linux bridge forwards frames to 01-80-C2-00-00-08 (provider bridges' spanning tree, IEEE
802.1Q-2018 table 8-2) only where bit 8 of a group_fwd_mask says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.words import counted, ip_link, listed, remark, shell, wall_ns
from sentinel.event import Moment
from sentinel.link import LinkFacts

HOST_STP: Final = "host-stp"
FORWARDS: Final = "forwards-bpdu"
BPDU_BITS: Final = 1 << 0 | 1 << 8
_MOST_MEMBERS: Final = 8


def host_stp(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each bridge that speaks spanning tree and has a way to the wire."""
    del explained
    for link in host.links.values():
        if link.kind == "bridge" and link.stp:
            wire = host.reaches_wire(link)
            if wire is not None:
                off = ip_link("set", link.name, "type", "bridge", "stp_state", 0)
                yield _speaks(host, link.name, link.ifindex, wire, "STP", off)
    for name, bridge in host.facts.ovs.bridges.items():
        wire = _ovs_wire(host, name)
        if wire is not None and (bridge.speaks_stp or bridge.speaks_rstp):
            key = "rstp_enable" if bridge.speaks_rstp else "stp_enable"
            off = shell("ovs-vsctl", "set", "Bridge", name, f"{key}=false")
            protocol = "RSTP" if bridge.speaks_rstp else "STP"
            yield _speaks(host, name, _ifindex(host, name), wire, protocol, off)


def _speaks(
    host: Host, name: str, ifindex: int, wire: LinkFacts, protocol: str, off: str
) -> AuditFinding:
    facts = host.facts
    frames = facts.host_bpdus.get(wire.ifindex, 0)
    now_ns = wall_ns(facts, facts.now_ns)
    what = (
        f"{name} speaks spanning tree ({protocol}) and {wire.name} is its way to the wire: a "
        f"switch with BPDU guard shuts the port of {wire.name} for one BPDU."
    )
    if frames:
        what += f" The host sent {counted(frames, 'BPDU', 'BPDUs')} there so far."
    return AuditFinding(
        id=f"{HOST_STP}/{name}",
        rule=HOST_STP,
        severity=Severity.WARNING,
        device=name,
        ifindex=ifindex,
        what=what,
        repair=f"Turn spanning tree off on {name}.",
        commands=(
            remark("first make sure that there is no loop behind it"),
            off,
            remark('or let the guard drop them: [checks.bpdu] host = "drop"'),
        ),
        frames=frames,
        evidence=(
            (Moment(now_ns, wire.name, f"{counted(frames, 'BPDU', 'BPDUs')} of the host's own"),)
            if frames
            else ()
        ),
    )


def forwards_bpdu(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each bridge that lets BPDUs through, or that a member does so for."""
    del explained
    for link in host.links.values():
        if link.kind == "bridge":
            yield from _masks(host, link)
    for name, bridge in host.facts.ovs.bridges.items():
        if bridge.forwards_bpdu:
            off = shell("ovs-vsctl", "remove", "Bridge", name, "other_config", "forward-bpdu")
            yield _forwards(
                host,
                name,
                _ifindex(host, name),
                _ovs_wire(host, name),
                f"{name} forwards BPDUs (other_config:forward-bpdu)",
                f"Remove forward-bpdu from {name}.",
                [off],
            )


def _masks(host: Host, bridge: LinkFacts) -> Iterator[AuditFinding]:
    members = [
        one for one in host.members.get(bridge.ifindex, ()) if one.port_group_fwd_mask & BPDU_BITS
    ]
    own = bridge.group_fwd_mask & BPDU_BITS
    if not own and not members:
        return
    said, commands = [], []
    if own:
        rest = bridge.group_fwd_mask & ~BPDU_BITS
        said.append(f"group_fwd_mask {bridge.group_fwd_mask:#x}")
        commands.append(
            ip_link("set", bridge.name, "type", "bridge", "group_fwd_mask", f"{rest:#x}")
        )
    if members:
        said.append(f"group_fwd_mask of {listed([one.name for one in members])}")
    for one in members[:_MOST_MEMBERS]:
        rest = one.port_group_fwd_mask & ~BPDU_BITS
        commands.append(
            ip_link("set", one.name, "type", "bridge_slave", "group_fwd_mask", f"{rest:#x}")
        )
    if len(members) > _MOST_MEMBERS:
        commands.append(remark(f"and so on for {len(members) - _MOST_MEMBERS:,} more"))
    bits = bridge.group_fwd_mask & BPDU_BITS
    for one in members:
        bits |= one.port_group_fwd_mask & BPDU_BITS
    to = listed([f"01-80-C2-00-00-{bit:02X}" for bit in range(16) if bits >> bit & 1])
    yield _forwards(
        host,
        bridge.name,
        bridge.ifindex,
        host.reaches_wire(bridge),
        f"{bridge.name} forwards BPDUs to {to} ({' and '.join(said)})",
        f"Clear the {'bit' if bits.bit_count() == 1 else 'bits'} in the masks of {bridge.name}.",
        commands,
    )


def _forwards(
    host: Host,
    name: str,
    ifindex: int,
    wire: LinkFacts | None,
    what: str,
    repair: str,
    commands: list[str],
) -> AuditFinding:
    if wire is not None:
        what += (
            f": a guest's BPDU leaves by {wire.name}, and a switch with BPDU guard shuts the "
            f"port for it."
        )
    else:
        what += ", but no way to the wire is known: they reach the other members."
    del host
    return AuditFinding(
        id=f"{FORWARDS}/{name}",
        rule=FORWARDS,
        severity=Severity.NOTICE if wire is None else Severity.WARNING,
        device=name,
        ifindex=ifindex,
        what=what,
        repair=repair,
        commands=tuple(commands),
        opens_incident=wire is not None,
    )


def _ovs_wire(host: Host, bridge: str) -> LinkFacts | None:
    """The uplink that is on a bridge of Open vSwitch."""
    for member in host.ovs_members(bridge):
        wire = None if host.is_port(member) else host.reaches_wire(member)
        if wire is not None:
            return wire
    return None


def _ifindex(host: Host, name: str) -> int:
    link = host.by_name(name)
    return 0 if link is None else link.ifindex
