# SPDX-License-Identifier: Apache-2.0
"""A device that carries less than what is above it sends: VLAN, tunnel, bond, veth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.words import (
    by_how_much,
    counted,
    frames_were,
    ip_link,
    listed,
    remark,
    since,
    wall_ns,
)
from sentinel.event import Moment
from sentinel.link import LinkFacts
from sentinel.traffic import PairSeen
from sentinel.uplinks import LARGEST_TUNNEL_MTU_BYTES, STACKED_KINDS, TEAM_KINDS

RULE: Final = "lower-mtu"
_MOST_COMMANDS: Final = 8


@dataclass(frozen=True, slots=True)
class _Above:
    """A device that sends more than the lower one carries."""

    link: LinkFacts
    how: str
    """"stacked", "tunnel", "bond" or "peer"."""
    needed_bytes: int


def lower_mtu(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each device that carries too little, however many are above it."""
    by_lower: dict[int, list[_Above]] = {}
    for link in host.links.values():
        for lower, above in _too_small(host, link):
            by_lower.setdefault(lower.ifindex, []).append(above)
    for ifindex, all_above in by_lower.items():
        all_above.sort(key=lambda one: (one.how, one.link.name, one.link.ifindex))
        yield _finding(host, host.links[ifindex], all_above, explained)


def _too_small(host: Host, link: LinkFacts) -> Iterator[tuple[LinkFacts, _Above]]:
    """The devices that carry less than this one sends. What a second tag needs is another rule's.

    A device that is down sends nothing.
    """
    if not link.up:
        return
    lower = host.links.get(link.lower) if link.lower is not None else None
    if lower is not None and link.kind in STACKED_KINDS:
        needed = link.mtu_bytes + link.tunnel_overhead_bytes  # of macsec
        if lower.mtu_bytes < needed:
            yield lower, _Above(link, "stacked", needed)
    # A peer that moved away leaves its ifindex behind until this end is told anew.
    if lower is not None and _is_smaller_peer(link, lower):
        yield lower, _Above(link, "peer", link.mtu_bytes)
    under = host.links.get(link.tunnel_lower) if link.tunnel_lower is not None else None
    if under is not None and link.tunnel_overhead_bytes:
        needed = link.mtu_bytes + link.tunnel_overhead_bytes
        # A datapath's tunnel takes its MTU from each frame's route.
        if link.mtu_bytes < LARGEST_TUNNEL_MTU_BYTES and under.mtu_bytes < needed:
            yield under, _Above(link, "tunnel", needed)
    if link.kind in TEAM_KINDS:
        for slave in host.below(link):
            if slave.mtu_bytes < link.mtu_bytes:
                yield slave, _Above(link, "bond", link.mtu_bytes)


def _is_smaller_peer(link: LinkFacts, peer: LinkFacts) -> bool:
    is_pair = link.kind == peer.kind == "veth" and peer.lower == link.ifindex
    return is_pair and peer.mtu_bytes < link.mtu_bytes


def _finding(
    host: Host, lower: LinkFacts, above: list[_Above], explained: Explained
) -> AuditFinding:
    facts = host.facts
    needed = max(one.needed_bytes for one in above)
    seen_at = _seen_at(host, lower)
    less = needed - lower.mtu_bytes
    explained.too_small[seen_at] = max(less, explained.too_small.get(seen_at, 0))
    rows = [row for row in host.to_wire.get(seen_at, ()) if _shows(host, row, less)]
    oversized = sum(row.oversized for row in rows)
    what = "; ".join(_clauses(lower, above)) + ". What is larger is lost there."
    if rows:
        begun = since(facts, min(row.first_seen_ns for row in rows))
        what += f" {begun}, {frames_were(oversized)} oversized by {by_how_much(rows)}."
    is_on_way = host.is_on_way(lower) or any(host.is_on_way(one.link) for one in above)
    severity = Severity.WARNING if is_on_way else Severity.NOTICE
    return AuditFinding(
        id=f"{RULE}/{lower.name}",
        rule=RULE,
        severity=Severity.CRITICAL if rows else severity,
        device=lower.name,
        ifindex=lower.ifindex,
        what=what,
        repair=f"Raise the MTU of {lower.name} to {needed:,}, or lower that of "
        f"{listed([one.link.name for one in above])}.",
        commands=_commands(lower, above, needed),
        frames=oversized,
        since_wall_ns=wall_ns(facts, min(row.first_seen_ns for row in rows)) if rows else None,
        last_wall_ns=wall_ns(facts, max(row.last_oversized_ns for row in rows)) if rows else None,
        evidence=tuple(_evidence(host, lower, above, rows)),
        opens_incident=is_on_way or bool(rows),
    )


def _seen_at(host: Host, lower: LinkFacts) -> int:
    """Where frames that leave by a device are counted: of a slave mostly at its bond."""
    master = host.links.get(lower.master) if lower.master is not None else None
    is_counted = lower.ifindex in host.facts.devices
    if is_counted or master is None or master.kind not in TEAM_KINDS:
        return lower.ifindex
    return master.ifindex


def _shows(host: Host, row: PairSeen, less_bytes: int) -> bool:
    is_seen = row.oversized > 0 and host.is_recent(row.last_oversized_ns)
    return is_seen and row.largest_excess_bytes <= less_bytes


def _clauses(lower: LinkFacts, above: list[_Above]) -> Iterator[str]:
    carries = f"{lower.name} carries {lower.mtu_bytes:,} bytes, but "
    for how in ("stacked", "peer", "bond", "tunnel"):
        same = [one for one in above if one.how == how]
        if not same:
            continue
        names = listed([one.link.name for one in same])
        send = "send" if len(same) > 1 else "sends"
        up_to = f"up to {max(one.needed_bytes for one in same):,}"
        yield (
            carries
            + {
                "stacked": f"{names} on it {send} {up_to}",
                "peer": f"its peer {names} {send} {up_to}",
                "bond": f"{names}, whose slave it is, {send} {up_to}",
                "tunnel": f"the packets of {names} (MTU {_mtus(same)}) have {up_to} with the "
                f"tunnel's headers",
            }[how]
        )
        carries = ""


def _mtus(same: list[_Above]) -> str:
    return listed(sorted({f"{one.link.mtu_bytes:,}" for one in same}))


def _evidence(
    host: Host, lower: LinkFacts, above: list[_Above], rows: list[PairSeen]
) -> Iterator[Moment]:
    facts = host.facts
    for row in rows[:4]:
        frames = counted(row.oversized, "frame", "frames")
        said = f"the latest of {frames} oversized by {by_how_much([row])}"
        yield Moment(wall_ns(facts, row.last_oversized_ns), lower.name, said)
    through = len(host.ports_through(lower.ifindex))
    if not through:
        through = len(set().union(*(host.ports_through(one.link.ifindex) for one in above)))
    if through:
        have = counted(through, "port has its", "ports have their")
        said = f"{have} way through it, of {len(facts.paths):,}"
        yield Moment(wall_ns(facts, facts.now_ns), lower.name, said)


def _commands(lower: LinkFacts, above: list[_Above], needed_bytes: int) -> tuple[str, ...]:
    lines = [ip_link("set", lower.name, "mtu", needed_bytes), remark("or")]
    for one in above[:_MOST_COMMANDS]:
        less = one.needed_bytes - lower.mtu_bytes
        lines.append(remark(ip_link("set", one.link.name, "mtu", one.link.mtu_bytes - less)))
    if len(above) > _MOST_COMMANDS:
        lines.append(remark(f"and so on for {len(above) - _MOST_COMMANDS:,} more"))
    return tuple(lines)
