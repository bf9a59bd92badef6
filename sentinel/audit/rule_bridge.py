# SPDX-License-Identifier: Apache-2.0
"""Members of a bridge with different MTUs: it does not split, it drops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.words import counted, ip_link, listed, remark, wall_ns
from sentinel.event import Moment
from sentinel.link import LinkFacts
from sentinel.uplinks import LARGEST_TUNNEL_MTU_BYTES

RULE: Final = "bridge-mtu"
_MOST_COMMANDS: Final = 8
_MOST_SIZES: Final = 4


def bridge_mtu(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each bridge, of Linux or of Open vSwitch, whose members differ."""
    del explained
    for link in host.links.values():
        if link.kind == "bridge":
            yield from _judged(host, link.name, link, host.members.get(link.ifindex, []))
    for name in host.facts.ovs.bridges:
        yield from _judged(host, name, host.by_name(name), host.ovs_members(name))


def _judged(
    host: Host, name: str, bridge: LinkFacts | None, members: list[LinkFacts]
) -> Iterator[AuditFinding]:
    # One that is down gets no frames; a datapath's tunnel takes its MTU from each route.
    members = [one for one in members if one.up and one.mtu_bytes < LARGEST_TUNNEL_MTU_BYTES]
    by_mtu: dict[int, list[LinkFacts]] = {}
    for member in members:
        by_mtu.setdefault(member.mtu_bytes, []).append(member)
    if len(by_mtu) < 2:
        return
    smallest, largest = min(by_mtu), max(by_mtu)
    ports = [one for one in members if host.is_port(one)]
    # Guests on a network of larger frames: nothing of theirs is lost, and all of them agree.
    guests_fit = bool(ports) and {one.mtu_bytes for one in ports} == {smallest}
    is_quiet = guests_fit or not any(one.ifindex in host.facts.devices for one in members)
    narrow = by_mtu[smallest]
    sizes = [
        f"{listed([one.name for one in by_mtu[mtu]])} {mtu:,}"
        for mtu in sorted(by_mtu)[:_MOST_SIZES]
    ]
    if len(by_mtu) > _MOST_SIZES:
        sizes.append(f"others up to {largest:,}")
    now_ns = wall_ns(host.facts, host.facts.now_ns)
    yield AuditFinding(
        id=f"{RULE}/{name}",
        rule=RULE,
        severity=Severity.NOTICE if is_quiet else Severity.WARNING,
        device=name,
        ifindex=0 if bridge is None else bridge.ifindex,
        what=f"Members of {name} have different MTUs: {', '.join(sizes)}. "
        f"{name} drops what is larger than {smallest:,} bytes on its way to "
        f"{listed([one.name for one in narrow])}.",
        repair=f"Give all members of {name} one MTU.",
        commands=_commands(narrow, largest, smallest),
        evidence=tuple(
            Moment(now_ns, name, f"{counted(len(found), 'member', 'members')} of MTU {mtu:,}")
            for mtu, found in sorted(by_mtu.items())[:_MOST_SIZES]
        ),
        opens_incident=not is_quiet,
    )


def _commands(narrow: list[LinkFacts], largest: int, smallest: int) -> tuple[str, ...]:
    lines = [ip_link("set", one.name, "mtu", largest) for one in narrow[:_MOST_COMMANDS]]
    if len(narrow) > _MOST_COMMANDS:
        lines.append(remark(f"and so on for {len(narrow) - _MOST_COMMANDS:,} more"))
    lines.append(remark(f"or {smallest} for all others, and for the guests behind them"))
    return tuple(lines)
