# SPDX-License-Identifier: Apache-2.0
"""A tenant's VLAN on a bond over two NICs, or on the data centre's own VLAN by mistake.

guest ─ tap ─ br100 ─ vlan100 ─┬──────── bond0 ─┬ eth0 ═══ et1 ─┬ sw0 ────────┬─ vlan100
                               └ vlan20 ─┘      └ eth1 ═══ et2 ─┘ └ vlan20 ──┘
 (hypervisor)            right above, mistaken below                 (data centre)

For a guest that tools/vm/boot.py boots with NICs wired back to back. At the end they go
home to the namespace they began in.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass

from tests.harness.closing import Closing
from tests.harness.guests import Guest
from tests.harness.hosts import PREFIX_BITS, Host
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until
from tools.vm.nics import nics_here

BRIDGE, BOND, SWITCH = "br100", "bond0", "sw0"
TENANT_VLAN, DATA_CENTRE_VLAN = "vlan100", "vlan20"
TENANT_VID, DATA_CENTRE_VID = 100, 20
TAP = "tap5d1e7a30-0c"
GUEST_MAC, GUEST_ADDRESS = "fa:16:3e:24:e7:22", "192.0.2.10"
GATEWAY_MAC, GATEWAY_ADDRESS = "00:1c:73:00:00:01", "192.0.2.1"
PAIRS, ENVELOPE_PAIRS = (0, 1), (2,)
QUIET_BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"


@dataclass(frozen=True, slots=True)
class _Nic:
    name: str
    netns: Namespace
    home_name: str


class DoubleVlan(Closing):
    """Context manager; see the picture above. It begins as it should be.

    `pairs` are the cables as tools/vm/nics.py numbers them, `offload` is the guest's;
    with `service_tag` the data centre's VLAN is one of IEEE 802.1ad, and below the
    tenant's. Raises RuntimeError where the NICs are missing.
    """

    def __init__(
        self,
        pairs: tuple[int, ...] = PAIRS,
        *,
        offload: bool = False,
        service_tag: bool = False,
    ) -> None:
        self._nics: list[_Nic] = []
        self._cleanup = contextlib.ExitStack()
        try:
            self.hypervisor = Namespace("hv")
            self._cleanup.callback(self.hypervisor.close)
            self.outside = Host("dc", GATEWAY_MAC, GATEWAY_ADDRESS, TENANT_VLAN)
            self._cleanup.callback(self.outside.close)
            self._cleanup.callback(self._unplug)
            self._plug_in(pairs)
            self._connect(len(pairs), "802.1ad" if service_tag else "802.1Q")
            tap = Tap(TAP, self.hypervisor, offload=offload)
            self._cleanup.callback(tap.close)
            tap.up(master=BRIDGE)
            self.guest = Guest("tenant", tap, GUEST_MAC, GUEST_ADDRESS, offload)
            self._cleanup.callback(self.guest.close)
            self.attach_host(DATA_CENTRE_VLAN if service_tag else BOND)
            self.attach_outside(DATA_CENTRE_VLAN if service_tag else SWITCH)
            self.wait_until_reachable()
        except BaseException:
            self.close()
            raise

    def make_the_mistake(self) -> None:
        """`vlan_interface=vlan20`, and a data centre where such frames find their way."""
        self.attach_host(DATA_CENTRE_VLAN)
        self.attach_outside(DATA_CENTRE_VLAN)
        self.wait_until_reachable()

    def attach_host(self, lower: str) -> None:
        """Build the hypervisor's tenant VLAN anew, on BOND or on DATA_CENTRE_VLAN."""
        _delete(self.hypervisor, TENANT_VLAN)
        self.hypervisor.ip(
            f"link add link {lower} name {TENANT_VLAN} type vlan id {TENANT_VID}",
            f"link set {TENANT_VLAN} master {BRIDGE} up",
        )

    def attach_outside(self, lower: str) -> None:
        """Build the data centre's end of it anew, on SWITCH or on DATA_CENTRE_VLAN."""
        _delete(self.outside.netns, TENANT_VLAN)
        self.outside.netns.ip(
            f"link add link {lower} name {TENANT_VLAN} type vlan id {TENANT_VID}",
            f"address add {GATEWAY_ADDRESS}/{PREFIX_BITS} dev {TENANT_VLAN}",
            f"link set {TENANT_VLAN} up",
        )

    def wait_until_reachable(self) -> None:
        """Wait for the guest to answer pings from outside: small frames pass anyhow."""
        wait_until(
            lambda: self.outside.ping(self.guest, count=1).received == 1, 20, "the guest's answer"
        )

    def close(self) -> None:
        """Take it down and the NICs home; may be called again."""
        self._cleanup.close()

    def _plug_in(self, pairs: tuple[int, ...]) -> None:
        found = nics_here()
        missing = [pair for pair in pairs if (pair, 0) not in found or (pair, 1) not in found]
        if missing:
            raise RuntimeError(
                f"no NICs of the pairs {missing} in this namespace, only {found}: boot the "
                "guest with --nic-pairs 2 --envelope-nic-pairs 1"
            )
        for number, pair in enumerate(pairs):
            ends = (self.hypervisor, f"eth{number}"), (self.outside.netns, f"et{number + 1}")
            for end, (netns, name) in enumerate(ends):
                home_name = found[pair, end]
                _ip_here(f"link set {home_name} down netns {netns.name} name {name}")
                self._nics.append(_Nic(name, netns, home_name))

    def _connect(self, nics: int, protocol: str) -> None:
        self.hypervisor.ip(
            f"link add name {BOND} type bond mode active-backup miimon 100",
            *(f"link set eth{number} addrgenmode none master {BOND}" for number in range(nics)),
            f"link add link {BOND} name {DATA_CENTRE_VLAN} type vlan "
            f"proto {protocol} id {DATA_CENTRE_VID}",
            f"link add name {BRIDGE} {QUIET_BRIDGE}",
            *(f"link set {name} up" for name in (BOND, DATA_CENTRE_VLAN, BRIDGE)),
        )
        self.outside.netns.ip(
            f"link add name {SWITCH} address {GATEWAY_MAC} {QUIET_BRIDGE}",
            *(f"link set et{number + 1} master {SWITCH} up" for number in range(nics)),
            f"link add link {SWITCH} name {DATA_CENTRE_VLAN} type vlan "
            f"proto {protocol} id {DATA_CENTRE_VID}",
            *(f"link set {name} up" for name in (SWITCH, DATA_CENTRE_VLAN)),
        )

    def _unplug(self) -> None:
        while self._nics:
            nic = self._nics.pop()
            nic.netns.ip(
                f"link set {nic.name} nomaster",
                f"link set {nic.name} down netns {os.getpid()} name {nic.home_name}",
            )


def _delete(netns: Namespace, device: str) -> None:
    if device in netns.links():
        netns.ip(f"link delete {device}")


def _ip_here(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True, capture_output=True, timeout=30)
