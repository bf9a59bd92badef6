# SPDX-License-Identifier: Apache-2.0
"""MTUs that do not fit one another: devices above and below, and members of a bridge."""

from __future__ import annotations

import pytest

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.ovs import OvsBridge, OvsFacts, OvsInterface, OvsPort
from tests.harness.audit_host import MINUTE, AuditHost, ad, bonded, bridged, q


def bond_with_vlan() -> AuditHost:
    host = bonded()
    host.add("br100", "bridge")
    host.vlan("vlan100", "bond0", q(100), master="br100")
    host.tap("tap0", "br100")
    return host


def only(host: AuditHost, name: str) -> AuditFinding:
    found = host.audit()
    assert list(found) == [name], list(found)
    return found[name]


class TestLower:
    def test_a_slave_smaller_than_its_bond(self) -> None:
        host = bond_with_vlan()
        host.change("bond0", mtu_bytes=9000)
        host.change("eth1", mtu_bytes=9000)
        found = host.audit()["lower-mtu/eth0"]
        assert found.what == (
            "eth0 carries 1,500 bytes, but bond0, whose slave it is, sends up to 9,000. "
            "What is larger is lost there."
        )
        assert found.repair == "Raise the MTU of eth0 to 9,000, or lower that of bond0."
        assert found.commands == (
            "ip link set dev eth0 mtu 9000",
            "# or",
            "# ip link set dev bond0 mtu 1500",
        )
        assert (found.severity, found.opens_incident) == (Severity.WARNING, True)
        host.change("eth0", mtu_bytes=9000)
        assert host.audit() == {}

    def test_frames_that_show_it_make_it_critical_and_are_its_own(self) -> None:
        host = bond_with_vlan()
        for name in ("bond0", "eth1", "vlan100", "br100", "tap0"):
            host.change(name, mtu_bytes=9000)
        host.seen("bond0", q(100), oversized=12, by=(100, 7500))
        found = only(host, "lower-mtu/eth0")
        assert found.severity is Severity.CRITICAL
        assert found.what.endswith("Since 14:02, 12 frames were oversized by up to 7,500 bytes.")
        assert found.frames == 12
        host.pairs.clear()
        host.seen("bond0", q(100), oversized=12, by=7500, ago_ns=2 * MINUTE)
        assert only(host, "lower-mtu/eth0").severity is Severity.WARNING

    def test_frames_larger_than_it_accounts_for_are_another_s(self) -> None:
        host = bond_with_vlan()
        for name in ("bond0", "eth1", "vlan100", "br100", "tap0"):
            host.change(name, mtu_bytes=9000)
        host.seen("bond0", q(100), oversized=12, by=8000)
        found = host.audit()
        assert sorted(found) == ["lower-mtu/eth0", "uplink-oversized/bond0"]
        assert found["lower-mtu/eth0"].severity is Severity.WARNING

    def test_many_devices_above_one_are_one_finding(self) -> None:
        host = AuditHost()
        host.add("eth0")
        for vid in range(2, 202):
            host.vlan(f"vlan{vid}", "eth0", q(vid), mtu_bytes=9000)
        found = only(host, "lower-mtu/eth0")
        assert "but vlan10, vlan100, vlan101 and 197 more on it send up to 9,000." in found.what
        assert found.commands[-1] == "# and so on for 192 more"

    def test_a_device_that_is_down_sends_nothing(self) -> None:
        host = AuditHost()
        host.add("eth0")
        host.vlan("vlan5", "eth0", q(5), mtu_bytes=9000, up=False)
        assert host.audit() == {}

    def test_one_tag_is_free_and_so_is_a_service_tag(self) -> None:
        host = bond_with_vlan()
        host.vlan("s20", "bond0", ad(20))
        host.vlan("c30", "s20", q(30))
        assert host.audit() == {}

    def test_a_tunnel_s_headers_need_room(self) -> None:
        host = bridged()
        host.vxlan("vxlan7", "eth0", master="br0", mtu_bytes=1500)
        found = host.audit()["lower-mtu/eth0"]
        assert "the packets of vxlan7 (MTU 1,500) have up to 1,550 with the tunnel's" in found.what
        assert found.commands == (
            "ip link set dev eth0 mtu 1550",
            "# or",
            "# ip link set dev vxlan7 mtu 1450",
        )
        host = bridged()
        host.vxlan("vxlan7", "eth0", mtu_bytes=1450)
        assert host.audit() == {}

    @pytest.mark.parametrize(("lower", "mtu_bytes"), [(None, 1500), ("eth0", 65_485)])
    def test_a_tunnel_of_no_device_or_of_a_datapath_says_nothing(
        self, lower: str | None, mtu_bytes: int
    ) -> None:
        host = bridged()
        host.vxlan("vxlan7", lower, mtu_bytes=mtu_bytes)
        assert host.audit() == {}

    def test_veth_peers_that_differ(self) -> None:
        host = AuditHost()
        host.add("veth0", "veth", lower=2)
        host.add("veth1", "veth", lower=1, mtu_bytes=1400)
        found = only(host, "lower-mtu/veth1")
        assert "veth1 carries 1,400 bytes, but its peer veth0 sends up to 1,500." in found.what
        # No guest's way and no uplink.
        assert (found.severity, found.opens_incident) == (Severity.NOTICE, False)
        host.change("veth1", mtu_bytes=1500)
        assert host.audit() == {}

    def test_a_peer_of_another_pair_is_none(self) -> None:
        host = AuditHost()
        host.add("veth0", "veth", lower=2)
        host.add("veth1", "veth", lower=3, mtu_bytes=1400)
        assert host.audit() == {}


class TestBridge:
    def test_a_way_out_smaller_than_the_guests(self) -> None:
        host = bridged(taps=3)
        host.change("eth0", mtu_bytes=1400)
        found = only(host, "bridge-mtu/br0")
        assert found.what == (
            "Members of br0 have different MTUs: eth0 1,400, tap0, tap1 and tap2 1,500. "
            "br0 drops what is larger than 1,400 bytes on its way to eth0."
        )
        assert found.commands == (
            "ip link set dev eth0 mtu 1500",
            "# or 1400 for all others, and for the guests behind them",
        )
        assert (found.severity, found.opens_incident) == (Severity.WARNING, True)
        assert found.ifindex == host.index("br0")

    def test_guests_that_differ(self) -> None:
        host = bridged(taps=3)
        host.change("tap1", mtu_bytes=1400)
        assert only(host, "bridge-mtu/br0").severity is Severity.WARNING

    def test_guests_of_one_size_on_a_network_of_larger_frames_are_good_to_know(self) -> None:
        host = bridged(taps=3)
        host.change("eth0", mtu_bytes=9000)
        found = only(host, "bridge-mtu/br0")
        assert (found.severity, found.opens_incident) == (Severity.NOTICE, False)

    def test_equal_members_are_right_whatever_the_bridge_says(self) -> None:
        host = bridged(taps=3)
        host.change("br0", mtu_bytes=1300)
        assert host.audit() == {}

    def test_a_member_that_is_down_gets_no_frames(self) -> None:
        host = bridged(taps=2)
        host.change("tap1", mtu_bytes=9000, up=False)
        assert host.audit() == {}

    def test_a_bridge_without_guests_is_good_to_know(self) -> None:
        host = AuditHost()
        host.add("docker0", "bridge")
        host.add("veth1", "veth", master="docker0", lower_elsewhere=True)
        host.add("veth2", "veth", master="docker0", lower_elsewhere=True, mtu_bytes=1400)
        found = only(host, "bridge-mtu/docker0")
        assert (found.severity, found.opens_incident) == (Severity.NOTICE, False)

    def test_bridges_of_open_vswitch_are_told_apart(self) -> None:
        host = AuditHost()
        host.add("ovs-system", "openvswitch")
        host.add("br-ex", "openvswitch", mtu_bytes=1500)
        host.add("eth0", master="ovs-system", mtu_bytes=1500)
        host.tap("tap0", "ovs-system", mtu_bytes=1500)
        host.tap("tap1", "ovs-system", mtu_bytes=1400)
        host.tap("tap2", "ovs-system", mtu_bytes=1400)
        names = {"br-ex": ("eth0", "tap0", "br-ex"), "br-in": ("tap1", "tap2")}
        host.ovs = OvsFacts(
            bridges={name: OvsBridge(name) for name in names},
            ports={one: OvsPort(one, name, (one,)) for name, on in names.items() for one in on},
            interfaces={
                one: OvsInterface(one, "internal" if one == "br-ex" else "")
                for on in names.values()
                for one in on
            },
        )
        assert host.audit() == {}
        host.change("eth0", mtu_bytes=1300)
        found = only(host, "bridge-mtu/br-ex")
        assert "eth0 1,300, tap0 1,500" in found.what
        assert found.ifindex == host.index("br-ex")
