# SPDX-License-Identifier: Apache-2.0
"""Ways to the network in a domain's XML that no tap shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.domain_xml import MOST_PORTS, parse_domain_xml
from sentinel.vm import VmIdentity, VmPort

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
PORT_ID = "5d7a9c1e-3f42-4c0d-9a77-2f8e6b1d4c35"
MAC = "fa:16:3e:24:e7:22"
VM = VmIdentity(UUID, "i-1", "libvirt", mac=MAC, pid=7)


def ports(devices: str) -> tuple[VmPort, ...]:
    return parse_domain_xml(domain(devices)).ports


def domain(devices: str) -> bytes:
    return (
        f"<domstatus pid='7'><domain type='kvm'><name>i-1</name><uuid>{UUID}</uuid>"
        f"<devices>{devices}</devices></domain></domstatus>"
    ).encode()


ADDRESS = "<address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/>"
GUEST_S = "<address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>"


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        (
            f"<interface type='vhostuser'><mac address='{MAC}'/>"
            "<source type='unix' path='/run/vhost/a' mode='server'/>"
            f"<target dev='vhu1'/><model type='virtio'/>{GUEST_S}</interface>",
            VmPort("vhost-user", VM, "vhu1", "/run/vhost/a"),
        ),
        (
            f"<interface type='hostdev' managed='yes'><mac address='{MAC}'/>"
            f"<driver name='vfio'/><source>{ADDRESS}</source>{GUEST_S}</interface>",
            VmPort("vf", VM, source="0000:3b:02.1"),
        ),
        (
            f"<interface type='direct'><mac address='{MAC}'/>"
            "<source dev='eth0' mode='bridge'/><target dev='macvtap0'/></interface>",
            VmPort("macvtap", VM, "macvtap0", "eth0"),
        ),
        # A libvirt network, and what came of it.
        (
            f"<interface type='network'><mac address='{MAC}'/><source network='pool'/>"
            f"<actual type='hostdev' managed='yes'><source>{ADDRESS}</source></actual>"
            "</interface>",
            VmPort("vf", VM, source="0000:3b:02.1"),
        ),
        (
            f"<interface type='network'><mac address='{MAC}'/><source network='direct'/>"
            "<actual type='direct'><source dev='eth1' mode='vepa'/></actual>"
            "<target dev='macvtap1'/></interface>",
            VmPort("macvtap", VM, "macvtap1", "eth1"),
        ),
    ],
)
def test_ports_without_a_tap(interface: str, expected: VmPort) -> None:
    tap = "<interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface>"
    assert ports(tap + interface + tap) == (expected,)


@pytest.mark.parametrize(
    "interface",
    [
        "<interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface>",
        "<interface type='network'><source network='default'/><actual type='bridge'>"
        "<source bridge='virbr0'/></actual><target dev='vnet0'/></interface>",
        "<interface type='vhostuser'/>",
        "<interface type='direct'><source dev='eth0'/></interface>",
        "<interface type='hostdev'><source><address bus='1' device='2'/></source></interface>",
        f"<interface type='hostdev'>{GUEST_S}</interface>",
        "<interface type='hostdev'><source><address type='pci' domain='0x0000' bus='0x3b'"
        " slot='../..' function='0x1'/></source></interface>",
        "<interface><source path='/run/vhost/a'/></interface>",
        "<other><interface type='vhostuser'><source path='/a'/></interface></other>",
    ],
)
def test_others_are_none(interface: str) -> None:
    assert ports(interface) == ()


def test_the_port_id_of_the_switch_comes_along() -> None:
    (port,) = ports(
        "<interface type='vhostuser'><source path='/run/vhost/a'/><virtualport>"
        f"<parameters interfaceid='{PORT_ID}'/></virtualport></interface>"
    )
    assert port.vm == VmIdentity(UUID, "i-1", "libvirt", port_id=PORT_ID, pid=7)


def test_devices_passed_through_are_told_by_their_addresses() -> None:
    found = parse_domain_xml(
        domain(
            "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
            "<address domain='0x0000' bus='0x3b' slot='0x1f' function='0x7'/></source>"
            f"{GUEST_S}</hostdev>"
            "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/>"
            "<address bus='1' device='2'/></source></hostdev>"
            "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>"
            "<address bus='0' target='0' unit='0'/></source></hostdev>"
        )
    )
    assert found.pci_devices == ("0000:3b:1f.7",)
    assert found.ports == ()
    assert found.vm == VmIdentity(UUID, "i-1", "libvirt", pid=7)


def test_there_are_not_more_than_a_vm_can_have() -> None:
    many = "<interface type='vhostuser'><source path='/a'/></interface>" * 2000
    device = f"<hostdev><source>{ADDRESS}</source></hostdev>" * 2000
    found = parse_domain_xml(domain(many + device))
    assert (len(found.ports), len(found.pci_devices)) == (MOST_PORTS, MOST_PORTS)


@given(st.text(max_size=300))
def test_a_path_of_any_length_and_content_is_short_and_fit_for_json(text: str) -> None:
    escaped = "".join(f"&#{ord(one)};" for one in text)
    document = domain(f"<interface type='vhostuser'><source path='{escaped}'/></interface>")
    try:
        found = parse_domain_xml(document).ports
    except ValueError:
        return
    for port in found:
        assert 0 < len(port.source.encode("utf-8")) <= 4 * 256
