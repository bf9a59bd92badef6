# SPDX-License-Identifier: Apache-2.0
"""VLAN on VLAN: the four bytes are named, and what is meant to be so raises nothing."""

from __future__ import annotations

import pytest

from sentinel.audit.finding import Severity
from tests.harness.audit_host import MINUTE, NOW, SECOND, WALL, AuditHost, ad, bonded, q, story


def test_the_story_is_told_in_its_words() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=18_233, frames=40_000)
    (found,) = host.audit().values()
    assert f"{found.what} {found.repair}" == (
        "vlan100 is stacked on vlan20 (vlan100@vlan20 → bond0): every tenant frame leaves bond0 "
        "with two tags, 1504 bytes where eth0 carries 1500. Since 14:02, 18,233 frames were "
        "oversized by exactly 4 bytes. Attach vlan100 to bond0."
    )
    assert (found.id, found.severity) == ("vlan-on-vlan/vlan100", Severity.CRITICAL)
    assert (found.device, found.ifindex, found.frames) == ("vlan100", host.index("vlan100"), 18_233)
    assert found.since_wall_ns == WALL + NOW - 28 * MINUTE
    assert found.last_wall_ns == WALL + NOW - SECOND
    assert found.opens_incident
    assert [line for line in found.commands if line[0] != "#"] == [
        "ip address show dev vlan100  # addresses and routes go with it: note them",
        "ip link delete dev vlan100",
        "ip link add link bond0 name vlan100 mtu 1500 type vlan id 100",
        "ip link set dev vlan100 master br100",
        "ip link set dev vlan100 up",
    ]
    assert [moment.text for moment in found.evidence] == [
        "the first frame with VLAN 100 inside VLAN 20",
        "the latest of 40,000 frames with VLAN 100 inside VLAN 20; 18,233 oversized by exactly "
        "4 bytes, the largest had 1,518 bytes",
        "2 ports have their way to the wire through it, of 2",
    ]


def test_attached_to_the_bond_nothing_is_wrong() -> None:
    host = story()
    host.change("vlan100", lower="bond0")
    host.seen("bond0", q(100), frames=40_000)
    assert host.audit() == {}


def test_configuration_alone_is_a_warning() -> None:
    (found,) = story().audit().values()
    assert found.severity is Severity.WARNING
    assert found.what.endswith("with two tags, 1504 bytes where eth0 carries 1500.")
    assert (found.frames, found.since_wall_ns, found.last_wall_ns) == (0, None, None)


def test_small_frames_alone_are_evidence_of_the_pair_and_no_loss() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), frames=1203)
    (found,) = host.audit().values()
    assert found.severity is Severity.WARNING
    assert found.what.endswith(" Since 14:02, 1,203 frames left so, none of them oversized so far.")


def test_other_sizes_are_not_exact() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=2, by=(2, 4))
    (found,) = host.audit().values()
    assert "2 frames were oversized by up to 4 bytes." in found.what
    host = story()
    host.seen("bond0", q(20), q(100), oversized=1)
    (found,) = host.audit().values()
    assert "1 frame was oversized by exactly 4 bytes." in found.what


def test_a_bond_and_its_slaves_count_a_frame_once() -> None:
    host = story(uplinks=["bond0", "eth0", "eth1"])
    host.seen("bond0", q(20), q(100), oversized=10)
    host.seen("eth0", q(20), q(100), oversized=6)
    host.seen("eth1", q(20), q(100), oversized=4)
    assert [one.frames for one in host.audit().values()] == [10]
    host = story(uplinks=["eth0", "eth1"])
    host.seen("eth0", q(20), q(100), oversized=6)
    host.seen("eth1", q(20), q(100), oversized=4)
    assert [one.frames for one in host.audit().values()] == [10]


def test_what_comes_from_the_wire_is_no_evidence() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=10, direction=0)
    (found,) = host.audit().values()
    assert found.frames == 0


def test_another_pair_is_not_its_evidence() -> None:
    host = story()
    host.seen("bond0", q(20), q(101), oversized=10)
    found = host.audit()
    assert found["vlan-on-vlan/vlan100"].frames == 0
    assert found["uplink-oversized/bond0"].frames == 10


def test_service_tags_raise_nothing_even_with_evidence() -> None:
    host = story(ad(20))
    host.seen("bond0", ad(20), q(100), oversized=10)
    assert host.audit() == {}
    host = story()
    host.seen("bond0", q(20), q(100), oversized=10)
    assert host.audit(service_vids=frozenset({20})) == {}
    assert len(host.audit(service_vids=frozenset({100}))) == 1


def test_more_than_the_service_tag_is_too_large_still() -> None:
    host = story(ad(20))
    host.seen("bond0", ad(20), q(100), oversized=10, by=(4, 44))
    (found,) = host.audit().values()
    assert (found.id, found.frames) == ("uplink-oversized/bond0", 9)


def test_a_stack_on_a_service_tag_pays_for_one() -> None:
    host = story(ad(20))
    host.vlan("vlan5", "vlan100", q(5))
    (found,) = host.audit().values()
    assert found.id == "vlan-on-vlan/vlan5"
    assert "(vlan5@vlan100@vlan20 → bond0)" in found.what
    assert "three tags, 1504 bytes" in found.what


def test_three_of_them_are_two_findings() -> None:
    host = story()
    host.vlan("vlan5", "vlan100", q(5))
    found = host.audit()
    assert sorted(found) == ["vlan-on-vlan/vlan100", "vlan-on-vlan/vlan5"]
    assert "three tags, 1508 bytes" in found["vlan-on-vlan/vlan5"].what


def test_by_way_of_a_bridge_it_is_a_stack_too() -> None:
    host = bonded()
    host.add("br20", "bridge")
    host.vlan("vlan20", "bond0", q(20), master="br20")
    host.add("br100", "bridge")
    host.add("mac0", "macvlan", lower="br20")
    host.vlan("vlan100", "mac0", q(100), master="br100")
    host.tap("tap0", "br100")
    host.seen("bond0", q(20), q(100), oversized=3)
    found = host.audit()["vlan-on-vlan/vlan100"]
    assert "(vlan100 → mac0 → br20 → vlan20 → bond0)" in found.what
    assert found.frames == 3


def test_on_a_nic_it_is_named_once() -> None:
    host = AuditHost()
    host.add("eth0")
    host.vlan("vlan20", "eth0", q(20))
    host.vlan("vlan100", "vlan20", q(100))
    (found,) = host.audit().values()
    assert "leaves eth0 with two tags, 1504 bytes where it carries 1500." in found.what


def test_the_narrowest_slave_is_named() -> None:
    host = story()
    host.change("bond0", mtu_bytes=9000)
    host.change("eth0", mtu_bytes=9000)
    assert "where eth1 carries 1500" in host.audit()["vlan-on-vlan/vlan100"].what


def test_where_there_is_room_for_both_the_tags_are_told_of_and_not_the_size() -> None:
    host = story()
    for name in ("eth0", "eth1", "bond0"):
        host.change(name, mtu_bytes=9000)
    host.seen("bond0", q(20), q(100), frames=50)
    (found,) = host.audit().values()
    assert found.severity is Severity.WARNING
    assert "There is room for them (1504 of 9000 bytes)" in found.what
    assert found.what.endswith("Since 14:02, 50 frames left so.")


@pytest.mark.parametrize(
    ("zone_seconds", "said"),
    [(0, "Since 14:02"), (7200, "Since 16:02"), (-3600 * 15, "Since 23:02")],
)
def test_times_are_local(zone_seconds: int, said: str) -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=9)
    (found,) = host.audit(zone_seconds=zone_seconds).values()
    assert f"{said}, " in found.what


def test_another_day_is_told_with_its_date() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=9, since_ns=15 * 60 * MINUTE)
    (found,) = host.audit().values()
    assert "Since 2025-10-08 23:30, 9 frames" in found.what


def test_old_evidence_stands_as_long_as_the_configuration_does() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=9, ago_ns=20 * MINUTE)
    (found,) = host.audit().values()
    assert found.severity is Severity.CRITICAL


def test_a_name_cannot_make_a_shell_do_anything() -> None:
    host = bonded()
    host.vlan("vlan20", "bond0", q(20))
    host.vlan("$(reboot);`x`", "vlan20", q(100))
    (found,) = host.audit().values()
    for line in found.commands:
        assert "$(reboot)" not in line.replace("'$(reboot);`x`'", "") or line.startswith("#")
        assert "\n" not in line


def test_a_tag_that_the_bond_has_already_is_pointed_at() -> None:
    host = story()
    host.vlan("v100", "bond0", q(100))
    found = host.audit()["vlan-on-vlan/vlan100"]
    assert "# v100 has VLAN 100 of bond0 already: delete that" in found.commands


def test_a_mac_of_its_own_and_a_service_tag_are_kept() -> None:
    host = bonded()
    host.vlan("vlan20", "bond0", q(20), mac="52:54:00:00:00:01")
    host.vlan("vlan100", "vlan20", ad(100), mac="52:54:00:00:00:02", mtu_bytes=1496)
    (found,) = host.audit().values()
    assert (
        "ip link add link bond0 name vlan100 mtu 1496 address 52:54:00:00:00:02 type vlan "
        "protocol 802.1ad id 100"
    ) in found.commands


def test_where_there_is_room_now_what_was_lost_before_is_not_counted() -> None:
    host = story()
    for name in ("eth0", "eth1", "bond0"):
        host.change(name, mtu_bytes=9000)
    host.seen("bond0", q(20), q(100), oversized=9, frames=50)
    (found,) = host.audit().values()
    assert (found.severity, found.frames) == (Severity.WARNING, 50)
    assert "oversized" not in found.what
    assert not any("oversized" in moment.text for moment in found.evidence)
