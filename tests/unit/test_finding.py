# SPDX-License-Identifier: Apache-2.0
"""What a record means is said in a plain sentence, whatever the kernel names."""

from __future__ import annotations

import pytest

from sentinel.detect.finding import Finding, find
from tests.harness.cut_facts import VM, device, record

DEVICES = {7: device(vm=VM), 3: device(3, "uplink0", role="uplink")}
WHO = "tap0: VM web-1 (1f1f6c2a-65c0-4c39-b9c3-51d3b4f33d6d) sent "


def found(check: str, kind: str, **changes: object) -> Finding:
    finding = find(record(check=check, kind=kind, **changes), DEVICES)  # type: ignore[arg-type]
    assert finding is not None
    return finding


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("offer", "DHCPOFFER"),
        ("nak", "DHCPNAK"),
        ("other", "BOOTP reply without a DHCP type"),
        ("unknown-77", "BOOTP reply without a DHCP type"),
        ("discover", "BOOTP reply that calls itself DHCPDISCOVER"),
        ("dhcpv6 advertise", "DHCPv6 Advertise"),
        ("dhcpv6 reply", "DHCPv6 Reply"),
        ("dhcpv6 relay-repl", "DHCPv6 Relay-repl"),
        ("dhcpv6 other", "DHCPv6 message of an unknown type"),
        ("dhcpv6 unknown-99", "DHCPv6 message of an unknown type"),
    ],
)
def test_a_rogue_server_is_told_in_plain_words(kind: str, name: str) -> None:
    finding = found("rogue_dhcp", kind)
    assert finding.summary == (
        f"{WHO}a {name}, which only a server sends, source fa:16:3e:00:00:99; dropped in the kernel"
    )
    assert finding.sight == f"{name} from fa:16:3e:00:00:99: dropped in the kernel"
    assert finding.place == "tap0"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("discover", "DHCPDISCOVER"),
        ("other", "DHCP message of an unknown type"),
        ("dhcpv6 solicit", "DHCPv6 Solicit"),
        ("dhcpv6 information-request", "DHCPv6 Information-request"),
    ],
)
def test_a_flood_is_told_in_plain_words(kind: str, name: str) -> None:
    assert found("dhcp_flood", kind).summary.startswith(
        f"{WHO}more DHCP messages than the check allows, here a {name}, source"
    )


def test_the_other_checks_are_told_in_plain_words() -> None:
    sights = {
        found("bpdu", "rstp", tags=1): "a BPDU of rapid spanning tree (RSTP) behind 1 VLAN tag",
        found("vlan", "2 tags", tags=2): "a frame with 2 VLAN tags",
        found("size", "0 tags", wire_bytes=9000): (
            "a frame of 9000 bytes, more than its path carries"
        ),
    }
    for finding, what in sights.items():
        assert finding.summary.startswith(f"{WHO}{what}, source"), finding.summary
        assert not finding.sight.startswith("a ")
        assert len(finding.sight) < 160


def test_a_runt_has_no_mac() -> None:
    assert "from no MAC: passed" in found("bpdu", "stp", head=b"\1", verdict="passed").sight
