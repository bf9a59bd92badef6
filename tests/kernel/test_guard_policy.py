# SPDX-License-Identifier: Apache-2.0
"""What each action, a threshold, trust and the host's own spanning tree come to."""

from __future__ import annotations

import time

import pytest

from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, Bpdu, all_bpdus, bpdu
from tests.harness.guarded import (
    OFFENDER,
    Scene,
    events,
    guarded,
    needs_daemon,
    neighbour_frame,
    ordinary_frames,
)
from tests.harness.hypervisor import Lab
from tests.harness.waiting import PATIENCE, patient_s, wait_until

pytestmark = needs_daemon


def settled(scene: Scene) -> None:
    """A frame of a neighbour was through after everything before it."""
    before = scene.wire.frames_from("fa:16:3e:00:01:01")
    scene.tap("tapone").write(neighbour_frame("tapone"))
    scene.wire.wait_for(before + 1, "fa:16:3e:00:01:01")


def test_out_of_the_box_it_only_counts() -> None:
    with guarded({}) as scene:
        for frame in all_bpdus().values():
            scene.tap(OFFENDER).write(frame)
        settled(scene)
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["bpdu"]["total"] == len(Bpdu)
        assert seen["dropped"]["total"] == 0
        # The bridge itself keeps what is for provider bridges.
        assert scene.wire.bpdus() == len(Bpdu) - 1
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"
        (incident,) = wait_until(scene.sentinel.incidents, 10, "the incident", 0.05)
        assert (incident["port"], incident["verdict"]) == (OFFENDER, "passed")
        assert events(scene.sentinel, "quarantine.set") == []


@pytest.mark.parametrize("kind", [Bpdu.RSTP, Bpdu.PVST])
def test_drop_stops_bpdus_and_nothing_else(kind: Bpdu) -> None:
    with guarded({"checks.bpdu": {"action": "drop"}}) as scene:
        for _ in range(3):
            scene.tap(OFFENDER).write(bpdu(kind))
            scene.tap(OFFENDER).write(ordinary_frames()["ipv4"])
        scene.wire.wait_for(3, GUEST_MAC)
        settled(scene)
        assert scene.wire.frames_from(GUEST_MAC) == 3
        assert scene.wire.bpdus() == 0
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"


def test_a_threshold_is_reached_within_its_window_or_not_at_all() -> None:
    tables: Tables = {
        "checks.bpdu": {"action": "quarantine", "threshold": 3, "window": patient_s(1)}
    }
    with guarded(tables) as scene:
        bad, ordinary = scene.tap(OFFENDER), ordinary_frames()["ipv4"]

        def offend(times: int) -> None:
            for _ in range(times):
                bad.write(bpdu(Bpdu.STP))

        offend(2)
        bad.write(ordinary)
        scene.wire.wait_for(1, GUEST_MAC)
        first_ns = time.monotonic_ns()
        wait_until(
            lambda: time.monotonic_ns() - first_ns > 1.1e9 * PATIENCE, 5, "the window to pass"
        )
        offend(2)
        bad.write(ordinary)
        scene.wire.wait_for(2, GUEST_MAC)
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"
        offend(1)
        bad.write(ordinary)
        scene.wait_for_state(OFFENDER, "quarantined")
        settled(scene)
        assert scene.wire.frames_from(GUEST_MAC) == 2
        assert scene.wire.bpdus() == 0
        dropped = scene.counters(OFFENDER)["from_guest"]["dropped"]
        assert (dropped["bpdu"], dropped["quarantine"]) == (5, 1)


def trusting(rule: str) -> str:
    return f'[ports]\ntrusted = [{{{rule}, checks = ["bpdu"]}}]\n'


@pytest.mark.parametrize("by", ["name", "mac"])
def test_a_trusted_port_may_send_bpdus(by: str) -> None:
    with guarded(start=False) as scene:
        mac = device_mac(scene.lab, OFFENDER)
        rule = f'name = "{OFFENDER}"' if by == "name" else f'mac = "{mac}"'
        with scene.sentinel.config.open("a") as config:
            config.write(f"\n{trusting(rule)}")
        scene.sentinel.start()
        scene.wait_for_state(OFFENDER, "trusted")
        scene.wait_for_state("taptwo", "watched")
        scene.tap(OFFENDER).write(bpdu(Bpdu.RSTP))
        scene.wire.wait_for(1, GUEST_MAC)
        assert scene.wire.bpdus() == 1
        scene.tap("taptwo").write(bpdu(Bpdu.RSTP, src="fa:16:3e:00:01:02"))
        scene.wait_for_state("taptwo", "quarantined")
        settled(scene)
        assert scene.wire.bpdus() == 1
        assert scene.sentinel.port(OFFENDER)["state"] == "trusted"


def device_mac(lab: Lab, name: str) -> str:
    done = lab.hypervisor.netns.run(["ip", "-o", "link", "show", "dev", name])
    return done.stdout.split("link/ether ")[1].split()[0]


@pytest.mark.parametrize("action", ["count", "drop"])
def test_the_hosts_own_spanning_tree_is_its_own_business(action: str) -> None:
    tables: Tables = {"checks.bpdu": {"action": "quarantine", "host": action}}
    with guarded(tables) as scene:
        hypervisor = scene.lab.hypervisor
        hypervisor.netns.ip(
            f"link set {hypervisor.bridge} type bridge stp_state 1 priority 0 hello_time 100"
        )

        def seen() -> int:
            return int(scene.counters(hypervisor.uplink)["to_wire"]["bpdu_host"])

        wait_until(lambda: seen() >= 2, 15, "the host's BPDUs", 0.05)
        to_wire = scene.counters(hypervisor.uplink)["to_wire"]
        assert to_wire["bpdu"]["total"] == 0
        if action == "count":
            assert scene.wire.bpdus() >= 2
            assert to_wire["dropped"]["total"] == 0
        else:
            assert scene.wire.bpdus() == 0
            assert to_wire["dropped"]["bpdu"] >= 2
        assert events(scene.sentinel, "quarantine.set") == []
