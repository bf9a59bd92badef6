# SPDX-License-Identifier: Apache-2.0
"""Paths through several switches: veth pairs, rings, Open vSwitch's bridges."""

from __future__ import annotations

from dataclasses import replace

from sentinel.link import LinkFacts
from sentinel.ovs import OvsBridge, OvsFacts, OvsInterface, OvsPort
from sentinel.tag import TPID_8021Q, Tag
from tests.unit.test_path_book import BOND, BRIDGE, ETH0, TAP, VLAN20, drawn, inventory, path


def patched(number: int, left: int, right: int, mtu_bytes: int = 1500) -> list[LinkFacts]:
    at = 100 + 2 * number
    return [
        LinkFacts(at, f"p{number}a", "veth", lower=at + 1, master=left, mtu_bytes=mtu_bytes),
        LinkFacts(at + 1, f"p{number}b", "veth", lower=at, master=right, mtu_bytes=mtu_bytes),
    ]


def bridges(count: int) -> list[LinkFacts]:
    return [LinkFacts(10 + number, f"br{number}", "bridge") for number in range(count)]


NIC = LinkFacts(2, "eth0", master=11)


def test_a_veth_pair_into_another_switch_counts_with_both_ends() -> None:
    first, second = patched(0, 10, 11)
    found = path(*bridges(2), NIC, first, replace(second, mtu_bytes=1450), TAP)
    assert drawn(found)[2:] == [
        "    p0a 1500/1500",
        "      p0b 1450/1450",
        "        br1 1500/1500",
        "          eth0 1500/1500",
    ]
    assert (found.mtu_bytes, found.narrowest.name) == (1450, "p0b")


def test_another_s_way_to_the_same_switch_is_none_of_ours() -> None:
    third = LinkFacts(12, "br2", "bridge")
    found = path(
        *bridges(2), third, NIC, *patched(0, 10, 11), *patched(1, 12, 11, mtu_bytes=1300), TAP
    )
    assert found.mtu_bytes == 1500
    assert "br2" not in {step.name for _, step in found.port.walk()}


def test_two_switches_with_a_way_out_each_do_not_lead_back() -> None:
    own = LinkFacts(3, "eth1", master=10, mtu_bytes=1480)
    found = path(*bridges(2), NIC, own, *patched(0, 10, 11), TAP)
    assert [step.name for _, step in found.port.walk()] == [
        *("tap7", "br0", "eth1", "p0a", "p0b", "br1", "eth0"),
    ]
    assert found.mtu_bytes == 1480
    other = path(*bridges(2), NIC, own, *patched(0, 10, 11), replace(TAP, master=11))
    assert [step.name for _, step in other.port.walk()] == [
        *("tap7", "br1", "eth0", "p0b", "p0a", "br0", "eth1"),
    ]
    assert other.mtu_bytes == 1480


def test_switches_that_lead_nowhere_else_share_what_is_below() -> None:
    links = [*bridges(3), replace(NIC, master=12), *patched(0, 10, 12), *patched(1, 11, 12)]
    made = inventory(*links, TAP, replace(TAP, ifindex=21, name="tap8", master=11))
    first, second = (made.paths()[ifindex].port.below[0] for ifindex in (20, 21))
    assert first.below[0].below[0].below[0].name == "br2"
    assert first.below[0].below[0].below[0] is second.below[0].below[0].below[0]


def test_a_ring_of_bridges_is_followed_once() -> None:
    links = [
        *bridges(3), NIC, *patched(0, 10, 11), *patched(1, 11, 12), *patched(2, 12, 10), TAP,
    ]  # fmt: skip
    found = path(*links)
    assert [step.name for _, step in found.port.walk()] == [
        *("tap7", "br0", "p0a", "p0b", "br1", "eth0"),
    ]
    assert found.port.below[0].note == "closes a ring with br2"


def test_two_patches_to_the_same_switch() -> None:
    found = path(*bridges(2), NIC, *patched(0, 10, 11), *patched(1, 10, 11, mtu_bytes=1400), TAP)
    assert drawn(found)[-1] == "      p1b 1400/1400 (a second way to br1)"
    assert found.mtu_bytes == 1400


def test_a_veth_into_its_own_bridge_leads_nowhere() -> None:
    assert drawn(path(*bridges(1), *patched(0, 10, 10), TAP))[-1] == "  br0 1500/1500 (no way out)"


def test_a_long_line_of_bridges_ends_somewhere() -> None:
    count = 400
    links = [*bridges(count), LinkFacts(2, "eth0", master=10 + count - 1)]
    for number in range(count - 1):
        links += [
            replace(link, ifindex=link.ifindex + 1000, lower=(link.lower or 0) + 1000)
            for link in patched(number, 10 + number, 11 + number)
        ]
    tap = replace(TAP, ifindex=5000)
    far = path(*links, tap)
    assert drawn(far)[1:] == ["  br0 1500/1500 (no way out)"]
    near = path(*links, replace(tap, master=10 + count - 5))
    assert [step.name for _, step in near.port.walk()][-1] == "eth0"


def test_a_vlan_on_a_bridge_leads_into_it_but_not_back() -> None:
    up = LinkFacts(8, "br1.5", "vlan", lower=11, master=10, tag=Tag(TPID_8021Q, 5))
    found = path(*bridges(2), NIC, up, TAP)
    assert drawn(found)[2:] == [
        "    br1.5 1500/1500 5",
        "      br1 1500/1500 5",
        "        eth0 1500/1500 5",
    ]
    back = path(*bridges(2), NIC, up, replace(TAP, master=11))
    assert [step.name for _, step in back.port.walk()] == ["tap7", "br1", "eth0"]


# --- Open vSwitch

OVS_SYSTEM = LinkFacts(9, "ovs-system", "openvswitch")
NEUTRON = OvsFacts(
    bridges={name: OvsBridge(name) for name in ("br-int", "br-ex", "br-dmz")},
    ports={
        "tap7": OvsPort("tap7", "br-int", ("tap7",), tag=3),
        "int-ex": OvsPort("int-ex", "br-int", ("int-ex",)),
        "ex-int": OvsPort("ex-int", "br-ex", ("ex-int",)),
        "bond0": OvsPort("bond0", "br-ex", ("bond0",)),
        "eth9": OvsPort("eth9", "br-dmz", ("eth9",)),
    },
    interfaces={
        "int-ex": OvsInterface("int-ex", "patch", "ex-int"),
        "ex-int": OvsInterface("ex-int", "patch", "int-ex"),
        "tap7": OvsInterface("tap7"),
    },
)
OVS_LINKS = (
    OVS_SYSTEM,
    LinkFacts(50, "br-ex", "openvswitch", mtu_bytes=1500),
    ETH0,
    replace(BOND, master=9),
    LinkFacts(4, "eth9", master=9, mtu_bytes=1300),
    replace(TAP, master=9),
)


def test_open_vswitch_s_bridges_are_told_apart_by_its_database() -> None:
    found = path(*OVS_LINKS, ovs=NEUTRON)
    assert drawn(found) == [
        "tap7 1500/9000",
        "  br-int 1500/1500 3",
        "    br-ex 1500/1500 3",
        "      bond0 1500/1500 3",
        "        eth0 1500/1500 3 (active)",
    ]
    assert found.port.below[0].below[0].ifindex == 50
    assert found.mtu_bytes == 1500


def test_without_a_database_every_member_of_the_datapath_is_a_way_out() -> None:
    found = path(*OVS_LINKS)
    assert [step.name for step in found.port.below[0].below] == ["eth9", "bond0"]
    assert found.mtu_bytes == 1300


def test_what_the_database_says_later_is_told() -> None:
    made = inventory(*OVS_LINKS)
    (change,) = made.set_ovs(NEUTRON)
    assert (change.device.name, change.device.path_mtu_bytes) == ("tap7", 1500)
    assert made.set_ovs(NEUTRON) == []


def test_an_access_port_takes_the_tag_off_and_another_vlan_adds_its_own() -> None:
    access = replace(NEUTRON.ports["bond0"], tag=3)
    ports = {**NEUTRON.ports, "bond0": access}
    found = path(*OVS_LINKS, ovs=replace(NEUTRON, ports=ports))
    assert [step.tags for _, step in found.port.walk()][-1] == ()
    vlan = replace(VLAN20, master=9)
    on_top = (*OVS_LINKS[:3], BOND, vlan, OVS_LINKS[-1])
    ports = {**NEUTRON.ports, "vlan20": OvsPort("vlan20", "br-ex", ("vlan20",))}
    stacked = path(*on_top, ovs=replace(NEUTRON, ports=ports))
    assert [str(tag) for tag in stacked.narrowest.tags] == ["20", "3"]
    assert stacked.carries_bytes == 1496


def test_hybrid_plug_gets_its_tag_where_it_enters_open_vswitch() -> None:
    ports = {**NEUTRON.ports, "qvo1": OvsPort("qvo1", "br-int", ("qvo1",), tag=5)}
    links = (
        *OVS_LINKS[:-1],
        LinkFacts(60, "qbr1", "bridge"),
        LinkFacts(61, "qvb1", "veth", lower=62, master=60),
        LinkFacts(62, "qvo1", "veth", lower=61, master=9),
        replace(TAP, master=60),
    )
    found = path(*links, ovs=replace(NEUTRON, ports=ports))
    names = [(step.name, [str(tag) for tag in step.tags]) for _, step in found.port.walk()]
    assert names == [
        ("tap7", []), ("qbr1", []), ("qvb1", []), ("qvo1", []),
        ("br-int", ["5"]), ("br-ex", ["5"]), ("bond0", ["5"]), ("eth0", ["5"]),
    ]  # fmt: skip


def test_an_internal_port_leads_into_its_bridge() -> None:
    up = LinkFacts(8, "br-ex.5", "vlan", lower=50, master=10, tag=Tag(TPID_8021Q, 5))
    found = path(BRIDGE, *OVS_LINKS[:-1], up, TAP, ovs=NEUTRON)
    names = [step.name for _, step in found.port.walk()]
    assert names == ["tap7", "br100", "br-ex.5", "br-ex", "bond0", "eth0"]
