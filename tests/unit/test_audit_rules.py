# SPDX-License-Identifier: Apache-2.0
"""BPDUs, losses, ports that nobody sees, and what holds for all rules together."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.audit.finding import AuditFinding, Severity, UnseenPort
from sentinel.audit.rules import run_audit
from sentinel.ovs import OvsBridge, OvsFacts, OvsInterface, OvsPort
from sentinel.vm import VmIdentity
from tests.harness.audit_host import SECOND, AuditHost, bridged, q, story


def only(found: dict[str, AuditFinding], name: str) -> AuditFinding:
    assert list(found) == [name], list(found)
    return found[name]


def on_ovs(**bridge: Any) -> AuditHost:
    host = AuditHost()
    host.add("ovs-system", "openvswitch")
    host.add("eth0", master="ovs-system")
    host.tap("tap0", "ovs-system")
    host.ovs = OvsFacts(
        bridges={"br-ex": OvsBridge("br-ex", **bridge), "br-in": OvsBridge("br-in", **bridge)},
        ports={"eth0": OvsPort("eth0", "br-ex", ("eth0",)),
               "tap0": OvsPort("tap0", "br-in", ("tap0",))},
        interfaces={name: OvsInterface(name) for name in ("eth0", "tap0")},
    )  # fmt: skip
    return host


class TestHostStp:
    def test_a_bridge_that_speaks_it_to_the_wire(self) -> None:
        host = bridged()
        host.change("br0", stp=True)
        found = only(host.audit(), "host-stp/br0")
        assert found.what == (
            "br0 speaks spanning tree (STP) and eth0 is its way to the wire: a switch with BPDU "
            "guard shuts the port of eth0 for one BPDU."
        )
        assert found.repair == "Turn spanning tree off on br0."
        assert "ip link set dev br0 type bridge stp_state 0" in found.commands
        assert (found.severity, found.opens_incident) == (Severity.WARNING, True)
        found = only(host.audit(host_bpdus={host.index("eth0"): 12}), "host-stp/br0")
        assert found.frames == 12
        assert found.what.endswith("The host sent 12 BPDUs there so far.")

    def test_by_way_of_a_vlan_it_is_the_same(self) -> None:
        host = story()
        host.change("vlan100", lower="bond0")
        host.change("br100", stp=True)
        assert "bond0 is its way" in only(host.audit(), "host-stp/br100").what

    @pytest.mark.parametrize("stp", [False, None])
    def test_silent_bridges_are_right(self, stp: bool | None) -> None:
        host = bridged()
        host.change("br0", stp=stp)
        assert host.audit(host_bpdus={host.index("eth0"): 12}) == {}

    def test_a_bridge_without_a_way_out_may(self) -> None:
        host = AuditHost()
        host.add("virbr0", "bridge", stp=True)
        host.tap("tap0", "virbr0")
        assert host.audit() == {}

    @pytest.mark.parametrize(
        ("told", "off"), [("speaks_stp", "stp_enable"), ("speaks_rstp", "rstp_enable")]
    )
    def test_open_vswitch(self, told: str, off: str) -> None:
        found = only(on_ovs(**{told: True}).audit(), "host-stp/br-ex")
        assert f"ovs-vsctl set Bridge br-ex {off}=false" in found.commands


class TestForwards:
    def test_the_bit_of_provider_bridges(self) -> None:
        host = bridged()
        host.change("br0", group_fwd_mask=0x4100)
        found = only(host.audit(), "forwards-bpdu/br0")
        assert found.what == (
            "br0 forwards BPDUs to 01-80-C2-00-00-08 (group_fwd_mask 0x4100): a guest's BPDU "
            "leaves by eth0, and a switch with BPDU guard shuts the port for it."
        )
        assert found.commands == ("ip link set dev br0 type bridge group_fwd_mask 0x4000",)

    def test_bits_of_other_protocols_are_right(self) -> None:
        host = bridged()
        host.change("br0", group_fwd_mask=0x400C)
        host.change("eth0", port_group_fwd_mask=0x4004)
        assert host.audit() == {}

    def test_members_are_one_finding(self) -> None:
        host = bridged(taps=20)
        for at in range(20):
            host.change(f"tap{at}", port_group_fwd_mask=0x108)
        found = only(host.audit(), "forwards-bpdu/br0")
        assert found.commands[0] == ("ip link set dev tap0 type bridge_slave group_fwd_mask 0x8")
        assert found.commands[-1] == "# and so on for 12 more"
        assert "group_fwd_mask of tap0, tap1, tap10 and 17 more" in found.what

    def test_without_a_way_out_it_is_good_to_know(self) -> None:
        host = AuditHost()
        host.add("br0", "bridge", group_fwd_mask=0xFFFF)
        found = only(host.audit(), "forwards-bpdu/br0")
        assert (found.severity, found.opens_incident) == (Severity.NOTICE, False)
        assert "to 01-80-C2-00-00-00 and 01-80-C2-00-00-08" in found.what

    def test_open_vswitch(self) -> None:
        found = on_ovs(forwards_bpdu=True).audit()
        assert sorted(found) == ["forwards-bpdu/br-ex", "forwards-bpdu/br-in"]
        assert found["forwards-bpdu/br-ex"].opens_incident
        assert found["forwards-bpdu/br-ex"].commands == (
            "ovs-vsctl remove Bridge br-ex other_config forward-bpdu",
        )


class TestLosses:
    def test_a_queue_that_nobody_empties(self) -> None:
        host = bridged()
        host.vms["tap0"] = VmIdentity(uuid=None, name="web-1", source="libvirt")
        host.lost("tap0", "FULL_RING", "tun_net_xmit", 5000, source="eth0")
        found = only(host.audit(), "losses/tap0")
        assert found.what == (
            "Since 14:02, 5,000 frames were lost at tap0: the guest behind tap0 does not empty "
            "its receive queue. They came in by eth0."
        )
        assert (found.severity, found.frames, found.vm.name) == (Severity.WARNING, 5000, "web-1")

    def test_one_that_floods_its_neighbours_is_one_finding(self) -> None:
        host = bridged(taps=40)
        for number in range(1, 40):
            host.lost(f"tap{number}", "FULL_RING", "tun_net_xmit", 100, source="tap0")
        found = only(host.audit(), "losses/tap0")
        assert found.frames == 3900
        assert "3,900 frames were lost that tap0 sent to tap1, tap10, tap11 and 36 more" in (
            found.what
        )

    def test_one_that_takes_nothing_from_anybody_is_one_finding(self) -> None:
        host = bridged(taps=40)
        for number in range(1, 40):
            host.lost("tap0", "FULL_RING", "tun_net_xmit", 100, source=f"tap{number}")
        found = only(host.audit(), "losses/tap0")
        assert "3,900 frames were lost at tap0" in found.what

    def test_each_row_is_told_once(self) -> None:
        host = bridged(taps=6)
        for number in range(1, 6):
            host.lost(f"tap{number}", "FULL_RING", "tun_net_xmit", 100, source="tap0")
        for number in range(2, 6):
            host.lost("tap1", "FULL_RING", "tun_net_xmit", 50, source=f"tap{number}")
        found = host.audit()
        assert sorted(found) == ["losses/tap0", "losses/tap1"]
        assert sum(one.frames for one in found.values()) == 700

    def test_what_others_lose_in_a_queue_that_one_filled_is_that_one_s(self) -> None:
        host = bridged(taps=3)
        for sender, frames in (("tap0", 50_000), ("tap2", 240)):
            host.lost("tap1", "FULL_RING", "tun_net_xmit", frames, source=sender)
        for sender, frames in (("tap0", 50_000), ("tap1", 240)):
            host.lost("tap2", "FULL_RING", "tun_net_xmit", frames, source=sender)
        assert only(host.audit(), "losses/tap0").frames == 100_000

    def test_what_no_table_knows_is_told_as_the_kernel_names_it(self) -> None:
        host = bridged()
        host.lost("eth0", "reason 4711", "frobnicate_skb", 40, source="tap0")
        found = only(host.audit(), "losses/eth0")
        assert "the kernel gave them up: reason 4711 in frobnicate_skb." in found.what

    def test_larger_than_the_member_and_no_guest_known_to_send_it(self) -> None:
        host = bridged()
        host.lost("eth0", symbol="br_dev_queue_push_xmit", source="tap0", largest=1518)
        found = only(host.audit(), "losses/eth0")
        assert "the kernel gave them up: NOT_SPECIFIED in br_dev_queue_push_xmit." in found.what
        host.losses.clear()
        host.lost("eth0", symbol="br_dev_queue_push_xmit.part.0", source="tap0", largest=1519)
        found = only(host.audit(), "losses/eth0")
        assert "bridge br0 does not forward to eth0 what is larger than its MTU of 1500" in (
            found.what
        )

    @pytest.mark.parametrize(
        ("symbol", "fits"), [("br_nf_dev_queue_xmit", 1500), ("ovs_vport_send", 1514)]
    )
    def test_every_way_to_drop_what_is_too_large(self, symbol: str, fits: int) -> None:
        for more in (0, 1):
            host = bridged()
            host.lost("eth0", symbol=symbol, source="tap0", largest=fits + more)
            (found,) = host.audit().values()
            assert ("does not forward" in found.what) is bool(more)

    @pytest.mark.parametrize(
        ("reason", "symbol"),
        [
            ("TC_INGRESS", "sch_handle_ingress"),
            ("TC_EGRESS", "sch_handle_egress"),
            ("NOT_SPECIFIED", "sch_handle_ingress.constprop.0"),
            ("NO_SOCKET", "udp_rcv"),
            ("OTHERHOST", "ip_rcv"),
        ],
    )
    def test_our_own_cuts_and_what_nobody_wants_are_no_finding(
        self, reason: str, symbol: str
    ) -> None:
        host = bridged()
        host.lost("tap0", reason, symbol, 100_000, source="tap0")
        assert host.audit() == {}

    def test_a_handful_is_no_finding(self) -> None:
        host = bridged()
        host.lost("tap0", "FULL_RING", frames=5)
        host.lost("tap0", "NOT_SPECIFIED", "nobody_knows", frames=4)
        assert host.audit() == {}
        host.lost("tap0", "NOT_SPECIFIED", "nobody_cares", frames=1)
        found = only(host.audit(), "losses/tap0")
        assert "(5 of them)" in found.what
        assert len(found.evidence) == 3

    def test_it_is_over_after_a_minute(self) -> None:
        host = bridged()
        host.lost("tap0", "FULL_RING", frames=5000, ago_ns=61 * SECOND)
        assert host.audit() == {}

    @pytest.mark.parametrize("down", [{"up": False}, {"carrier": False}])
    def test_floods_to_a_member_that_is_down_are_no_finding(self, down: dict[str, bool]) -> None:
        host = bridged()
        host.lost("tap0", "DEV_READY", "tun_net_xmit", 5000, source="eth0")
        assert len(host.audit()) == 1
        host.change("tap0", **down)
        assert host.audit() == {}


class TestUnseen:
    def test_each_is_good_to_know(self) -> None:
        vm = VmIdentity(uuid=None, name="dpdk-1", source="ovs")
        unseen = [UnseenPort("vhu-1", "vhost-user", vm, "br-dpdk"), UnseenPort("vf 3", "vf")]
        found = AuditHost().audit(unseen=unseen)
        assert sorted(found) == ["unseen-port/vf 3", "unseen-port/vhu-1"]
        assert found["unseen-port/vhu-1"].what == (
            "vhu-1 on br-dpdk of VM dpdk-1 is a vhost-user port: its frames go through shared "
            "memory, past the kernel."
        )
        for one in found.values():
            assert (one.severity, one.opens_incident) == (Severity.NOTICE, False)

    def test_the_same_number_on_two_nics_is_two(self) -> None:
        unseen = [UnseenPort("vf 0", "vf", parent=nic) for nic in ("eth0", "eth1")]
        assert sorted(AuditHost().audit(unseen=unseen)) == [
            "unseen-port/eth0:vf 0",
            "unseen-port/eth1:vf 0",
        ]

    def test_a_nic_with_functions_of_nobody_known_is_one(self) -> None:
        nics = [UnseenPort(nic, "vf", parent=nic) for nic in ("eth0", "eth1")]
        found = AuditHost().audit(unseen=nics)
        assert sorted(found) == ["unseen-port/eth0", "unseen-port/eth1"]
        assert found["unseen-port/eth0"].what.startswith("eth0 has virtual functions of which")

    def test_an_unknown_kind_is_told_too(self) -> None:
        (found,) = AuditHost().audit(unseen=[UnseenPort("x", "new")]).values()
        assert "no program here sees its frames" in found.what


def test_a_host_in_order_has_no_finding() -> None:
    host = bridged(taps=5)
    host.vlan("vlan5", "eth0", q(5))
    host.seen("tap0", frames=10_000)
    host.seen("eth0", q(5), frames=10_000)
    assert host.audit() == {}


def test_the_order_is_the_gravest_first_and_the_same_each_time() -> None:
    host = story()
    host.change("br100", stp=True)
    host.seen("bond0", q(20), q(100), oversized=5)
    host.lost("tap0", "FULL_RING")
    more = {"unseen": [UnseenPort("x", "vf")]}
    found = run_audit(host.facts(**more))
    assert [one.id for one in found] == [
        "vlan-on-vlan/vlan100",
        "host-stp/br100",
        "losses/tap0",
        "unseen-port/x",
    ]
    host.links = dict(reversed(host.links.items()))
    host.pairs.reverse()
    assert run_audit(host.facts(**more)) == found
