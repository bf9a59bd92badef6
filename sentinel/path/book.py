# SPDX-License-Identifier: Apache-2.0
"""The way of each port to the wire, as a tree of steps. Pure.

What lies below a switch is worked out once and shared by all its ports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sentinel.link import LinkFacts
from sentinel.path.burden import Burden
from sentinel.path.forest import Forest
from sentinel.path.graph import STACKED_KINDS, Host, Patch, Segment, SwitchKey, Way
from sentinel.path.step import Path, Step
from sentinel.tunnel import TUNNEL_KINDS

MOST_SWITCHES: Final = 16
"""On one way; what lies behind the last of them is not looked at."""
UNBURDENED: Final = Burden()


@dataclass(frozen=True, slots=True)
class _Part:
    """A step and the bounds of it and all below: None where nothing bounds."""

    step: Step
    mtu_bytes: int | None
    narrowest: Step | None


class PathBook:
    """Paths of one host as it is now; made anew when a link changes.

    `service_vids` are outer VLANs that are meant to be there ([audit] service_vlans).
    From `before`, the book of the same host with the same ones before a change, it
    takes over what lies on top of devices that are the same objects still.
    """

    def __init__(
        self,
        host: Host,
        service_vids: frozenset[int] = frozenset(),
        before: PathBook | None = None,
    ) -> None:
        self.segments: list[Segment] = host.segments()
        self._host = host
        self._service_vids = service_vids
        self._forest = Forest()
        self._ways: dict[SwitchKey, list[Way | Patch]] = {}
        self._memo: dict[tuple[SwitchKey, SwitchKey | None, Burden, int], _Part] = {}
        self._chains: dict[tuple[object, ...], tuple[Way, _Part]] = {}
        self._chains_before = before._chains if before is not None else {}
        self._internal = {
            link.name: link for link in host.links.values() if link.kind == "openvswitch"
        }
        for segment in self.segments:
            self._forest.add(segment)
            for key in segment.switches:
                exits = self._forest.exits.get(key, frozenset())
                patches = [one for one in segment.patches.get(key, ()) if one.other in exits]
                mine = [*segment.ways.get(key, ()), *patches]
                self._ways[key] = sorted(mine, key=_order) if len(mine) > 1 else mine

    def mtu_bytes_by_switch(self) -> dict[SwitchKey, int]:
        """The smallest MTU on the ways out of each switch that has any."""
        mtus = {}
        for key in self._ways:
            mtu_bytes = self._switch(key, None, UNBURDENED, 0).mtu_bytes
            if mtu_bytes is not None:
                mtus[key] = mtu_bytes
        return mtus

    def path_mtu_bytes(self, port: LinkFacts) -> int:
        """What leaves the host; inside it, what the bridge's members have in common.

        The tap's own MTU bounds what goes *to* the guest, not what it may send.
        """
        key = self._host.switch_of(port)
        if key is None:
            return port.mtu_bytes
        mtu_bytes = self._switch(key, None, UNBURDENED, 0).mtu_bytes
        return mtu_bytes if mtu_bytes is not None else self._mtu_inside(key, port)

    def path_of(self, port: LinkFacts) -> Path:
        """The ways of a port: a tap, or another member of a switch."""
        key = self._host.switch_of(port)
        if key is None:
            step = _step(port, UNBURDENED, port.mtu_bytes, (), "on no switch")
            return Path(step, port.mtu_bytes, port.mtu_bytes, step)
        burden = UNBURDENED.into(self._host.ovs_port(key, port.name))
        part = self._switch(key, None, burden, 0)
        switch = part.step
        if part.narrowest is None or part.mtu_bytes is None:
            mtu_bytes = self._mtu_inside(key, port)
            switch = replace(switch, carries_bytes=mtu_bytes)
            step = _step(port, UNBURDENED, mtu_bytes, (switch,))
            return Path(step, mtu_bytes, mtu_bytes, step)
        step = _step(port, UNBURDENED, switch.carries_bytes, (switch,))
        return Path(step, part.mtu_bytes, part.narrowest.carries_bytes, part.narrowest)

    def path_from(self, uplink: LinkFacts) -> Path:
        """What lies below an uplink: a bond's slaves."""
        part = self._chain(Way((uplink,), uplink, self._host.slaves_of(uplink)), UNBURDENED)
        mtu_bytes = part.mtu_bytes if part.mtu_bytes is not None else uplink.mtu_bytes
        narrowest = part.narrowest or part.step
        return Path(part.step, mtu_bytes, narrowest.carries_bytes, narrowest)

    def _mtu_inside(self, key: SwitchKey, port: LinkFacts) -> int:
        switch = self._host.links[key[0]]
        # A bridge keeps its MTU at its members' smallest; a datapath's own says nothing.
        return switch.mtu_bytes if switch.kind == "bridge" else port.mtu_bytes

    def _switch(
        self, key: SwitchKey, came_from: SwitchKey | None, burden: Burden, depth: int
    ) -> _Part:
        # What leads nowhere but here is no exit: all such neighbours share what is below.
        if came_from is not None and came_from not in self._forest.exits.get(key, frozenset()):
            came_from = None
        at = (key, came_from, burden, depth)
        part = self._memo.get(at)
        if part is None:
            part = self._memo[at] = self._find_switch(key, came_from, burden, depth)
        return part

    def _find_switch(
        self, key: SwitchKey, came_from: SwitchKey | None, burden: Burden, depth: int
    ) -> _Part:
        parts: list[_Part] = []
        reached: set[SwitchKey] = set()
        notes = []
        for way in self._ways.get(key, ()):
            if isinstance(way, Way):
                member = self._host.ovs_port(key, way.chain[0].name)
                parts.append(self._chain(way, burden.out_of(member)))
            elif way.other == came_from:
                continue
            elif depth + 1 < MOST_SWITCHES:
                is_second = way.other in reached
                part = self._patch(way, key, burden, depth, is_second)
                if part is not None:
                    reached.add(way.other)
                    parts.append(part)
            else:
                notes.append("more switches follow")
        ring = self._forest.rings.get(key, ())
        notes += [f"closes a ring with {self._name(other)}" for other in sorted(ring)]
        if not parts:
            notes.insert(0, "no way out")
        link = self._internal.get(key[1]) or self._host.links[key[0]]
        # Frames that are switched are measured against the members' MTUs, not the switch's.
        carries_bytes = max((part.step.carries_bytes for part in parts), default=link.mtu_bytes)
        step = Step(
            link.ifindex,
            self._name(key),
            link.kind,
            link.mtu_bytes,
            carries_bytes,
            burden.tags,
            tuple(part.step for part in parts),
            _noted(link, notes),
        )
        return _Part(step, *_bounds(parts))

    def _name(self, key: SwitchKey) -> str:
        return key[1] or self._host.links[key[0]].name

    def _patch(
        self, patch: Patch, key: SwitchKey, burden: Burden, depth: int, is_second: bool
    ) -> _Part | None:
        """The devices between two switches with the other one below; None: no way out there."""
        outside = burden.out_of(self._host.ovs_port(key, patch.member))
        inside = outside
        for link in patch.chain:
            inside = inside.through(link)
        entry = self._host.ovs_port(patch.other, patch.entry)
        part = self._switch(patch.other, key, inside.into(entry), depth + 1)
        if part.narrowest is None or (is_second and not patch.chain):
            return None
        below = [] if is_second else [part]
        note = f"a second way to {self._name(patch.other)}" if is_second else ""
        return self._stacked(patch.chain, outside, below, note)

    def _chain(self, way: Way, burden: Burden) -> _Part:
        """A way out: its devices, the bond's slaves, or what a tunnel's packets leave by."""
        last = way.chain[-1]
        if last.kind == "veth" or last.kind in TUNNEL_KINDS:
            # Others than its own devices have a say in it.
            return self._find_chain(way, burden)
        at = (*map(id, way.chain), 0, *map(id, way.slaves), burden)
        # The way is kept beside the part: an id is good for as long as its object lives.
        known = self._chains.get(at) or self._chains_before.get(at)
        if known is None:
            known = way, self._find_chain(way, burden)
        self._chains[at] = known
        return known[1]

    def _find_chain(self, way: Way, burden: Burden) -> _Part:
        last = way.chain[-1]
        inside = burden
        for link in way.chain:
            inside = inside.through(link)
        if last.kind in TUNNEL_KINDS:
            below, note = self._underlay(last, inside, burden.is_in_tunnel)
        else:
            note = self._end_note(last)
            below = [
                self._stacked((slave,), inside, (), _slave_note(last, slave))
                for slave in way.slaves
            ]
        return self._stacked(way.chain, burden, below, note)

    def _underlay(
        self, tunnel: LinkFacts, burden: Burden, is_nested: bool
    ) -> tuple[list[_Part], str]:
        if is_nested:
            return [], "a tunnel in a tunnel"
        lower = self._host.links.get(tunnel.tunnel_lower) if tunnel.tunnel_lower else None
        if lower is None:
            return [], "leaves by the host's routes"
        way = self._host.ways_down(lower)
        key = self._host.switch_below(way.chain[-1])
        if key is None or key not in self._ways:
            return [self._chain(way, burden)], ""
        inside = burden
        for link in way.chain[:-1]:
            inside = inside.through(link)
        entry = self._host.ovs_port(key, way.chain[-1].name)
        below = self._switch(key, None, inside.into(entry), 0)
        return [self._stacked(way.chain[:-1], burden, [below])], ""

    def _stacked(
        self, chain: tuple[LinkFacts, ...], burden: Burden, below: Iterable[_Part], note: str = ""
    ) -> _Part:
        """Devices on top of each other, the last one with `note` and with `below`."""
        burdens = [burden]
        for link in chain:
            burdens.append(burdens[-1].through(link))
        parts = list(below)
        for at in range(len(chain) - 1, -1, -1):
            link, before, after = chain[at], burdens[at], burdens[at + 1]
            # The tag or header that a device adds is not part of its own MTU.
            carries_bytes = max(0, link.mtu_bytes - before.cost_bytes(self._service_vids))
            tags = before.tags if link.kind in TUNNEL_KINDS else after.tags
            notes = [note] if at == len(chain) - 1 and note else []
            step = Step(
                link.ifindex,
                link.name,
                _kind(link),
                link.mtu_bytes,
                carries_bytes,
                tags,
                tuple(part.step for part in parts),
                _noted(link, notes),
            )
            mtu_bytes, narrowest = _bounds(parts)
            if not before.is_in_tunnel:
                mtu_bytes = min(link.mtu_bytes if mtu_bytes is None else mtu_bytes, link.mtu_bytes)
            if narrowest is None or carries_bytes <= narrowest.carries_bytes:
                narrowest = step
            parts = [_Part(step, mtu_bytes, narrowest)]
        (part,) = parts
        return part

    def _end_note(self, end: LinkFacts) -> str:
        if end.lower_elsewhere and (end.kind == "veth" or end.kind in STACKED_KINDS):
            return "leaves this namespace"
        peer = self._host.links.get(end.lower) if end.lower is not None else None
        return f"ends at {peer.name}" if end.kind == "veth" and peer is not None else ""


def _order(way: Way | Patch) -> tuple[int, str]:
    return (way.chain[0].ifindex if way.chain else 0, getattr(way, "member", ""))


def _bounds(parts: list[_Part]) -> tuple[int | None, Step | None]:
    """The smallest MTU of several ways, and the first of their narrowest steps."""
    mtus = [part.mtu_bytes for part in parts if part.mtu_bytes is not None]
    steps = [part.narrowest for part in parts if part.narrowest is not None]
    narrowest = min(steps, key=lambda step: step.carries_bytes, default=None)
    return min(mtus, default=None), narrowest


def _step(
    port: LinkFacts, burden: Burden, carries_bytes: int, below: tuple[Step, ...], note: str = ""
) -> Step:
    notes = [note] if note else []
    return Step(
        port.ifindex,
        port.name,
        _kind(port),
        port.mtu_bytes,
        carries_bytes,
        burden.tags,
        below,
        _noted(port, notes),
    )


def _kind(link: LinkFacts) -> str:
    if link.is_tap:
        return "tap"
    return link.kind or "nic"


def _noted(link: LinkFacts, notes: list[str]) -> str:
    state = [] if link.up and link.carrier else ["no carrier" if link.up else "down"]
    return ", ".join(state + notes)


def _slave_note(bond: LinkFacts, slave: LinkFacts) -> str:
    if bond.bond_active is None:
        return ""
    return "active" if bond.bond_active == slave.ifindex else "backup"
