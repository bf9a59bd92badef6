# SPDX-License-Identifier: Apache-2.0
"""Ways of VMs to the network that no tap shows, joined from all that is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from sentinel.audit.finding import UnseenPort
from sentinel.link import LinkFacts
from sentinel.ovs import VHOST_USER_TYPES, OvsFacts, OvsInterface
from sentinel.path.graph import WIRE_KINDS
from sentinel.vm import UNKNOWN_VM, VmIdentity, VmPort, identity_from_ovs, merge_identities

SWITCH_S_OWN: Final = frozenset(
    {"internal", "patch", "dpdk", "vxlan", "geneve", "gre", "ip6gre", "erspan", "ip6erspan"}
    | {"gtpu", "stt", "lisp", "bareudp", "srv6"}
)
"""Types of Open vSwitch interfaces that no VM is at: ports of the host, ways to other bridges
and hosts (ovs-vswitchd.conf.db(5))."""


def unseen_ports(
    ovs: OvsFacts, vm_ports: Sequence[VmPort], links: Mapping[int, LinkFacts]
) -> list[UnseenPort]:
    """All of them, each once, in the order of their names.

    `vm_ports` are what libvirt and command lines tell. A macvtap whose VM nobody
    names is listed without one. A NIC that has more virtual functions than VMs
    are known to hold is listed by its own name, as its own parent.
    """
    known = _VmPorts(vm_ports)
    found = [
        *_of_ovs(ovs, known, links),
        *_macvtaps(links, known),
    ]
    # Only now is it known which of them nothing was joined with.
    found += [_alone(port) for port in known.alone()]
    found += _virtual_functions(links, vm_ports)
    # Of two that have a name in common the first is told by more.
    once = {(one.name, one.kind): one for one in reversed(found)}
    return [once[key] for key in sorted(once)]


class _VmPorts:
    """What VMs are known to hold, by each name that another source may have for it."""

    def __init__(self, ports: Iterable[VmPort]) -> None:
        self._alone = {port.key: port for port in ports}
        self._by_key = dict(self._alone)
        self._by_name = {(port.kind, port.name): port for port in self._alone.values() if port.name}
        sockets = [port for port in self._alone.values() if port.kind == "vhost-user"]
        self._by_socket_name = {port.source.rpartition("/")[2]: port for port in sockets}
        self._by_vm = {_uuid_and_mac(port.vm): port for port in sockets}
        self._by_vm.pop(None, None)

    def take_vhost_user(self, row: OvsInterface, told_by_ovs: VmIdentity) -> VmPort | None:
        """The VM's end of an interface; it is joined, and alone no longer."""
        return self._taken(
            (self._by_key.get(("vhost-user", row.socket)) if row.socket else None)
            or self._by_name.get(("vhost-user", row.name))
            # The switch makes a dpdkvhostuser's socket itself, and names it as the interface.
            or (self._by_socket_name.get(row.name) if row.type == "dpdkvhostuser" else None)
            or self._by_vm.get(_uuid_and_mac(told_by_ovs))
        )

    def take_macvtap(self, name: str) -> VmPort | None:
        """The VM's end of a macvtap."""
        return self._taken(self._by_name.get(("macvtap", name)))

    def alone(self) -> Iterable[VmPort]:
        """Those that nothing else was joined with."""
        return self._alone.values()

    def _taken(self, port: VmPort | None) -> VmPort | None:
        if port is not None:
            self._alone.pop(port.key, None)
        return port


def _uuid_and_mac(vm: VmIdentity) -> tuple[str, str] | None:
    return (vm.uuid, vm.mac) if vm.uuid and vm.mac else None


def _of_ovs(ovs: OvsFacts, known: _VmPorts, links: Mapping[int, LinkFacts]) -> Iterator[UnseenPort]:
    wires = {link.name for link in links.values() if link.kind in WIRE_KINDS}
    for row in ovs.interfaces.values():
        if row.type in SWITCH_S_OWN or not ovs.bypasses_kernel(row.name) or row.name in wires:
            continue
        bridge = ovs.bridge_of(row.name)
        parent = "" if bridge is None else bridge.name
        vm = _told_by_ovs(tuple(row.external_ids.items()))
        if row.type in VHOST_USER_TYPES:
            port = known.take_vhost_user(row, vm)
            merged = merge_identities((vm, None if port is None else port.vm))
            yield UnseenPort(row.name, "vhost-user", merged, parent)
        else:
            yield UnseenPort(row.name, "netdev datapath", vm, parent)


@lru_cache(maxsize=4096)
def _told_by_ovs(external_ids: tuple[tuple[str, str], ...]) -> VmIdentity:
    # An audit asks for all of them again whenever one link changes.
    return identity_from_ovs(dict(external_ids)) or UNKNOWN_VM


def _macvtaps(links: Mapping[int, LinkFacts], known: _VmPorts) -> Iterator[UnseenPort]:
    for link in links.values():
        if link.kind != "macvtap":
            continue
        port = known.take_macvtap(link.name)
        lower = None if link.lower is None else links.get(link.lower)
        # Where the one below is in another namespace, libvirt may still name it.
        told, vm = ("", UNKNOWN_VM) if port is None else (port.source, port.vm)
        yield UnseenPort(link.name, "macvtap", vm, told if lower is None else lower.name)


def _alone(port: VmPort) -> UnseenPort:
    if port.kind == "macvtap":
        return UnseenPort(port.name, port.kind, port.vm, port.source)
    if port.kind == "vhost-user":
        return UnseenPort(port.name or port.source, port.kind, port.vm)
    return UnseenPort(port.source, port.kind, port.vm, port.parent)


def _virtual_functions(
    links: Mapping[int, LinkFacts], vm_ports: Iterable[VmPort]
) -> Iterator[UnseenPort]:
    held = Counter(port.parent for port in vm_ports if port.kind == "vf")
    for link in links.values():
        if link.virtual_functions > held[link.name]:
            yield UnseenPort(link.name, "vf", parent=link.name)
