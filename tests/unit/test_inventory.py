# SPDX-License-Identifier: Apache-2.0
"""Ports and uplinks out of links, and what changes when links do."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config import PortsConfig, TrustRule
from sentinel.inventory import Appeared, Change, Changed, Device, Gone, Inventory, Renamed
from sentinel.link import LinkFacts
from sentinel.vm import UNKNOWN_VM, VmIdentity

VM = VmIdentity("6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2", "i-1", "ovs", mac="fa:16:3e:24:e7:22")

BRIDGE = LinkFacts(10, "br0", "bridge", mac="02:00:00:00:00:10")
NIC = LinkFacts(2, "eth0", "", mac="02:00:00:00:00:02", master=10)


def tap(
    ifindex: int, name: str = "", *, master: int | None = 10, mtu_bytes: int = 1500
) -> LinkFacts:
    return LinkFacts(
        ifindex,
        name or f"tap{ifindex}",
        "tun",
        "tap",
        mac=f"fe:16:3e:00:00:{ifindex % 256:02x}",
        master=master,
        mtu_bytes=mtu_bytes,
    )


def inventory(*links: LinkFacts, ports: PortsConfig | None = None) -> Inventory:
    made = Inventory(ports or PortsConfig())
    made.replace_links(links)
    return made


def roles(made: Inventory) -> dict[str, str]:
    return {device.name: device.role for device in made.devices().values()}


def device(made: Inventory, name: str) -> Device:
    found = made.by_name(name)
    assert found is not None
    return found


# --- what is watched


def test_taps_that_match_and_the_nic_of_their_bridge() -> None:
    made = inventory(
        BRIDGE,
        NIC,
        tap(20),
        tap(21, "vnet3"),
        tap(22, "other"),
        LinkFacts(23, "tap-tun", "tun", "tun", ethernet=False),
        LinkFacts(24, "tapveth", "veth", master=10),
        LinkFacts(3, "eth1", ""),
        LinkFacts(1, "lo", "", ethernet=False),
        LinkFacts(25, "tapvtap", "macvtap", lower=2),
    )
    assert roles(made) == {"tap20": "port", "vnet3": "port", "eth0": "uplink"}
    port = device(made, "tap20")
    assert (port.bridge, port.vm, port.trusted_checks) == ("br0", UNKNOWN_VM, frozenset())
    assert device(made, "eth0").bridge == "br0"
    assert device(made, "eth0").rule == "reached from br0"


def test_any_kind_takes_veths_but_no_bridge_no_bond_and_no_uplink() -> None:
    ports = PortsConfig(include=("*",), exclude=("eth*",), uplinks=("up0",), any_kind=True)
    made = inventory(
        BRIDGE,
        NIC,
        LinkFacts(3, "bond0", "bond"),
        LinkFacts(4, "veth0", "veth", master=10),
        LinkFacts(5, "up0", "veth", master=10),
        LinkFacts(1, "lo", "", ethernet=False),
        ports=ports,
    )
    assert roles(made) == {"veth0": "port", "up0": "uplink"}


def test_excluded_taps_are_left_out() -> None:
    made = inventory(BRIDGE, tap(20), tap(21), ports=PortsConfig(exclude=("tap21",)))
    assert roles(made) == {"tap20": "port"}


# --- uplinks


BOND = LinkFacts(5, "bond0", "bond", master=10)
SLAVE = LinkFacts(2, "eth0", "", master=5)
VLAN20 = LinkFacts(6, "vlan20", "vlan", lower=5)
VLAN100 = LinkFacts(7, "vlan100", "vlan", lower=6, master=10)


@pytest.mark.parametrize(
    ("links", "uplinks"),
    [
        pytest.param([BRIDGE, BOND, SLAVE], {"bond0"}, id="a bond, not its slave"),
        pytest.param(
            [BRIDGE, replace(BOND, master=None), SLAVE, VLAN20, VLAN100],
            {"bond0"},
            id="what carries a vlan on a vlan",
        ),
        pytest.param([BRIDGE, LinkFacts(5, "team0", "team", master=10)], {"team0"}, id="a team"),
        pytest.param(
            [
                BRIDGE,
                replace(BOND, master=None),
                SLAVE,
                LinkFacts(8, "eth0.5", "vlan", lower=2, master=10),
            ],
            {"bond0"},
            id="the bond of the slave that carries a vlan",
        ),
        pytest.param(
            [BRIDGE, LinkFacts(8, "mv0", "macvlan", lower=None, master=10)],
            {"mv0"},
            id="a macvlan whose lower device is elsewhere",
        ),
        pytest.param(
            [LinkFacts(10, "ovs-system", "openvswitch"), NIC, LinkFacts(3, "eth1", "", master=10)],
            {"eth0", "eth1"},
            id="every NIC of Open vSwitch",
        ),
        pytest.param(
            [
                BRIDGE,
                LinkFacts(11, "br-up", "bridge"),
                LinkFacts(12, "br-up.5", "vlan", lower=11, master=10),
                replace(NIC, master=11),
            ],
            {"eth0"},
            id="through a vlan of another bridge",
        ),
        pytest.param(
            [BRIDGE, LinkFacts(8, "up0", "veth", lower=None, master=10)], {"up0"}, id="a lone veth"
        ),
        pytest.param(
            [BRIDGE, NIC, tap(20), LinkFacts(8, "leg", "veth", master=10)],
            {"eth0"},
            id="no veth where there is a NIC",
        ),
        pytest.param(
            [BRIDGE, *(LinkFacts(8 + n, f"veth{n}", "veth", master=10) for n in (0, 1))],
            set(),
            id="no containers' veths",
        ),
        pytest.param(
            [BRIDGE, tap(20), *(LinkFacts(8 + n, f"up{n}", "veth", master=10) for n in (0, 1))],
            {"up0", "up1"},
            id="veths where VMs are",
        ),
        pytest.param(
            [BRIDGE, tap(20), LinkFacts(8, "tapdhcp", "veth", master=10)],
            set(),
            id="no veth that bears a port's name",
        ),
        pytest.param(
            [BRIDGE, LinkFacts(8, "vxlan-7", "vxlan", master=10), LinkFacts(9, "d", "dummy")],
            set(),
            id="no tunnel and no dummy",
        ),
        pytest.param([NIC, LinkFacts(3, "eth1", "")], set(), id="no bridge"),
        pytest.param(
            [
                BRIDGE,
                LinkFacts(8, "a", "macvlan", lower=9, master=10),
                LinkFacts(9, "b", "macvlan", lower=8),
            ],
            set(),
            id="a ring",
        ),
    ],
)
def test_uplinks_by_rule(links: list[LinkFacts], uplinks: set[str]) -> None:
    made = inventory(*links)
    assert {name for name, role in roles(made).items() if role == "uplink"} == uplinks


def test_the_first_tap_makes_veths_uplinks_and_the_last_takes_that_along() -> None:
    veths = [LinkFacts(8 + n, f"up{n}", "veth", master=10) for n in (0, 1)]
    made = inventory(BRIDGE, *veths)
    assert roles(made) == {}
    made.update_link(tap(20))
    made.update_link(tap(21))
    assert roles(made) == {"tap20": "port", "tap21": "port", "up0": "uplink", "up1": "uplink"}
    made.update_link(tap(21, master=None))
    assert device(made, "up0").role == "uplink"
    assert kinds(made.remove_link(20)) == [Gone, Gone, Gone]
    assert roles(made) == {"tap21": "port"}


def test_a_veth_is_no_way_to_whatever_took_its_peer_s_ifindex() -> None:
    made = inventory(
        BRIDGE,
        LinkFacts(11, "br1", "bridge"),
        tap(20),
        # Its peer was 31, moved to another namespace; 31 and 32 are a pair made since.
        LinkFacts(30, "up0", "veth", lower=31, master=10),
        LinkFacts(31, "other", "veth", lower=32, master=11, mtu_bytes=1300),
        LinkFacts(32, "another", "veth", lower=31),
    )
    assert device(made, "up0").role == "uplink"
    assert device(made, "tap20").path_mtu_bytes == 1500


def hybrid_plug(number: int, mtu_bytes: int = 1500) -> list[LinkFacts]:
    at = 100 + 10 * number
    return [
        LinkFacts(at, f"qbr{number}", "bridge"),
        tap(at + 1, f"tap{number}", master=at, mtu_bytes=mtu_bytes),
        LinkFacts(at + 2, f"qvb{number}", "veth", lower=at + 3, master=at),
        LinkFacts(at + 3, f"qvo{number}", "veth", lower=at + 2, master=10),
    ]


def test_hybrid_plug_reaches_the_wire_by_what_open_vswitch_does() -> None:
    ovs = LinkFacts(10, "ovs-system", "openvswitch", mtu_bytes=1500)
    made = inventory(ovs, replace(BOND, mtu_bytes=1450), *hybrid_plug(0), *hybrid_plug(1, 9000))
    assert roles(made) == {"bond0": "uplink", "tap0": "port", "tap1": "port"}
    assert device(made, "tap1").path_mtu_bytes == 1450
    assert device(made, "tap1").bridge == "qbr1"


def test_configured_uplinks_are_the_only_ones() -> None:
    ports = PortsConfig(uplinks=("eth1", "eth7", "tap20", "lo"))
    made = inventory(
        BRIDGE,
        NIC,
        LinkFacts(3, "eth1", ""),
        tap(20),
        LinkFacts(1, "lo", "", ethernet=False),
        ports=ports,
    )
    assert roles(made) == {"eth1": "uplink", "tap20": "uplink"}
    assert device(made, "eth1").rule == "ports.uplinks"
    assert device(made, "eth1").bridge is None
    assert device(made, "tap20").bridge == "br0"


def test_one_bond_under_many_bridges() -> None:
    made = inventory(
        BRIDGE,
        LinkFacts(11, "br1", "bridge"),
        replace(BOND, master=None),
        LinkFacts(6, "bond0.6", "vlan", lower=5, master=10),
        LinkFacts(7, "bond0.7", "vlan", lower=5, master=11),
    )
    uplink = device(made, "bond0")
    assert (uplink.bridge, uplink.rule) == (None, "reached from br0, br1")


# --- the path's MTU


@pytest.mark.parametrize(
    ("links", "path_mtu_bytes"),
    [
        pytest.param([BRIDGE, NIC], 1500, id="the NIC's, not the tap's"),
        pytest.param(
            [BRIDGE, replace(BOND, master=None, mtu_bytes=9000), VLAN20, VLAN100],
            1500,
            id="the smallest on the way down",
        ),
        pytest.param(
            [BRIDGE, NIC, LinkFacts(3, "eth1", "", master=10, mtu_bytes=1400)],
            1400,
            id="the smallest uplink",
        ),
        pytest.param(
            [BRIDGE, LinkFacts(8, "vxlan-7", "vxlan", master=10, mtu_bytes=1450)],
            1450,
            id="a tunnel's",
        ),
        pytest.param([replace(BRIDGE, mtu_bytes=1400)], 1400, id="the bridge's without a way out"),
        pytest.param(
            [
                LinkFacts(10, "ovs-system", "openvswitch"),
                LinkFacts(8, "vxlan_sys_4789", "vxlan", master=10, mtu_bytes=65000),
            ],
            9000,
            id="the tap's own where nothing tells",
        ),
        pytest.param([], 9000, id="the tap's own without a bridge"),
    ],
)
def test_path_mtu(links: list[LinkFacts], path_mtu_bytes: int) -> None:
    made = inventory(*links, tap(20, mtu_bytes=9000))
    assert device(made, "tap20").path_mtu_bytes == path_mtu_bytes
    assert device(made, "tap20").mtu_bytes == 9000


def test_configured_mtu_stands_for_every_path() -> None:
    made = Inventory(PortsConfig(), mtu_override_bytes=1600)
    made.replace_links([BRIDGE, NIC, tap(20)])
    assert {one.path_mtu_bytes for one in made.devices().values()} == {1600}


def test_a_change_of_the_uplink_s_mtu_reaches_every_port() -> None:
    made = inventory(BRIDGE, NIC, tap(20), tap(21), tap(22, master=None))
    changes = made.update_link(replace(NIC, mtu_bytes=1400))
    assert [(type(one), one.device.name, one.device.path_mtu_bytes) for one in changes] == [
        (Changed, "eth0", 1400),
        (Changed, "tap20", 1400),
        (Changed, "tap21", 1400),
    ]


# --- trust


@pytest.mark.parametrize(
    ("rule", "trusted"),
    [
        (TrustRule(name="tap2*", checks=("bpdu",)), True),
        (TrustRule(name="tap21", checks=("bpdu",)), False),
        (TrustRule(mac="fa:16:3e:24:e7:22", checks=("bpdu",)), True),
        (TrustRule(mac="fe:16:3e:00:00:14", checks=("bpdu",)), True),
        (TrustRule(mac="fa:16:3e:00:00:14", checks=("bpdu",)), False),
        (TrustRule(vm="i-1", checks=("bpdu",)), True),
        (TrustRule(vm="6C1F5C1E-93A3-4D09-A1A8-5BE2A1C7D0F2", checks=("bpdu",)), True),
        (TrustRule(vm="web", checks=("bpdu",)), False),
    ],
)
def test_trust(rule: TrustRule, trusted: bool) -> None:
    made = inventory(BRIDGE, tap(20), ports=PortsConfig(trusted=(rule,)))
    made.set_identity(20, replace(VM, display_name="web"))
    assert device(made, "tap20").trusted_checks == (frozenset({"bpdu"}) if trusted else frozenset())


def test_trust_adds_up_and_goes_with_the_identity() -> None:
    rules = (
        TrustRule(name="tap20", checks=("vlan",)),
        TrustRule(vm="i-1", checks=("bpdu", "size")),
    )
    made = inventory(tap(20, master=None), ports=PortsConfig(trusted=rules))
    (change,) = made.set_identity(20, VM)
    assert isinstance(change, Changed)
    assert change.device.trusted_checks == {"vlan", "bpdu", "size"}
    assert change.old.trusted_checks == {"vlan"}
    made.remove_link(20)
    made.update_link(tap(20, master=None))
    assert device(made, "tap20").vm == UNKNOWN_VM
    assert device(made, "tap20").trusted_checks == {"vlan"}


# --- changes


def kinds(changes: list[Change]) -> list[type[Change]]:
    return [type(change) for change in changes]


def test_nothing_new_is_no_change() -> None:
    made = inventory(BRIDGE, NIC, tap(20))
    assert made.update_link(tap(20)) == []
    assert made.update_link(replace(tap(20), up=False, carrier=False)) == []
    assert made.replace_links([BRIDGE, NIC, tap(20)]) == []
    assert made.remove_link(99) == []
    assert made.set_identity(99, VM) == []
    assert kinds(made.set_identity(20, VM)) == [Changed]
    assert made.set_identity(20, VM) == []


def test_renamed_in_events_and_in_a_resync() -> None:
    made = inventory(tap(20, master=None), ports=PortsConfig())
    made.set_identity(20, VM)
    (change,) = made.update_link(tap(20, "tapnew", master=None))
    assert isinstance(change, Renamed)
    assert (change.old_name, change.device.name, change.device.vm) == ("tap20", "tapnew", VM)
    (change,) = made.replace_links([tap(20, "tapagain", master=None)])
    assert isinstance(change, Renamed)
    assert (made.by_name("tapnew"), device(made, "tapagain").ifindex) == (None, 20)


def test_what_changes_with_the_bridge_is_told_of_its_ports() -> None:
    made = inventory(BRIDGE, tap(20), tap(21, master=None))
    (change,) = made.update_link(replace(BRIDGE, name="br-new"))
    assert (change.device.name, change.device.bridge) == ("tap20", "br-new")
    (change,) = made.update_link(replace(BRIDGE, name="br-new", mtu_bytes=1400))
    assert (change.device.name, change.device.path_mtu_bytes) == ("tap20", 1400)
    (change,) = made.remove_link(10)
    assert (change.device.name, change.device.bridge) == ("tap20", None)


def test_two_that_change_names_keep_them_apart() -> None:
    made = inventory(tap(20, "tapa"), tap(21, "tapb"))
    changes = made.replace_links([tap(20, "tapb"), tap(21, "tapa")])
    assert kinds(changes) == [Renamed, Renamed]
    assert (device(made, "tapa").ifindex, device(made, "tapb").ifindex) == (21, 20)


def test_a_rename_that_takes_trust_away_says_so() -> None:
    ports = PortsConfig(trusted=(TrustRule(name="tap20", checks=("bpdu",)),))
    made = inventory(tap(20), ports=ports)
    renamed, changed = made.update_link(tap(20, "tapnew"))
    assert isinstance(renamed, Renamed)
    assert isinstance(changed, Changed)
    assert changed.device.trusted_checks == frozenset()
    assert changed.old.name == "tapnew"
    assert changed.old.trusted_checks == {"bpdu"}


@pytest.mark.parametrize(
    "other",
    [
        LinkFacts(20, "tap20", "tun", "tun", ethernet=False, mac=tap(20).mac),
        replace(tap(20, "tapnew"), mac="02:00:00:00:00:99"),
    ],
)
def test_an_ifindex_used_again_without_a_dellink(other: LinkFacts) -> None:
    made = inventory(tap(20))
    made.set_identity(20, VM)
    changes = made.update_link(other)
    assert kinds(changes)[0] is Gone
    assert changes[0].device.vm == VM
    assert all(one.device.vm == UNKNOWN_VM for one in changes[1:])
    assert kinds(changes) == ([Gone, Appeared] if other.is_tap else [Gone])


def test_a_new_mac_is_a_change_in_an_event_and_another_device_in_a_resync() -> None:
    made = inventory(tap(20))
    made.set_identity(20, VM)
    readdressed = replace(tap(20), mac="fe:16:3e:24:e7:22")
    assert kinds(made.update_link(readdressed)) == [Changed]
    assert device(made, "tap20").vm == VM
    assert kinds(made.replace_links([tap(20)])) == [Gone, Appeared]
    assert device(made, "tap20").vm == UNKNOWN_VM


def test_left_the_pattern_left_the_inventory() -> None:
    made = inventory(tap(20), tap(21))
    (change,) = made.update_link(tap(20, "elsewhere"))
    assert isinstance(change, Gone)
    assert change.device.name == "tap20"
    assert kinds(made.replace_links([])) == [Gone]


def test_a_role_that_changes_is_another_device() -> None:
    ports = PortsConfig(include=("*",), any_kind=True, uplinks=("up0",))
    made = inventory(LinkFacts(4, "veth0", "veth"), ports=ports)
    gone, appeared = made.update_link(LinkFacts(4, "up0", "veth"))
    assert isinstance(gone, Gone)
    assert isinstance(appeared, Appeared)
    assert (gone.device.role, appeared.device.role) == ("port", "uplink")


# --- properties

NAMES = st.sampled_from(["tap0", "tap1", "vnet0", "eth0", "eth1", "br0", "up0", "qvb0"])
KINDS = st.sampled_from(["tun", "tun", "tun", "veth", "bridge", "", "bond", "vlan", "vxlan"])
INDEXES = st.integers(1, 8)
LINKS = st.builds(
    lambda kind, **facts: LinkFacts(kind=kind, tun_type="tap" if kind == "tun" else None, **facts),
    KINDS,
    ifindex=INDEXES,
    name=NAMES,
    mac=st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"]),
    mtu_bytes=st.sampled_from([1400, 1500]),
    master=st.none() | INDEXES,
    lower=st.none() | INDEXES,
)
IDENTITY = st.sampled_from([UNKNOWN_VM, VM])
STEPS = st.lists(
    st.tuples(st.just("update"), LINKS)
    | st.tuples(st.just("remove"), INDEXES)
    | st.tuples(st.just("identity"), st.tuples(INDEXES, IDENTITY))
    | st.tuples(st.just("replace"), st.lists(LINKS, max_size=6)),
    max_size=12,
)
CONFIGS = st.sampled_from(
    [
        PortsConfig(),
        PortsConfig(uplinks=("up0", "tap1"), any_kind=True),
        PortsConfig(trusted=(TrustRule(vm="i-1", checks=("bpdu",)),), include=("*",)),
    ]
)


@settings(max_examples=100, deadline=None)
@given(CONFIGS, STEPS)
def test_changes_add_up_to_what_a_fresh_look_finds(
    ports: PortsConfig, steps: list[tuple[str, object]]
) -> None:
    made = Inventory(ports)
    mirror: dict[int, Device] = {}
    for step in steps:
        match step:
            case ("update", LinkFacts() as link):
                changes = made.update_link(link)
            case ("remove", int(ifindex)):
                changes = made.remove_link(ifindex)
            case ("identity", (int(ifindex), VmIdentity() as vm)):
                changes = made.set_identity(ifindex, vm)
            case ("replace", list(links)):
                changes = made.replace_links(links)
            case _:
                raise AssertionError(step)
        for change in changes:
            match change:
                case Appeared(new):
                    assert new.ifindex not in mirror
                    mirror[new.ifindex] = new
                case Gone(old):
                    assert mirror.pop(old.ifindex) == old
                case Renamed(new, old_name):
                    assert mirror[new.ifindex].name == old_name != new.name
                    mirror[new.ifindex] = new
                case Changed(new, old):
                    assert old != new
                    assert old.name == new.name == mirror[new.ifindex].name
                    mirror[new.ifindex] = new
        assert mirror == made.devices()

    fresh = Inventory(ports)
    fresh.replace_links(made.links().values())
    for ifindex, found in made.devices().items():
        if found.role == "port":
            fresh.set_identity(ifindex, found.vm)
    assert fresh.devices() == made.devices()


def test_a_thousand_taps_one_by_one_are_cheap() -> None:
    made = inventory(BRIDGE, NIC)
    before_s = time.process_time()
    for ifindex in range(1000, 2000):
        made.update_link(tap(ifindex, master=None))
        made.update_link(tap(ifindex))
    assert len(made.devices()) == 1001
    # Generous by a factor of twenty: looking at all taps each time takes longer by far.
    assert time.process_time() - before_s < 2.0
