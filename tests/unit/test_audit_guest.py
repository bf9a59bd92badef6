# SPDX-License-Identifier: Apache-2.0
"""What guests send, and what leaves by the uplink that nobody else accounts for."""

from __future__ import annotations

from sentinel.audit.finding import Severity
from sentinel.config import TrustRule
from sentinel.vm import VmIdentity
from tests.harness.audit_host import MINUTE, NOW, SECOND, WALL, AuditHost, ad, bonded, bridged, q

VM = VmIdentity(uuid="0" * 8, name="web-1", source="libvirt")


def access() -> AuditHost:
    """Guests on VLAN 100, which they know nothing of."""
    host = bonded()
    host.add("br100", "bridge")
    host.vlan("vlan100", "bond0", q(100), master="br100")
    host.tap("tap0", "br100")
    host.tap("tap1", "br100")
    return host


class TestOversized:
    def test_it_is_told_with_the_loss_that_followed(self) -> None:
        host = bridged()
        host.vms["tap0"] = VM
        host.seen("tap0", oversized=321, by=(100, 7500))
        host.lost("eth0", symbol="br_dev_queue_push_xmit", frames=300, source="tap0", largest=9014)
        (found,) = host.audit().values()
        assert found.id == "guest-oversized/tap0"
        assert found.what == (
            "tap0 (VM web-1 (00000000)) sends packets of up to 9,000 bytes where its path carries "
            "1,500 (eth0). Since 14:02, 321 frames were oversized by up to 7,500 bytes. Bridge "
            "br0 does not forward to eth0 what is larger than its MTU of 1500: 300 frames dropped."
        )
        assert found.evidence[-1].text == (
            "bridge br0 does not forward to eth0 what is larger than its MTU of 1500: 300 frames "
            "dropped, in br_dev_queue_push_xmit"
        )
        assert (found.severity, found.opens_incident) == (Severity.CRITICAL, False)
        assert (found.vm, found.frames) == (VM, 321)
        assert found.since_wall_ns == WALL + NOW - 28 * MINUTE

    def test_frames_of_the_path_s_size_are_right(self) -> None:
        host = bridged()
        host.seen("tap0", q(5), frames=40_000)
        assert host.audit() == {}

    def test_losses_of_another_port_or_place_are_not_its_own(self) -> None:
        host = bridged(taps=2)
        host.seen("tap0", oversized=321, by=7500)
        host.lost("eth0", symbol="br_dev_queue_push_xmit", source="tap1", largest=9014)
        found = host.audit()
        assert sorted(found) == ["guest-oversized/tap0", "losses/eth0"]
        assert found["guest-oversized/tap0"].severity is Severity.WARNING

    def test_it_is_over_after_a_minute(self) -> None:
        host = bridged()
        host.seen("tap0", oversized=321, by=7500, ago_ns=61 * SECOND)
        assert host.audit() == {}

    def test_what_it_sends_is_not_told_again_at_the_uplink(self) -> None:
        host = access()
        host.seen("tap0", oversized=5, by=7500)
        host.seen("bond0", q(100), oversized=5, by=7500)
        assert list(host.audit()) == ["guest-oversized/tap0"]

    def test_a_trusted_port_may(self) -> None:
        host = bridged(trusted=[TrustRule(name="tap0", checks=("size",))])
        host.seen("tap0", oversized=5, by=7500)
        host.seen("eth0", oversized=5, by=7500)
        assert host.audit() == {}

    def test_what_is_sent_to_a_guest_is_not_its_doing(self) -> None:
        host = bridged()
        host.seen("tap0", oversized=5, by=7500, direction=1)
        assert host.audit() == {}


class TestNested:
    def test_tags_in_tags(self) -> None:
        host = bridged()
        host.seen("tap0", q(5), q(6), frames=70)
        (found,) = host.audit().values()
        assert found.id == "guest-nested/tap0"
        assert found.what == (
            "tap0 sends frames with a tag inside a tag (VLAN 6 inside VLAN 5). Since 14:02, 70 "
            "frames had both."
        )
        assert (found.severity, found.opens_incident) == (Severity.WARNING, False)

    def test_its_four_bytes_are_no_second_finding_anywhere(self) -> None:
        host = bridged()
        host.seen("tap0", q(5), q(6), oversized=70)
        host.seen("eth0", q(5), q(6), oversized=70)
        assert list(host.audit()) == ["guest-nested/tap0"]

    def test_a_trusted_port_may(self) -> None:
        host = bridged(trusted=[TrustRule(name="tap0", checks=("vlan",))])
        host.seen("tap0", q(5), q(6), oversized=70)
        host.seen("eth0", q(5), q(6), oversized=70)
        assert host.audit() == {}

    def test_trust_in_its_tags_is_none_in_its_sizes(self) -> None:
        host = bridged(trusted=[TrustRule(name="tap0", checks=("vlan",))])
        host.seen("tap0", q(5), q(6), oversized=70, by=(4, 7500))
        host.seen("eth0", q(5), q(6), oversized=70, by=(4, 7500))
        (found,) = host.audit().values()
        assert (found.id, found.frames) == ("guest-oversized/tap0", 69)

    def test_service_tags_are_meant_to_be(self) -> None:
        host = bridged()
        host.seen("tap0", ad(5), q(6), frames=70)
        host.seen("tap0", q(7), q(6), frames=70)
        assert host.audit(service_vids=frozenset({7})) == {}

    def test_one_tag_is_not_two_and_old_ones_are_over(self) -> None:
        host = bridged()
        host.seen("tap0", q(5), frames=70)
        host.seen("tap0", q(5), q(6), frames=70, ago_ns=61 * SECOND)
        assert host.audit() == {}


class TestUplink:
    def test_what_nobody_accounts_for(self) -> None:
        host = bridged()
        host.seen("eth0", oversized=8, by=(10, 200))
        (found,) = host.audit().values()
        assert found.id == "uplink-oversized/eth0"
        assert found.what == (
            "Frames leave eth0 that are larger than its 1,500 bytes, most of them with no tag. "
            "Since 14:02, 8 frames were oversized by up to 200 bytes."
        )
        assert found.commands == ("ip link set dev eth0 mtu 1700",)
        assert found.opens_incident

    def test_a_guest_s_own_tag_inside_its_network_s(self) -> None:
        host = access()
        host.seen("tap1", q(7), frames=50)
        host.seen("bond0", q(100), q(7), oversized=8)
        (found,) = host.audit().values()
        assert found.id == "uplink-oversized/bond0"
        assert "most of them with VLAN 7 inside VLAN 100" in found.what
        assert found.what.endswith("oversized by exactly 4 bytes. tap1 sends such tags.")
        assert "# if it is meant to be: [audit] service_vlans = [100]" in found.commands
        assert host.audit(service_vids=frozenset({100})) == {}

    def test_frames_of_before_the_host_changed_say_nothing_of_it(self) -> None:
        host = bridged()
        host.seen("eth0", oversized=8, ago_ns=10 * SECOND)
        assert host.audit(ways_changed_ns=NOW - 9 * SECOND) == {}
        assert host.audit(ways_changed_ns=NOW - 11 * SECOND)

    def test_a_bond_and_its_slaves_are_one_finding(self) -> None:
        host = bonded(uplinks=["bond0", "eth0"])
        host.seen("bond0", oversized=8)
        host.seen("eth0", oversized=8)
        assert list(host.audit()) == ["uplink-oversized/bond0"]

    def test_it_is_over_after_a_minute(self) -> None:
        host = bridged()
        host.seen("eth0", oversized=8, ago_ns=61 * SECOND)
        host.seen("eth0", q(4), frames=8)
        host.seen("eth0", oversized=8, direction=0)
        assert host.audit() == {}

    def test_pairs_without_a_row_are_told_of_unless_a_stack_is_there(self) -> None:
        host = access()
        host.seen("bond0", oversized=8, is_rest=True)
        assert "tags that found no row" in host.audit()["uplink-oversized/bond0"].what
        host.vlan("vlan5", "vlan100", q(5))
        assert list(host.audit()) == ["vlan-on-vlan/vlan5"]
