# SPDX-License-Identifier: Apache-2.0
"""Ports that no tap shows: what three sources say of the same one is one."""

from __future__ import annotations

import pytest

from sentinel.audit.finding import UnseenPort
from sentinel.audit.unseen import SWITCH_S_OWN, unseen_ports
from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsBridge, OvsFacts, OvsInterface, OvsPort
from sentinel.vm import UNKNOWN_VM, VmIdentity, VmPort

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
PORT_ID = "5d7a9c1e-3f42-4c0d-9a77-2f8e6b1d4c35"
MAC = "fa:16:3e:24:e7:22"
IDS = {"vm-uuid": UUID, "iface-id": PORT_ID, "attached-mac": MAC}
BY_OVS = VmIdentity(UUID, None, "ovs", port_id=PORT_ID, mac=MAC)
WITHOUT_MAC = VmIdentity(UUID, "i-1", "libvirt", pid=7)
BY_LIBVIRT = VmIdentity(UUID, "i-1", "libvirt", mac=MAC, pid=7)
JOINED = VmIdentity(UUID, "i-1", "ovs", port_id=PORT_ID, mac=MAC, pid=7)
SOCKET = "/run/vhost/vhu1"


def ovs(*interfaces: OvsInterface, datapath_type: str = "netdev") -> OvsFacts:
    return OvsFacts(
        {"br0": OvsBridge("br0", datapath_type)},
        {one.name: OvsPort(one.name, "br0", (one.name,)) for one in interfaces},
        {one.name: one for one in interfaces},
    )


def links(*found: LinkFacts) -> dict[int, LinkFacts]:
    return {link.ifindex: link for link in found}


@pytest.mark.parametrize(
    ("row", "port"),
    [
        # By the socket, however the interface is called.
        (
            OvsInterface("x", "dpdkvhostuserclient", None, IDS, SOCKET),
            VmPort("vhost-user", WITHOUT_MAC, source=SOCKET),
        ),
        # By the name that libvirt found out.
        (
            OvsInterface("vhu1", "dpdkvhostuserclient", None, IDS),
            VmPort("vhost-user", WITHOUT_MAC, "vhu1", "/else/where"),
        ),
        # By the socket that is named as the interface.
        (
            OvsInterface("vhu1", "dpdkvhostuser", None, IDS),
            VmPort("vhost-user", WITHOUT_MAC, source=SOCKET),
        ),
        # By VM and MAC.
        (
            OvsInterface("x", "dpdkvhostuserclient", None, IDS, "/a"),
            VmPort("vhost-user", BY_LIBVIRT, source="/b"),
        ),
    ],
)
def test_the_switch_s_end_and_the_vm_s_end_are_one_port(row: OvsInterface, port: VmPort) -> None:
    assert unseen_ports(ovs(row), [port], {}) == [UnseenPort(row.name, "vhost-user", JOINED, "br0")]


def test_another_vm_s_socket_stays_another_port() -> None:
    row = OvsInterface("vhu1", "dpdkvhostuserclient", None, IDS, SOCKET)
    other = VmIdentity(PORT_ID, "i-2", "libvirt", mac="fa:16:3e:00:00:02")
    unnamed = VmIdentity(None, None, "fdinfo", pid=9)
    ports = [
        VmPort("vhost-user", other, source="/run/vhost/vhu2"),
        VmPort("vhost-user", unnamed, source="/run/vhost/vhu3"),
    ]
    found = unseen_ports(ovs(row), ports, {})
    assert found == [
        UnseenPort("/run/vhost/vhu2", "vhost-user", other),
        UnseenPort("/run/vhost/vhu3", "vhost-user", unnamed),
        UnseenPort("vhu1", "vhost-user", BY_OVS, "br0"),
    ]
    # A client's socket may end in another's name.
    row = OvsInterface("vhu3", "dpdkvhostuserclient", None, {}, "/somewhere/else")
    assert len(unseen_ports(ovs(row), ports, {})) == 3


def test_a_user_space_bridge_hides_all_that_is_a_vm_s() -> None:
    rows = [
        OvsInterface("vnet0", "", None, IDS),
        OvsInterface("vhu1", "dpdkvhostuser"),
        OvsInterface("dpdk0", "dpdk"),
        *(OvsInterface(f"own-{kind}", kind) for kind in SWITCH_S_OWN),
    ]
    assert unseen_ports(ovs(*rows), (), {}) == [
        UnseenPort("vhu1", "vhost-user", UNKNOWN_VM, "br0"),
        UnseenPort("vnet0", "netdev datapath", BY_OVS, "br0"),
    ]
    for in_kernel in ("", "system"):
        assert unseen_ports(ovs(*rows, datapath_type=in_kernel), (), {}) == [
            UnseenPort("vhu1", "vhost-user", UNKNOWN_VM, "br0")
        ]


def test_macvtaps_with_and_without_a_vm() -> None:
    host = links(
        LinkFacts(2, "eth0"),
        LinkFacts(5, "macvtap0", "macvtap", lower=2),
        LinkFacts(6, "macvtap1", "macvtap", lower=2),
        LinkFacts(7, "macvtap2", "macvtap", lower=99),
        LinkFacts(8, "mv0", "macvlan", lower=2),
    )
    held = [
        VmPort("macvtap", BY_LIBVIRT, "macvtap0", "eth0"),
        VmPort("macvtap", BY_LIBVIRT, "macvtap2", "eth9"),
        VmPort("macvtap", BY_LIBVIRT, "macvtap9", "eth9"),
    ]
    assert unseen_ports(NO_OVS, held, host) == [
        UnseenPort("macvtap0", "macvtap", BY_LIBVIRT, "eth0"),
        UnseenPort("macvtap1", "macvtap", UNKNOWN_VM, "eth0"),
        UnseenPort("macvtap2", "macvtap", BY_LIBVIRT, "eth9"),
        # In another namespace.
        UnseenPort("macvtap9", "macvtap", BY_LIBVIRT, "eth9"),
    ]


def test_virtual_functions_that_nobody_is_known_to_hold_are_not_kept_silent() -> None:
    nic = LinkFacts(2, "eth0", virtual_functions=2)
    one = VmPort("vf", BY_LIBVIRT, source="0000:3b:02.1", parent="eth0")
    other = VmPort("vf", UNKNOWN_VM, source="0000:3b:02.2", parent="eth0")
    first = UnseenPort("0000:3b:02.1", "vf", BY_LIBVIRT, "eth0")
    second = UnseenPort("0000:3b:02.2", "vf", UNKNOWN_VM, "eth0")
    rest = UnseenPort("eth0", "vf", UNKNOWN_VM, "eth0")
    assert unseen_ports(NO_OVS, [], links(nic)) == [rest]
    assert unseen_ports(NO_OVS, [one], links(nic)) == [first, rest]
    assert unseen_ports(NO_OVS, [other, one], links(nic)) == [first, second]


def test_a_whole_nic_and_nothing_at_all() -> None:
    nic = VmPort("nic", BY_LIBVIRT, source="0000:01:00.0")
    assert unseen_ports(NO_OVS, [nic, nic], {}) == [UnseenPort("0000:01:00.0", "nic", BY_LIBVIRT)]
    plain = links(LinkFacts(1, "lo"), LinkFacts(3, "tap0", "tun", "tap"), LinkFacts(4, "eth0"))
    assert unseen_ports(NO_OVS, [], plain) == []
