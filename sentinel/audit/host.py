# SPDX-License-Identifier: Apache-2.0
"""The facts of one audit, indexed once: what is below what, who goes through what, what was seen.

Nothing here looks at every port for every device: ports that share a way share one walk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from sentinel import abi
from sentinel.audit.finding import AuditFacts
from sentinel.inventory import Device
from sentinel.link import LinkFacts
from sentinel.path.step import Step
from sentinel.tag import Tag
from sentinel.traffic import LossSeen, PairSeen
from sentinel.uplinks import NIC_KIND, STACKED_KINDS, TEAM_KINDS

RECENT_NS: Final = 60_000_000_000
"""What was not seen for so long is over."""
_WAYS_OUT: Final = STACKED_KINDS | TEAM_KINDS | {NIC_KIND}

PairKey = tuple[int, Tag | None, Tag | None]
"""(ifindex of an uplink, outer, inner): frames that leave there."""


@dataclass(slots=True)
class Explained:
    """What the findings so far account for, so that nothing is told twice."""

    pairs: set[PairKey] = field(default_factory=set)
    by_tags: set[PairKey] = field(default_factory=set)
    """Accounted for as far as it is their tags alone that make the frames too large."""
    stacked: set[int] = field(default_factory=set)
    """Wires that a stack of VLAN devices leads to: their row of the rest is its, too."""
    too_small: dict[int, int] = field(default_factory=dict)
    """By device: the excess in bytes that its own MTU accounts for."""
    losses: set[int] = field(default_factory=set)
    """id() of rows."""


class Host:
    """An audit's facts with what the rules look up in them."""

    def __init__(self, facts: AuditFacts) -> None:
        self.facts = facts
        self.links = facts.links
        self.members: dict[int, list[LinkFacts]] = {}
        """Links by their master, in the order of their names."""
        for link in sorted(facts.links.values(), key=lambda link: (link.name, link.ifindex)):
            if link.master is not None:
                self.members.setdefault(link.master, []).append(link)
        self.from_guests: dict[int, list[PairSeen]] = {}
        """Rows of ports, what came from the guest."""
        self.to_wire: dict[int, list[PairSeen]] = {}
        """Rows of uplinks that are oversized or have two tags, what left the host."""
        self._to_wire_by_key: dict[PairKey, PairSeen] = {}
        for row in facts.pairs:
            device = facts.devices.get(row.ifindex)
            if device is None:
                continue
            if device.role == "port":
                if row.direction == abi.TAP_IN:
                    self.from_guests.setdefault(row.ifindex, []).append(row)
            elif row.direction == abi.TAP_OUT and (row.oversized or row.inner is not None):
                self.to_wire.setdefault(row.ifindex, []).append(row)
                if not row.is_rest:
                    self._to_wire_by_key[row.ifindex, row.outer, row.inner] = row

    def is_recent(self, at_ns: int) -> bool:
        """Whether something of that time goes on still."""
        return at_ns > 0 and self.facts.now_ns - at_ns < RECENT_NS

    def name(self, ifindex: int) -> str:
        """A device's name."""
        link = self.links.get(ifindex)
        return link.name if link is not None else f"the device of ifindex {ifindex}"

    def devices(self, role: str) -> Iterator[Device]:
        """The watched devices of a role, by name."""
        found = [device for device in self.facts.devices.values() if device.role == role]
        yield from sorted(found, key=lambda device: (device.name, device.ifindex))

    def by_name(self, name: str) -> LinkFacts | None:
        """The link of this name."""
        return self._links_by_name.get(name)

    def is_service(self, tag: Tag) -> bool:
        """Whether a tag is configured to be an outer one."""
        return tag.is_service or tag.vid in self.facts.service_vids

    def below(self, link: LinkFacts) -> list[LinkFacts]:
        """What a frame passes next towards the wire: by name, empty at its end."""
        if link.kind in STACKED_KINDS:
            lower = self.links.get(link.lower) if link.lower is not None else None
            return [] if lower is None else [lower]
        if link.kind in TEAM_KINDS:
            return self.members.get(link.ifindex, [])
        if link.kind == "bridge":
            return [one for one in self.members.get(link.ifindex, []) if self._leads_out(one)]
        return []

    def _leads_out(self, member: LinkFacts) -> bool:
        device = self.facts.devices.get(member.ifindex)
        if device is not None:
            return device.role == "uplink"
        return member.kind in _WAYS_OUT

    def is_port(self, link: LinkFacts) -> bool:
        """Whether a guest is behind it."""
        device = self.facts.devices.get(link.ifindex)
        return link.is_tap or (device is not None and device.role == "port")

    def ovs_members(self, bridge: str) -> list[LinkFacts]:
        """The kernel's devices on a bridge of Open vSwitch, without what it makes itself."""
        return self._ovs_members.get(bridge, [])

    def vlans_on(self, ifindex: int) -> list[LinkFacts]:
        """The VLAN devices on a device."""
        return self._vlans_by_lower.get(ifindex, [])

    def wires(self, link: LinkFacts) -> list[LinkFacts]:
        """The device and everything below it, each once."""
        found = {link.ifindex: link}
        waiting = [link]
        while waiting:
            for lower in self.below(waiting.pop()):
                if lower.ifindex not in found:
                    found[lower.ifindex] = lower
                    waiting.append(lower)
        return list(found.values())

    def reaches_wire(self, link: LinkFacts) -> LinkFacts | None:
        """The uplink that a switch or device leads to."""
        for found in self.wires(link):
            device = self.facts.devices.get(found.ifindex)
            if device is not None and device.role == "uplink":
                return found
        return None

    def pair_to_wire(self, wire: LinkFacts, outer: Tag, inner: Tag) -> list[PairSeen]:
        """Rows of a pair that left by a device; a bond's own or its slaves', never both."""
        row = self._to_wire_by_key.get((wire.ifindex, outer, inner))
        if row is not None:
            return [row]
        if wire.kind not in TEAM_KINDS:
            return []
        keys = ((slave.ifindex, outer, inner) for slave in self.below(wire))
        return [self._to_wire_by_key[key] for key in keys if key in self._to_wire_by_key]

    def ports_through(self, ifindex: int) -> set[int]:
        """The ports with a way through a device."""
        return self._ports_by_step.get(ifindex, set())

    def is_on_way(self, link: LinkFacts) -> bool:
        """Whether frames of a guest pass it, or it is an uplink (or a slave of one)."""
        near = (link.ifindex, link.master)
        return any(one in self.facts.devices or one in self._ports_by_step for one in near)

    def exits(self, port: int) -> tuple[Step, ...]:
        """The watched uplinks at which a port's frames leave."""
        path = self.facts.paths.get(port)
        if path is None:
            return ()
        found: list[Step] = []
        for step in path.port.below:
            found += self._exits_by_step[id(step)]
        return tuple(found)

    def keys_at_wire(self, port: int, row: PairSeen) -> Iterator[PairKey]:
        """Where a guest's frames with a row's tags are counted when they leave."""
        own = tuple(tag for tag in (row.outer, row.inner) if tag is not None)
        for step in self.exits(port):
            outer, inner = (*step.tags, *own, None, None)[:2]
            yield step.ifindex, outer, inner

    def recent_losses(self) -> list[LossSeen]:
        """What the kernel threw away lately."""
        return self._recent_losses

    def losses_from(self, ifindex: int) -> list[LossSeen]:
        """The same of what came into the host by one device."""
        return self._losses_by_source.get(ifindex, [])

    @cached_property
    def _links_by_name(self) -> dict[str, LinkFacts]:
        return {link.name: link for link in self.links.values()}

    @cached_property
    def _ovs_members(self) -> dict[str, list[LinkFacts]]:
        ovs, found = self.facts.ovs, dict[str, list[LinkFacts]]()
        for port in sorted(ovs.ports.values(), key=lambda port: port.name):
            for name in port.interfaces:
                interface, link = ovs.interfaces.get(name), self.by_name(name)
                if link is not None and (interface is None or interface.type in ("", "system")):
                    found.setdefault(port.bridge, []).append(link)
        return found

    @cached_property
    def _vlans_by_lower(self) -> dict[int, list[LinkFacts]]:
        found: dict[int, list[LinkFacts]] = {}
        for link in self.links.values():
            if link.tag is not None and link.lower is not None:
                found.setdefault(link.lower, []).append(link)
        return found

    @cached_property
    def _recent_losses(self) -> list[LossSeen]:
        return [loss for loss in self.facts.losses if self.is_recent(loss.last_seen_ns)]

    @cached_property
    def _losses_by_source(self) -> dict[int, list[LossSeen]]:
        by_source: dict[int, list[LossSeen]] = {}
        for loss in self._recent_losses:
            by_source.setdefault(loss.from_ifindex, []).append(loss)
        return by_source

    @cached_property
    def _first_steps(self) -> dict[int, tuple[Step, list[int]]]:
        """Ports by the step that follows them; equal ways are one object."""
        found: dict[int, tuple[Step, list[int]]] = {}
        for ifindex, path in self.facts.paths.items():
            for step in path.port.below:
                found.setdefault(id(step), (step, []))[1].append(ifindex)
        return found

    @cached_property
    def _ports_by_step(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for step, ports in self._first_steps.values():
            for _, below in step.walk():
                found.setdefault(below.ifindex, set()).update(ports)
        return found

    @cached_property
    def _exits_by_step(self) -> dict[int, list[Step]]:
        devices = self.facts.devices
        found: dict[int, list[Step]] = {}
        for key, (step, _) in self._first_steps.items():
            steps = {below.ifindex: below for _, below in step.walk()}
            found[key] = [
                below
                for below in steps.values()
                if (device := devices.get(below.ifindex)) is not None and device.role == "uplink"
            ]
        return found
