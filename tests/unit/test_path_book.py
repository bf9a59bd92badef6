# SPDX-License-Identifier: Apache-2.0
"""Paths of hosts as operators build them: tags, MTUs, what is narrowest, and what is odd."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sentinel.config import PortsConfig
from sentinel.inventory import Inventory
from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsFacts
from sentinel.path.step import Path
from sentinel.tag import TPID_8021AD, TPID_8021Q, Tag

BRIDGE = LinkFacts(10, "br100", "bridge", stp=False)
ETH0 = LinkFacts(2, "eth0", master=5)
ETH1 = LinkFacts(3, "eth1", master=5)
BOND = LinkFacts(5, "bond0", "bond", bond_mode="active-backup", bond_active=2)
VLAN20 = LinkFacts(6, "vlan20", "vlan", lower=5, tag=Tag(TPID_8021Q, 20))
VLAN100 = LinkFacts(7, "vlan100", "vlan", lower=6, master=10, tag=Tag(TPID_8021Q, 100))
TAP = LinkFacts(20, "tap7", "tun", "tap", master=10, mtu_bytes=9000)
STORY = (BRIDGE, ETH0, ETH1, BOND, VLAN20, VLAN100, TAP)


def inventory(
    *links: LinkFacts,
    ovs: OvsFacts = NO_OVS,
    service_vids: frozenset[int] = frozenset(),
    ports: PortsConfig | None = None,
) -> Inventory:
    made = Inventory(ports or PortsConfig(), service_vids=service_vids)
    made.set_ovs(ovs)
    made.replace_links(links)
    return made


def path(*links: LinkFacts, name: str = "tap7", **facts: object) -> Path:
    made = inventory(*links, **facts)  # type: ignore[arg-type]
    device = made.by_name(name)
    assert device is not None
    found = made.path_of(device.ifindex)
    assert found is not None
    assert found.mtu_bytes == device.path_mtu_bytes
    return found


def drawn(found: Path | None) -> list[str]:
    """A line for each step: depth, name, tags, what it carries of its MTU."""
    assert found is not None
    return [
        f"{'  ' * depth}{step.name} {step.carries_bytes}/{step.mtu_bytes}"
        + "".join(f" {tag}" for tag in step.tags)
        + (f" ({step.note})" if step.note else "")
        for depth, step in found.port.walk()
    ]


def test_vlan_on_vlan_is_narrowest_where_both_tags_are_on_the_frame() -> None:
    found = path(*STORY)
    assert drawn(found) == [
        "tap7 1500/9000",
        "  br100 1500/1500",
        "    vlan100 1500/1500 100",
        "      vlan20 1500/1500 20 100",
        "        bond0 1496/1500 20 100",
        "          eth0 1496/1500 20 100 (active)",
        "          eth1 1496/1500 20 100 (backup)",
    ]
    assert (found.mtu_bytes, found.carries_bytes, found.narrowest.name) == (1500, 1496, "bond0")
    assert [step.kind for _, step in found.port.walk()] == [
        *("tap", "bridge", "vlan", "vlan", "bond", "nic", "nic"),
    ]


def test_either_repair_lets_all_of_it_pass() -> None:
    attached = path(*STORY[:5], replace(VLAN100, lower=5), TAP)
    assert (attached.carries_bytes, attached.narrowest.name) == (1500, "vlan100")
    jumbo = [replace(link, mtu_bytes=1504) for link in (ETH0, ETH1, BOND)]
    raised = path(BRIDGE, *jumbo, VLAN20, VLAN100, TAP)
    assert (raised.mtu_bytes, raised.carries_bytes) == (1500, 1500)


@pytest.mark.parametrize(
    ("outer", "inner", "service_vids", "carries_bytes"),
    [
        (Tag(TPID_8021AD, 20), Tag(TPID_8021Q, 100), frozenset(), 1500),
        (Tag(TPID_8021Q, 20), Tag(TPID_8021Q, 100), frozenset({20}), 1500),
        (Tag(TPID_8021Q, 20), Tag(TPID_8021Q, 100), frozenset({100}), 1496),
        (Tag(TPID_8021AD, 20), Tag(TPID_8021AD, 100), frozenset(), 1500),
        (Tag(0x9100, 20), Tag(TPID_8021Q, 100), frozenset(), 1496),
    ],
)
def test_service_tags_are_free(
    outer: Tag, inner: Tag, service_vids: frozenset[int], carries_bytes: int
) -> None:
    links = (*STORY[:4], replace(VLAN20, tag=outer), replace(VLAN100, tag=inner), TAP)
    found = path(*links, service_vids=service_vids)
    assert found.carries_bytes == carries_bytes
    assert found.mtu_bytes == 1500


def test_three_tags_cost_eight_bytes() -> None:
    third = LinkFacts(8, "vlan7", "vlan", lower=7, master=10, tag=Tag(TPID_8021Q, 7))
    found = path(*STORY[:5], replace(VLAN100, master=None), third, TAP)
    assert found.carries_bytes == 1492
    assert [str(tag) for tag in found.narrowest.tags] == ["20", "100", "7"]


def test_a_slave_smaller_than_its_bond_counts() -> None:
    made = inventory(*STORY)
    changes = made.update_link(replace(ETH1, mtu_bytes=1400))
    assert {one.device.name for one in changes} == {"bond0", "tap7"}
    assert {one.device.path_mtu_bytes for one in changes} == {1400}
    found = made.path_of(20)
    assert found is not None
    assert (found.mtu_bytes, found.carries_bytes, found.narrowest.name) == (1400, 1396, "eth1")


def test_a_vlan_on_a_slave_is_followed_through_the_bond_once() -> None:
    found = path(BRIDGE, ETH0, ETH1, BOND, replace(VLAN20, lower=2, master=10), TAP)
    assert [step.name for _, step in found.port.walk()] == [
        *("tap7", "br100", "vlan20", "eth0", "bond0", "eth1"),
    ]


def test_what_is_below_an_uplink() -> None:
    made = inventory(*STORY)
    assert drawn(made.path_of(5)) == [
        "bond0 1500/1500",
        "  eth0 1500/1500 (active)",
        "  eth1 1500/1500 (backup)",
    ]
    assert made.path_of(2) is None
    assert made.path_of(99) is None


def test_ports_share_what_is_below_their_switch() -> None:
    made = inventory(*STORY, replace(TAP, ifindex=21, name="tap8"))
    first, second = made.paths()[20], made.paths()[21]
    assert first.port.below[0] is second.port.below[0]
    assert first.port.name != second.port.name


def test_a_change_elsewhere_leaves_a_chain_as_it_is() -> None:
    made = inventory(*STORY, LinkFacts(11, "br2", "bridge"), LinkFacts(4, "eth2", master=11))
    before = made.paths()[20].port.below[0].below[0]
    made.update_link(LinkFacts(4, "eth2", master=11, mtu_bytes=1400))
    assert made.paths()[20].port.below[0].below[0] is before
    made.update_link(replace(ETH0, up=False))
    assert made.paths()[20].port.below[0].below[0] is not before


def test_two_ways_out_are_both_there_and_the_smaller_counts() -> None:
    second = LinkFacts(4, "eth2", master=10, mtu_bytes=1400)
    found = path(*STORY, second)
    assert [step.name for step in found.port.below[0].below] == ["eth2", "vlan100"]
    assert (found.mtu_bytes, found.narrowest.name) == (1400, "eth2")
    assert found.port.carries_bytes == 1500


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (replace(ETH0, up=False), "down, active"),
        (replace(ETH1, carrier=False), "no carrier, backup"),
        (replace(BOND, up=False, carrier=False), "down"),
    ],
)
def test_what_is_down_is_said_and_still_counts(change: LinkFacts, note: str) -> None:
    made = inventory(*STORY)
    made.update_link(replace(change, mtu_bytes=1400))
    found = made.path_of(20)
    assert found is not None
    (step,) = (one for _, one in found.port.walk() if one.name == change.name)
    assert step.note == note
    assert found.mtu_bytes == 1400


def test_a_port_on_no_switch_and_one_without_a_way_out() -> None:
    lone = path(replace(TAP, master=None))
    assert drawn(lone) == ["tap7 9000/9000 (on no switch)"]
    assert (lone.mtu_bytes, lone.narrowest) == (9000, lone.port)
    inside = path(BRIDGE, TAP)
    assert drawn(inside) == ["tap7 1500/9000", "  br100 1500/1500 (no way out)"]
    assert (inside.mtu_bytes, inside.carries_bytes, inside.narrowest) == (1500, 1500, inside.port)


def test_a_switch_s_own_mtu_bounds_nothing_that_it_switches() -> None:
    found = path(replace(BRIDGE, mtu_bytes=1400), LinkFacts(2, "eth0", master=10), TAP)
    assert (found.mtu_bytes, found.carries_bytes, found.narrowest.name) == (1500, 1500, "eth0")
    assert found.port.below[0].carries_bytes == 1500


def test_below_leaves_this_namespace() -> None:
    away = LinkFacts(8, "mv0", "macvlan", master=10, lower_elsewhere=True, mtu_bytes=1480)
    assert drawn(path(BRIDGE, away, TAP))[-1] == "    mv0 1480/1480 (leaves this namespace)"
    veth = LinkFacts(8, "up0", "veth", master=10, lower_elsewhere=True)
    assert drawn(path(BRIDGE, veth, TAP))[-1] == "    up0 1500/1500 (leaves this namespace)"


# --- tunnels


def vxlan(**facts: object) -> LinkFacts:
    made = LinkFacts(8, "vxlan7", "vxlan", master=10, mtu_bytes=1450, tunnel_overhead_bytes=50)
    return replace(made, **facts)  # type: ignore[arg-type]


def test_a_tunnel_s_packets_take_what_is_below() -> None:
    found = path(BRIDGE, ETH0, ETH1, BOND, vxlan(tunnel_lower=5), TAP)
    assert drawn(found) == [
        "tap7 1450/9000",
        "  br100 1450/1500",
        "    vxlan7 1450/1450",
        "      bond0 1450/1500",
        "        eth0 1450/1500 (active)",
        "        eth1 1450/1500 (backup)",
    ]
    assert found.narrowest.name == "vxlan7"


def test_an_underlay_that_is_too_small() -> None:
    below = [replace(link, mtu_bytes=1440) for link in (ETH0, ETH1, BOND)]
    found = path(BRIDGE, *below, VLAN20, vxlan(tunnel_lower=6), TAP)
    # Judged by what the tunnel's own device says; what really passes is another matter.
    assert (found.mtu_bytes, found.carries_bytes, found.narrowest.name) == (1450, 1390, "bond0")
    assert found.narrowest.tags == (VLAN20.tag,)


def test_a_tag_inside_a_tunnel_is_not_free_outside() -> None:
    tagged = LinkFacts(9, "vx.5", "vlan", lower=8, master=10, tag=Tag(TPID_8021Q, 5))
    found = path(BRIDGE, ETH0, BOND, vxlan(tunnel_lower=5, master=None), tagged, TAP, name="tap7")
    # No rule makes a vlan on a tunnel a way out; the bridge's MTU is all there is.
    assert found.mtu_bytes == 1500
    inner = LinkFacts(9, "br9", "bridge")
    links = (
        *(BRIDGE, inner, ETH0, BOND, vxlan(tunnel_lower=5, master=9), TAP),
        LinkFacts(30, "br9.5", "vlan", lower=9, master=10, tag=Tag(TPID_8021Q, 5)),
    )
    assert drawn(path(*links))[-4:] == [
        "      br9 1450/1500 5",
        "        vxlan7 1450/1450 5",
        "          bond0 1446/1500",
        "            eth0 1446/1500 (active)",
    ]


def test_tunnels_that_cannot_be_followed() -> None:
    assert drawn(path(BRIDGE, vxlan(), TAP))[-1] == (
        "    vxlan7 1450/1450 (leaves by the host's routes)"
    )
    ring = path(BRIDGE, vxlan(tunnel_lower=10), TAP)
    assert drawn(ring)[-2:] == [
        "      br100 1400/1500",
        "        vxlan7 1400/1450 (a tunnel in a tunnel)",
    ]
    itself = path(BRIDGE, vxlan(tunnel_lower=8), TAP)
    assert drawn(itself)[-1] == "      vxlan7 1400/1450 (a tunnel in a tunnel)"


def test_encryption_takes_its_bytes_below_itself() -> None:
    macsec = LinkFacts(
        *(8, "macsec0", "macsec"), master=10, lower=2, mtu_bytes=1500, tunnel_overhead_bytes=32
    )
    found = path(BRIDGE, LinkFacts(2, "eth0"), macsec, TAP)
    assert (found.mtu_bytes, found.carries_bytes, found.narrowest.name) == (1500, 1468, "eth0")
    found = path(BRIDGE, LinkFacts(2, "eth0", mtu_bytes=1400), macsec, TAP)
    assert (found.mtu_bytes, found.carries_bytes) == (1400, 1368)
