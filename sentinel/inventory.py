# SPDX-License-Identifier: Apache-2.0
"""Which devices are watched, as what, and what changed: link facts in, changes out.

The cost of an update of one tap does not grow with the number of taps; only a
change among bridges, bonds and NICs looks at all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

from sentinel.config import PortsConfig, TrustRule
from sentinel.link import LinkFacts
from sentinel.uplinks import TEAM_KINDS, Topology, find_topology
from sentinel.vm import UNKNOWN_VM, VmIdentity

__all__ = [
    "Appeared",
    "Change",
    "Changed",
    "Device",
    "Gone",
    "Inventory",
    "LinkFacts",
    "Renamed",
]


@dataclass(frozen=True, slots=True)
class Device:
    """A watched device. `path_mtu_bytes` bounds what it may send towards the wire.

    `bridge` is the switch it belongs to or is reached from (`ovs-system` for
    every bridge of Open vSwitch), None for none or several. `rule` says why it
    is watched.
    """

    ifindex: int
    name: str
    role: Literal["port", "uplink"]
    mac: str
    mtu_bytes: int
    path_mtu_bytes: int
    bridge: str | None
    vm: VmIdentity
    trusted_checks: frozenset[str]
    rule: str


@dataclass(frozen=True, slots=True)
class Appeared:
    """A device to be watched from now on."""

    device: Device


@dataclass(frozen=True, slots=True)
class Gone:
    """A device that is not there any more, or not to be watched; `device` as it last was."""

    device: Device


@dataclass(frozen=True, slots=True)
class Renamed:
    """The same device under another name; `device` bears the new one."""

    device: Device
    old_name: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The same device and name, but another MTU, bridge, MAC, VM or trust."""

    device: Device
    old: Device


Change = Appeared | Gone | Renamed | Changed


class Inventory:
    """Links as followed, and the ports and uplinks among them.

    Each mutator returns what changed: first what went, then the rest, by
    ifindex. A port of both kinds (an uplink by configuration whose name
    matches `include`) is an uplink. `mtu_override_bytes` stands for the path
    MTU of every device where it is set.
    """

    def __init__(self, ports: PortsConfig, mtu_override_bytes: int | None = None) -> None:
        self._ports = ports
        self._mtu_override_bytes = mtu_override_bytes
        self._links: dict[int, LinkFacts] = {}
        self._vms: dict[int, VmIdentity] = {}
        self._devices: dict[int, Device] = {}
        self._by_name: dict[str, int] = {}
        self._taps_by_master: Counter[int] = Counter()
        self._topology = Topology({}, {})

    def devices(self) -> Mapping[int, Device]:
        """Watched devices by ifindex; a view that follows."""
        return MappingProxyType(self._devices)

    def links(self) -> Mapping[int, LinkFacts]:
        """Every link by ifindex, watched or not; a view that follows."""
        return MappingProxyType(self._links)

    def by_name(self, name: str) -> Device | None:
        """The watched device of this name."""
        ifindex = self._by_name.get(name)
        return None if ifindex is None else self._devices[ifindex]

    def replace_links(self, links: Iterable[LinkFacts]) -> list[Change]:
        """Take a full dump, after which nothing else exists.

        What happened meanwhile is unknown: the same ifindex with another MAC
        or kind is taken for another device.
        """
        fresh = {link.ifindex: link for link in links}
        others = {
            ifindex
            for ifindex, link in fresh.items()
            if (old := self._links.get(ifindex))
            and (old.mac != link.mac or _is_other_kind(old, link))
        }
        affected = self._links.keys() | fresh.keys()
        self._forget_identities((self._links.keys() - fresh.keys()) | others)
        self._links = fresh
        self._taps_by_master = Counter(
            link.master
            for link in fresh.values()
            if link.master is not None and self._is_plain_tap(link)
        )
        self._find_topology()
        return self._settle(affected, others)

    def update_link(self, link: LinkFacts) -> list[Change]:
        """Take one NEWLINK.

        Without a DELLINK before it, another kind, or another name together
        with another MAC, is another device under a used ifindex; one of the
        two alone is a rename or a new address.
        """
        old = self._links.get(link.ifindex)
        if old == link:
            return []
        is_other = old is not None and (
            _is_other_kind(old, link) or (old.name != link.name and old.mac != link.mac)
        )
        return self._put(link.ifindex, link, is_other)

    def remove_link(self, ifindex: int) -> list[Change]:
        """Take one DELLINK: deleted, or moved to another namespace."""
        return self._put(ifindex, None, True) if ifindex in self._links else []

    def set_identity(self, ifindex: int, vm: VmIdentity) -> list[Change]:
        """Say whose port it is; kept until the link goes."""
        if ifindex not in self._links:
            return []
        self._vms[ifindex] = vm
        return self._settle({ifindex}, set())

    def _put(self, ifindex: int, link: LinkFacts | None, is_other: bool) -> list[Change]:
        old = self._links.get(ifindex)
        if is_other:
            self._forget_identities({ifindex})
        if link is None:
            del self._links[ifindex]
        else:
            self._links[ifindex] = link
        others = {ifindex} if is_other else set()
        both = [facts for facts in (old, link) if facts is not None]
        if all(self._is_plain_tap(facts) for facts in both):
            moved = self._count_tap(old, link) and self._find_topology()
        else:
            self._count_tap(old, link)
            # A switch's name and MTU are told of its members.
            moved = self._find_topology() or any(facts.is_switch for facts in both)
        return self._settle(self._links.keys() | {ifindex} if moved else {ifindex}, others)

    def _count_tap(self, old: LinkFacts | None, new: LinkFacts | None) -> bool:
        """Keep count of taps by master; say whether a switch got its first or lost its last."""
        before = old.master if old is not None and self._is_plain_tap(old) else None
        after = new.master if new is not None and self._is_plain_tap(new) else None
        if before == after:
            return False
        if before is not None:
            self._taps_by_master[before] -= 1
        if after is not None:
            self._taps_by_master[after] += 1
        emptied = before is not None and self._taps_by_master[before] == 0
        if before is not None and emptied:
            del self._taps_by_master[before]
        return emptied or (after is not None and self._taps_by_master[after] == 1)

    def _forget_identities(self, ifindexes: Iterable[int]) -> None:
        for ifindex in ifindexes:
            self._vms.pop(ifindex, None)

    def _is_plain_tap(self, link: LinkFacts) -> bool:
        """Whether it cannot change the topology, other than by being on a switch."""
        return link.is_tap and link.name not in self._ports.uplinks

    def _find_topology(self) -> bool:
        """Find it anew; say whether it is another."""
        before = self._topology
        self._topology = find_topology(
            {i: link for i, link in self._links.items() if not self._is_plain_tap(link)},
            is_port=self._is_port,
            is_named_port=lambda name: self._matching_pattern(name) is not None,
            switches_with_taps=self._taps_by_master.keys(),
            configured=self._ports.uplinks,
        )
        return self._topology != before

    def _matching_pattern(self, name: str) -> str | None:
        if any(fnmatchcase(name, pattern) for pattern in self._ports.exclude):
            return None
        return next((one for one in self._ports.include if fnmatchcase(name, one)), None)

    def _is_port(self, link: LinkFacts) -> bool:
        if link.name in self._ports.uplinks or self._matching_pattern(link.name) is None:
            return False
        if link.is_tap:
            return True
        is_carrier_of_others = link.is_switch or link.kind in TEAM_KINDS
        return self._ports.any_kind and link.ethernet and not is_carrier_of_others

    def _device_of(self, ifindex: int) -> Device | None:
        link = self._links.get(ifindex)
        if link is None:
            return None
        vm = self._vms.get(ifindex, UNKNOWN_VM)
        if (uplink := self._topology.uplinks.get(ifindex)) is not None:
            role: Literal["port", "uplink"] = "uplink"
            bridge, rule, path_mtu_bytes = uplink.bridge, uplink.rule, link.mtu_bytes
            vm = UNKNOWN_VM
        elif self._is_port(link):
            role = "port"
            switch = self._switch_of(link)
            bridge = switch.name if switch is not None else None
            rule = f"ports.include {self._matching_pattern(link.name)}"
            path_mtu_bytes = self._path_mtu_bytes(link, switch)
        else:
            return None
        return Device(
            ifindex=ifindex,
            name=link.name,
            role=role,
            mac=link.mac,
            mtu_bytes=link.mtu_bytes,
            path_mtu_bytes=self._mtu_override_bytes or path_mtu_bytes,
            bridge=bridge,
            vm=vm,
            trusted_checks=self._trusted_checks(link, vm),
            rule=rule,
        )

    def _switch_of(self, link: LinkFacts) -> LinkFacts | None:
        master = self._links.get(link.master) if link.master is not None else None
        return master if master is not None and master.is_switch else None

    def _path_mtu_bytes(self, link: LinkFacts, switch: LinkFacts | None) -> int:
        """What leaves the host; inside it, what the bridge's members have in common.

        The tap's own MTU bounds what goes *to* the guest, not what it may send.
        """
        if switch is None:
            return link.mtu_bytes
        way_out = self._topology.mtu_bytes_by_switch.get(switch.ifindex)
        if way_out is not None:
            return way_out
        # A bridge keeps its MTU at its members' smallest; a datapath's own says nothing.
        return switch.mtu_bytes if switch.kind == "bridge" else link.mtu_bytes

    def _trusted_checks(self, link: LinkFacts, vm: VmIdentity) -> frozenset[str]:
        return frozenset(
            check
            for rule in self._ports.trusted
            if _is_trusted_by(rule, link, vm)
            for check in rule.checks
        )

    def _settle(self, affected: Iterable[int], others: Set[int]) -> list[Change]:
        gone: list[Change] = []
        rest: list[Change] = []
        for ifindex in sorted(affected):
            old, new = self._devices.get(ifindex), self._device_of(ifindex)
            if old is None or new is None or ifindex in others or old.role != new.role:
                if old is not None:
                    gone.append(Gone(old))
                    self._remove(old)
                if new is not None:
                    rest.append(Appeared(new))
            elif old != new:
                if old.name != new.name:
                    rest.append(Renamed(new, old.name))
                    self._remove(old)
                    old = replace(old, name=new.name)
                if old != new:
                    rest.append(Changed(new, old))
            if new is not None:
                self._devices[ifindex] = new
                self._by_name[new.name] = ifindex
        return gone + rest

    def _remove(self, device: Device) -> None:
        del self._devices[device.ifindex]
        # Two devices may have changed names: the other may be here already.
        if self._by_name.get(device.name) == device.ifindex:
            del self._by_name[device.name]


def _is_other_kind(old: LinkFacts, new: LinkFacts) -> bool:
    return (old.kind, old.tun_type) != (new.kind, new.tun_type)


def _is_trusted_by(rule: TrustRule, link: LinkFacts, vm: VmIdentity) -> bool:
    """Whether the host says so: never by a MAC seen in frames, never by a tenant's words."""
    if rule.name is not None:
        return fnmatchcase(link.name, rule.name)
    if rule.mac is not None:
        return rule.mac in (link.mac, vm.mac)
    return rule.vm is not None and (
        rule.vm == vm.name or (vm.uuid is not None and rule.vm.lower() == vm.uuid)
    )
