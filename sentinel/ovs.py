# SPDX-License-Identifier: Apache-2.0
"""What Open vSwitch's database says of its switches: bridges, ports, interfaces.

The kernel shows one device, `ovs-system`, as the master of the ports of all
bridges; which bridge a port is on, with which tag, stands here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

VHOST_USER_TYPES: Final = frozenset({"dpdkvhostuser", "dpdkvhostuserclient"})
"""Types of interfaces that are a socket shared with a VMM (ovs-vswitchd.conf.db(5))."""
NETDEV_DATAPATH: Final = "netdev"
"""The datapath_type of a switch that runs in user space."""


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
    socket: str | None = None
    """options:vhost-server-path: the socket of a dpdkvhostuserclient."""


@dataclass(frozen=True, slots=True)
class OvsFacts:
    """The three tables by name; empty where there is no database."""

    bridges: Mapping[str, OvsBridge] = field(default_factory=lambda: MappingProxyType({}))
    ports: Mapping[str, OvsPort] = field(default_factory=lambda: MappingProxyType({}))
    interfaces: Mapping[str, OvsInterface] = field(default_factory=lambda: MappingProxyType({}))
    _port_by_interface: Mapping[str, OvsPort] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_interface: dict[str, OvsPort] = {}
        for port in self.ports.values():
            for interface in port.interfaces:
                # Of two that claim it, the port of the same name is the one that has it.
                if interface not in by_interface or port.name == interface:
                    by_interface[interface] = port
        object.__setattr__(self, "_port_by_interface", by_interface)

    def port_of(self, interface: str) -> OvsPort | None:
        """The port that an interface belongs to."""
        return self._port_by_interface.get(interface)

    def bridge_of(self, interface: str) -> OvsBridge | None:
        """The bridge that an interface is on."""
        port = self.port_of(interface)
        return None if port is None else self.bridges.get(port.bridge)

    def bypasses_kernel(self, interface: str) -> bool:
        """Whether its frames are switched in user space, past every program in the kernel."""
        row, bridge = self.interfaces.get(interface), self.bridge_of(interface)
        return (row is not None and row.type in VHOST_USER_TYPES) or (
            bridge is not None and bridge.datapath_type == NETDEV_DATAPATH
        )


NO_OVS = OvsFacts()
