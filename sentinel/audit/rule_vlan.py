# SPDX-License-Identifier: Apache-2.0
"""A VLAN device on a VLAN device: two tags where the wire has room for one.

A frame may have one tag beyond its largest size (IEEE 802.3-2018 section 3.2.7), and a
second one only where that is meant so: a service tag (IEEE 802.1Q-2018 section 9.5).
"""

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
    pair_text,
    remark,
    shell,
    since,
    spelled,
    wall_ns,
)
from sentinel.event import Moment
from sentinel.link import LinkFacts
from sentinel.tag import TAG_BYTES, Tag
from sentinel.traffic import PairSeen
from sentinel.uplinks import TEAM_KINDS

RULE: Final = "vlan-on-vlan"


@dataclass(frozen=True, slots=True)
class _Stack:
    chain: tuple[LinkFacts, ...]
    """From the upper device down to the bond or NIC."""
    lower: LinkFacts
    """The VLAN device that the upper one is on."""
    tags: tuple[Tag, ...]
    """As on the wire, outermost first."""
    narrow: LinkFacts
    """Of the bond and its slaves the one that carries least."""
    needed_bytes: int

    @property
    def upper(self) -> LinkFacts:
        return self.chain[0]

    @property
    def base(self) -> LinkFacts:
        return self.chain[-1]

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.narrow.mtu_bytes

    @property
    def drawn(self) -> str:
        """Such as "vlan100@vlan20 → bond0"."""
        text = self.upper.name
        for above, link in zip(self.chain, self.chain[1:], strict=False):
            is_vlan = link.kind == "vlan" and above.lower == link.ifindex
            text += f"{'@' if is_vlan else ' → '}{link.name}"
        return text


def vlan_on_vlan(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each VLAN device that is on another of 802.1Q."""
    for link in host.links.values():
        if link.kind == "vlan" and link.tag is not None:
            stack = _stack(host, link)
            if stack is not None:
                yield _finding(host, stack, explained)


def _stack(host: Host, upper: LinkFacts) -> _Stack | None:
    chain = _chain(host, upper)
    lower = next((link for link in chain[1:] if link.tag is not None), None)
    if lower is None or lower.tag is None or host.is_service(lower.tag):
        return None
    tags = tuple(link.tag for link in reversed(chain) if link.tag is not None)
    outside = 0
    while outside < len(tags) and host.is_service(tags[outside]):
        outside += 1
    wires = [chain[-1], *(host.below(chain[-1]) if chain[-1].kind in TEAM_KINDS else ())]
    smallest = min(wire.mtu_bytes for wire in wires)
    # A slave rather than its bond: that is what puts frames on the wire.
    narrow = next(wire for wire in (*wires[1:], wires[0]) if wire.mtu_bytes == smallest)
    needed = upper.mtu_bytes + TAG_BYTES * max(0, len(tags) - outside - 1)
    return _Stack(tuple(chain), lower, tags, narrow, needed)


def _chain(host: Host, upper: LinkFacts) -> list[LinkFacts]:
    """The device and what is below it, down to the bond or NIC; of a bridge its first way out."""
    chain, seen = [upper], {upper.ifindex}
    while chain[-1].kind not in TEAM_KINDS:
        lower = next((one for one in host.below(chain[-1]) if one.ifindex not in seen), None)
        if lower is None:
            break
        chain.append(lower)
        seen.add(lower.ifindex)
    return chain


def _finding(host: Host, stack: _Stack, explained: Explained) -> AuditFinding:
    facts, upper = host.facts, stack.upper
    outer, inner = stack.tags[:2]
    rows = host.pair_to_wire(stack.base, outer, inner)
    for wire in host.wires(stack.base):
        explained.pairs.add((wire.ifindex, outer, inner))
        explained.stacked.add(wire.ifindex)
    oversized = sum(row.oversized for row in rows)
    is_lost = oversized > 0 and not stack.fits
    return AuditFinding(
        id=f"{RULE}/{upper.name}",
        rule=RULE,
        severity=Severity.CRITICAL if is_lost else Severity.WARNING,
        device=upper.name,
        ifindex=upper.ifindex,
        what=f"{_what(stack)}{_seen(host, stack, rows)}",
        repair=f"Attach {upper.name} to {stack.base.name}.",
        commands=_commands(host, stack),
        frames=oversized if is_lost else sum(row.frames for row in rows),
        since_wall_ns=wall_ns(facts, min(row.first_seen_ns for row in rows)) if rows else None,
        last_wall_ns=wall_ns(facts, max(_last_ns(row, is_lost) for row in rows)) if rows else None,
        evidence=tuple(_evidence(host, stack, rows, is_lost)),
    )


def _what(stack: _Stack) -> str:
    base, narrow = stack.base.name, stack.narrow
    text = (
        f"{stack.upper.name} is stacked on {stack.lower.name} ({stack.drawn}): every tenant "
        f"frame leaves {base} with {spelled(len(stack.tags))} tags, "
    )
    if stack.fits:
        return text + (
            f"VLAN {stack.tags[0]} outside. There is room for them ({stack.needed_bytes} of "
            f"{narrow.mtu_bytes} bytes), but a switch behind {base} sees VLAN {stack.tags[0]} only."
        )
    where = "it" if narrow is stack.base else narrow.name
    return text + f"{stack.needed_bytes} bytes where {where} carries {narrow.mtu_bytes}."


def _seen(host: Host, stack: _Stack, rows: list[PairSeen]) -> str:
    frames = sum(row.frames for row in rows)
    if not frames:
        return ""
    begun = since(host.facts, min(row.first_seen_ns for row in rows))
    oversized = sum(row.oversized for row in rows)
    if stack.fits:
        return f" {begun}, {counted(frames, 'frame', 'frames')} left so."
    if not oversized:
        were = counted(frames, "frame", "frames")
        return f" {begun}, {were} left so, none of them oversized so far."
    return f" {begun}, {frames_were(oversized)} oversized by {by_how_much(rows)}."


def _last_ns(row: PairSeen, of_oversized: bool) -> int:
    return row.last_oversized_ns or row.last_seen_ns if of_oversized else row.last_seen_ns


def _evidence(host: Host, stack: _Stack, rows: list[PairSeen], is_lost: bool) -> Iterator[Moment]:
    facts = host.facts
    pair = pair_text(stack.tags[0], stack.tags[1])
    for row in rows:
        place = host.name(row.ifindex)
        yield Moment(wall_ns(facts, row.first_seen_ns), place, f"the first frame with {pair}")
        said = f"the latest of {counted(row.frames, 'frame', 'frames')} with {pair}"
        if is_lost and row.oversized:
            said += f"; {row.oversized:,} oversized by {by_how_much([row])}"
        if row.largest_wire_bytes:
            said += f", the largest had {row.largest_wire_bytes:,} bytes"
        yield Moment(wall_ns(facts, _last_ns(row, is_lost)), place, said)
    through = len(host.ports_through(stack.upper.ifindex))
    if through:
        have = counted(through, "port has its", "ports have their")
        said = f"{have} way to the wire through it, of {len(facts.paths):,}"
        yield Moment(wall_ns(facts, facts.now_ns), stack.upper.name, said)


def _commands(host: Host, stack: _Stack) -> tuple[str, ...]:
    upper, base, tag = stack.upper, stack.base, stack.tags[-1]
    lines = [
        remark("a VLAN device cannot be moved: delete it and add it again"),
        shell("ip", "address", "show", "dev", upper.name)
        + "  "
        + remark("addresses and routes go with it: note them"),
        ip_link("delete", upper.name),
    ]
    taken = _same_tag(host, upper, base)
    if taken is not None:
        lines.append(remark(f"{taken.name} has VLAN {tag} of {base.name} already: delete that"))
    adding: list[object] = ["ip", "link", "add", "link", base.name, "name", upper.name]
    adding += ["mtu", min(upper.mtu_bytes, base.mtu_bytes)]
    if upper.mac and upper.mac not in (stack.lower.mac, base.mac):
        adding += ["address", upper.mac]
    adding += ["type", "vlan"]
    if tag.is_service:
        adding += ["protocol", "802.1ad"]
    lines.append(shell(*adding, "id", tag.vid))
    master = host.links.get(upper.master) if upper.master is not None else None
    if master is not None:
        if master.kind == "openvswitch":
            lines.append(remark(f"add {upper.name} to its Open vSwitch bridge again"))
        else:
            lines.append(ip_link("set", upper.name, "master", master.name))
    lines.append(ip_link("set", upper.name, "up"))
    lines.append(remark("and in the file that makes it, or it comes back as it was"))
    outer = stack.lower.tag
    if outer is not None:
        lines.append(remark(f"meant to be so? [audit] service_vlans = [{outer.vid}]"))
    return tuple(lines)


def _same_tag(host: Host, upper: LinkFacts, base: LinkFacts) -> LinkFacts | None:
    """Another device that has the tag on the base already: the kernel allows one."""
    for link in host.vlans_on(base.ifindex):
        if link.tag == upper.tag and link.ifindex != upper.ifindex:
            return link
    return None
