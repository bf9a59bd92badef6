# SPDX-License-Identifier: Apache-2.0
"""What is known of one network device: the facts that rtnetlink tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SWITCH_KINDS = frozenset({"bridge", "openvswitch"})
"""Devices that frames are switched by. Kernel Open vSwitch shows one device,
`ovs-system`, as the master of the ports of all its bridges."""


def device_name(raw: bytes | str) -> str:
    """A name as text. The kernel takes any byte but `/`, `:` and blanks: `\\xff` stands for 255."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One device of this network namespace, as of its latest netlink message.

    `kind` is IFLA_INFO_KIND, "" for a device that names none (physical NICs).
    `tun_type` is of a "tun" device only. `master` is the ifindex of the bridge,
    bond or datapath it belongs to. `lower` is IFLA_LINK: the device below a
    vlan or macvlan, the peer of a veth; None when that one is in another
    namespace. `ethernet` is false for loopback, tun and other devices whose
    frames carry no Ethernet header.
    """

    ifindex: int
    name: str
    kind: str = ""
    tun_type: Literal["tap", "tun"] | None = None
    mac: str = ""
    mtu_bytes: int = 1500
    master: int | None = None
    lower: int | None = None
    up: bool = True
    carrier: bool = True
    ethernet: bool = True
    alias: str = ""

    @property
    def is_tap(self) -> bool:
        """Whether a VM may sit behind it: a tun device that carries Ethernet."""
        return self.kind == "tun" and self.tun_type == "tap"

    @property
    def is_switch(self) -> bool:
        """Whether it switches frames between its members."""
        return self.kind in SWITCH_KINDS
