# SPDX-License-Identifier: Apache-2.0
"""The documents behind `ports --json` and `status --json`."""

from __future__ import annotations

import pytest

from sentinel.config import parse_config
from sentinel.decode import CHECKS, NO_COUNTERS
from sentinel.event import Quarantine
from sentinel.view import checks_document, guard_document, port_document, port_state
from tests.harness.cut_facts import VM, bpdus, device

CUT = Quarantine("tap0", 7, VM, "order", "x", 0, 1, None, None)
TRUSTED = device(trusted_checks=frozenset({"vlan", "bpdu"}))
UPLINK = device(3, "bond0", role="uplink")


@pytest.mark.parametrize(
    ("is_attached", "cut", "trusted", "state"),
    [
        (True, None, False, "watched"),
        (True, None, True, "trusted"),
        (True, CUT, True, "quarantined"),
        (False, CUT, False, "quarantined"),
        (False, None, True, "unattached"),
    ],
)
def test_the_gravest_state_is_shown(
    is_attached: bool, cut: Quarantine | None, trusted: bool, state: str
) -> None:
    assert port_state(TRUSTED if trusted else device(), is_attached, cut) == state


def test_a_port_has_the_keys_that_others_lean_on() -> None:
    shown = port_document(TRUSTED, True, None, (bpdus(5, "pvst"), NO_COUNTERS), None)
    assert {"name", "ifindex", "role", "state", "vm", "counters"} <= set(shown)
    assert set(shown["counters"]) == {"from_guest", "to_guest"}
    assert shown["trusted_checks"] == ["bpdu", "vlan"]
    seen = shown["counters"]["from_guest"]
    assert {"frames", "bytes", "oversized", "oversized_by_tags", "vlan_tagged"} <= set(seen)
    assert seen["bpdu"] == {"stp": 0, "rstp": 0, "mstp": 0, "pvst": 5, "other": 0, "total": 5}
    assert seen["dhcp"]["total"] == seen["dropped"]["total"] == 0


def test_an_uplink_has_no_vm_and_its_own_directions() -> None:
    shown = port_document(UPLINK, True, None, (NO_COUNTERS, NO_COUNTERS), None)
    assert shown["vm"] is None
    assert set(shown["counters"]) == {"from_wire", "to_wire"}


def test_when_a_port_was_last_heard_of() -> None:
    shown = port_document(device(), True, None, (NO_COUNTERS, NO_COUNTERS), None, 5, 7)
    assert (shown["last_sent_wall_ns"], shown["last_received_wall_ns"]) == (5, 7)
    never = port_document(device(), True, None, (NO_COUNTERS, NO_COUNTERS), None)
    assert (never["last_sent_wall_ns"], never["last_received_wall_ns"]) == (None, None)


def test_every_check_is_shown_with_its_policy() -> None:
    shown = checks_document(parse_config('[checks.vlan]\naction = "drop"\n', "c.toml"))
    assert list(shown) == list(CHECKS)
    assert shown["vlan"]["action"] == "drop"
    assert shown["bpdu"] == {"action": "count", "threshold": 1, "window_ns": 10_000_000_000}


def test_devices_are_counted_by_what_they_are() -> None:
    devices = [device(), TRUSTED, device(9), UPLINK]
    assert guard_document(devices, {7, 3}, 1) == {
        "watched": 2,
        "unattached": 1,
        "trusted": 1,
        "quarantined": 1,
        "uplinks": 1,
    }
