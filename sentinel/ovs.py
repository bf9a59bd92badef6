# SPDX-License-Identifier: Apache-2.0
"""What Open vSwitch's database says of its switches: bridges, ports, interfaces.

The kernel shows one device, `ovs-system`, as the master of the ports of all
bridges; which bridge a port is on, with which tag, stands here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class OvsBridge:
    """A row of the Bridge table."""

    name: str
    datapath_type: str = ""
    """"" or "system": in the kernel; "netdev": in user space, where no program of ours sees it."""
    forwards_bpdu: bool = False
    """other_config:forward-bpdu"""
    speaks_stp: bool = False
    speaks_rstp: bool = False


@dataclass(frozen=True, slots=True)
class OvsPort:
    """A row of the Port table, and the names of its interfaces (several: a bond)."""

    name: str
    bridge: str
    interfaces: tuple[str, ...]
    tag: int | None = None
    vlan_mode: str = ""
    trunks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OvsInterface:
    """A row of the Interface table."""

    name: str
    type: str = ""
    """"", "internal", "patch", "vxlan", "dpdkvhostuser", "dpdkvhostuserclient", …"""
    peer: str | None = None
    """options:peer of a patch port: the name of the interface at the other end."""
    external_ids: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class OvsFacts:
    """The three tables by name; empty where there is no database."""

    bridges: Mapping[str, OvsBridge] = field(default_factory=lambda: MappingProxyType({}))
    ports: Mapping[str, OvsPort] = field(default_factory=lambda: MappingProxyType({}))
    interfaces: Mapping[str, OvsInterface] = field(default_factory=lambda: MappingProxyType({}))

    def port_of(self, interface: str) -> OvsPort | None:
        """The port that an interface belongs to."""
        found = self.ports.get(interface)
        if found is not None and interface in found.interfaces:
            return found
        return next((port for port in self.ports.values() if interface in port.interfaces), None)


NO_OVS = OvsFacts()
