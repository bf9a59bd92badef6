# SPDX-License-Identifier: Apache-2.0
"""Which devices are watched, as what, and what changed: link facts in, changes out.

The cost of an update of one tap does not grow with the number of taps. A change among
bridges, bonds and NICs looks at all of those, and at the taps that it matters to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Literal

from sentinel.config import PortsConfig
from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsFacts
from sentinel.path.book import PathBook
from sentinel.path.graph import TEAM_KINDS, Host, Rules, SwitchKey
from sentinel.path.step import Path
from sentinel.port_rules import is_trusted_by, matching_pattern
from sentinel.uplinks import Uplink, find_uplinks
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
    MTU of every device where it is set. `service_vids` are the VLANs of
    [audit] service_vlans.
    """

    def __init__(
        self,
        ports: PortsConfig,
        mtu_override_bytes: int | None = None,
        service_vids: frozenset[int] = frozenset(),
    ) -> None:
        self._ovs = NO_OVS
        self._links: dict[int, LinkFacts] = {}
        self._vms: dict[int, VmIdentity] = {}
        self._devices: dict[int, Device] = {}
        self._by_name: dict[str, int] = {}
        self._taps_by_master: Counter[int] = Counter()
        # All but the plain taps, which are many and lead nowhere.
        self._others: dict[int, LinkFacts] = {}
        self._members: defaultdict[int, set[int]] = defaultdict(set)
        self._uplinks: dict[int, Uplink] = {}
        self._mtus: dict[SwitchKey, int] = {}
        self.ways_found = 0
        """How often the ways to the wire were found anew."""
        self._paths: dict[int, Path] = {}
        """Of ports, as far as they were asked for since they changed."""
        self._configure(ports, mtu_override_bytes, service_vids)

    def _configure(
        self, ports: PortsConfig, mtu_override_bytes: int | None, service_vids: frozenset[int]
    ) -> None:
        self._ports = ports
        self._pattern_of = lru_cache(maxsize=4096)(partial(matching_pattern, ports))
        self._mtu_override_bytes = mtu_override_bytes
        self._service_vids = service_vids
        self._rules = Rules(
            self._is_port, lambda name: self._pattern_of(name) is not None, ports.uplinks
        )
        # Nothing of an earlier book: what it holds is by other rules.
        self._book = PathBook(Host({}, self._rules))

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

    def path_of(self, ifindex: int) -> Path | None:
        """A port's ways to the wire, or what lies below an uplink; None if it is not watched."""
        device, link = self._devices.get(ifindex), self._links.get(ifindex)
        if device is None or link is None:
            return None
        return self._book.path_of(link) if device.role == "port" else self._book.path_from(link)

    def paths(self) -> dict[int, Path]:
        """Of every port, by ifindex."""
        known = self._paths
        self._paths = {
            ifindex: known.get(ifindex) or self._book.path_of(self._links[ifindex])
            for ifindex, device in self._devices.items()
            if device.role == "port"
        }
        return dict(self._paths)

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
            and (old.mac != link.mac or old.is_other_kind(link))
        }
        self._paths.clear()
        affected = self._links.keys() | fresh.keys()
        self._forget_identities((self._links.keys() - fresh.keys()) | others)
        self._links = fresh
        self._members.clear()
        for link in fresh.values():
            if link.master is not None:
                self._members[link.master].add(link.ifindex)
        self._sort_links()
        return self._settle(affected, others)

    def reconfigure(
        self, ports: PortsConfig, mtu_override_bytes: int | None, service_vids: frozenset[int]
    ) -> list[Change]:
        """Watch what another configuration says, from now on; see `__init__`."""
        self._configure(ports, mtu_override_bytes, service_vids)
        self._sort_links()
        return self._settle(self._links.keys(), set())

    def _sort_links(self) -> None:
        """Tell plain taps from all else, and find the ways anew."""
        taps = [link for link in self._links.values() if self._is_plain_tap(link)]
        self._taps_by_master = Counter(tap.master for tap in taps if tap.master is not None)
        self._others = {i: one for i, one in self._links.items() if not self._is_plain_tap(one)}
        self._find_ways()

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
            old.is_other_kind(link) or (old.name != link.name and old.mac != link.mac)
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

    def set_ovs(self, ovs: OvsFacts) -> list[Change]:
        """Say which bridge of Open vSwitch has which ports, and how they are patched."""
        if ovs == self._ovs:
            return []
        self._ovs = ovs
        self._find_ways()
        return self._settle(self._links.keys(), set())

    def _put(self, ifindex: int, link: LinkFacts | None, is_other: bool) -> list[Change]:
        old = self._links.get(ifindex)
        self._paths.pop(ifindex, None)
        if is_other:
            self._forget_identities({ifindex})
        for links, is_mine in ((self._links, True), (self._others, False)):
            if link is not None and (is_mine or not self._is_plain_tap(link)):
                links[ifindex] = link
            else:
                links.pop(ifindex, None)
        if old is not None and old.master is not None:
            self._members[old.master].discard(ifindex)
        if link is not None and link.master is not None:
            self._members[link.master].add(ifindex)
        affected = {ifindex}
        both = [facts for facts in (old, link) if facts is not None]
        is_first_or_last = self._count_tap(old, link)
        if not all(self._is_plain_tap(facts) for facts in both):
            if not _leads_the_same_way(old, link):
                affected |= self._find_ways()
            # A switch's name and MTU are told of its members.
            if any(facts.is_switch for facts in both):
                affected |= self._members.get(ifindex, set())
        elif is_first_or_last:
            affected |= self._find_ways()
        return self._settle(affected, {ifindex} if is_other else set())

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

    def _find_ways(self) -> set[int]:
        """Find ways and uplinks anew; say which devices may be told something else by it."""
        self.ways_found += 1
        uplinks, mtus = self._uplinks, self._mtus
        host = Host(self._others, self._rules, self._taps_by_master.keys(), self._ovs)
        self._book = PathBook(host, self._service_vids, self._book)
        self._paths.clear()
        self._uplinks = find_uplinks(host, self._book, self._ports.uplinks)
        self._mtus = self._book.mtu_bytes_by_switch()
        affected = {
            ifindex
            for ifindex in uplinks.keys() | self._uplinks.keys()
            if uplinks.get(ifindex) != self._uplinks.get(ifindex)
        }
        for switch in mtus.keys() | self._mtus.keys():
            if mtus.get(switch) != self._mtus.get(switch):
                affected |= self._members.get(switch[0], set())
        return affected

    def _is_port(self, link: LinkFacts) -> bool:
        # The name last: most devices fail the rest, and that costs less.
        if not link.is_tap and not self._ports.any_kind:
            return False
        if link.name in self._ports.uplinks or self._pattern_of(link.name) is None:
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
        if (uplink := self._uplinks.get(ifindex)) is not None:
            role: Literal["port", "uplink"] = "uplink"
            bridge, rule, path_mtu_bytes = uplink.bridge, uplink.rule, uplink.mtu_bytes
            vm = UNKNOWN_VM
        elif self._is_port(link):
            role = "port"
            switch = self._switch_of(link)
            bridge = switch.name if switch is not None else None
            rule = f"ports.include {self._pattern_of(link.name)}"
            path_mtu_bytes = self._book.path_mtu_bytes(link)
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

    def _trusted_checks(self, link: LinkFacts, vm: VmIdentity) -> frozenset[str]:
        return frozenset(
            check
            for rule in self._ports.trusted
            if is_trusted_by(rule, link, vm)
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


def _leads_the_same_way(old: LinkFacts | None, new: LinkFacts | None) -> bool:
    if old is None or new is None:
        return False
    return replace(old, mac=new.mac, alias=new.alias) == new
