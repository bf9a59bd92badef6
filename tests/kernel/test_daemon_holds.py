# SPDX-License-Identifier: Apache-2.0
"""How long a cut lasts: until its hold is over, longer for who relapses, across everything."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.guarded import (
    OFFENDER,
    Scene,
    events,
    guarded,
    needs_daemon,
    ordinary_frames,
    state_of,
)
from tests.harness.namespaces import Namespace
from tests.harness.waiting import PATIENCE, patient_s, wait_until

pytestmark = needs_daemon

SECOND_NS = 1_000_000_000


def holding(initial: str, **more: str | bool) -> Tables:
    return {
        "checks.bpdu": {"action": "quarantine"},
        "hold": {"initial": initial, **more},
        "fuse": {"max_quarantined": "100%"},
    }


def offend(scene: Scene, name: str = OFFENDER) -> dict[str, Any]:
    """The quarantine that a BPDU brings."""
    scene.tap(name).write(bpdu(Bpdu.STP))
    scene.wait_for_state(name, "quarantined")
    found: dict[str, Any] = scene.sentinel.port(name)["quarantine"]
    return found


def assert_open(scene: Scene, name: str = OFFENDER) -> None:
    before = scene.wire.frames_from(GUEST_MAC)
    scene.tap(name).write(ordinary_frames()["ipv4"])
    scene.wire.wait_for(before + 1, GUEST_MAC)


def assert_shut(scene: Scene, name: str = OFFENDER) -> None:
    before = scene.counters(name)["from_guest"]["dropped"]["quarantine"]
    wire = scene.wire.frames_from(GUEST_MAC)
    scene.tap(name).write(ordinary_frames()["ipv4"])
    assert scene.counters(name)["from_guest"]["dropped"]["quarantine"] == before + 1
    assert scene.wire.frames_from(GUEST_MAC) == wire


def test_a_hold_ends_by_itself_and_a_relapse_doubles_it() -> None:
    with guarded(holding(patient_s(2), max="10h"), taps=[OFFENDER]) as scene:
        for relapses in range(2):
            held = offend(scene)
            expected_ns = 2 * PATIENCE * SECOND_NS * 2**relapses
            assert 0.85 * expected_ns <= held["hold_ns"] <= 1.15 * expected_ns
            assert held["until_wall_ns"] == held["since_wall_ns"] + held["hold_ns"]
            assert held["relapses"] == relapses
            if relapses < 1:
                scene.wait_for_state(OFFENDER, "watched")
                assert time.time_ns() >= held["until_wall_ns"]
                assert_open(scene)
        released = events(scene.sentinel, "quarantine.released")
        assert [one["body"]["by"] for one in released] == ["hold"]
        assert scene.wire.bpdus() == 0


def test_without_auto_release_it_stays_and_an_order_ends_it() -> None:
    with guarded(holding(patient_s(1), auto_release=False), taps=[OFFENDER]) as scene:
        held = offend(scene)
        assert held["hold_ns"] is None
        assert held["until_wall_ns"] is None
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        assert_open(scene)


def test_a_restart_keeps_what_is_left_of_a_hold() -> None:
    with guarded(holding(patient_s(6)), taps=[OFFENDER]) as scene:
        held = offend(scene)
        for end in (scene.sentinel.stop, scene.sentinel.kill):
            end()
            scene.sentinel.start()
            assert scene.sentinel.port(OFFENDER)["quarantine"] == held
        assert len(events(scene.sentinel, "quarantine.set")) == 1
        scene.wait_for_state(OFFENDER, "watched", 15)
        assert time.time_ns() >= held["until_wall_ns"]
        assert_open(scene)


def test_a_hold_that_ended_while_no_daemon_ran_ends_with_its_start() -> None:
    with guarded(holding(patient_s(2)), taps=[OFFENDER]) as scene:
        held = offend(scene)
        scene.sentinel.kill()
        wait_until(lambda: time.time_ns() > held["until_wall_ns"], 5, "the hold to be over")
        assert_shut_without_daemon(scene)
        scene.sentinel.start()
        scene.wait_for_state(OFFENDER, "watched")
        (told,) = wait_until(
            lambda: events(scene.sentinel, "quarantine.released"), 10, "the entry", 0.05
        )
        assert told["body"]["by"] == "hold"


def assert_shut_without_daemon(scene: Scene) -> None:
    wire = scene.wire.frames_from(GUEST_MAC)
    scene.tap(OFFENDER).write(ordinary_frames()["ipv4"])
    assert scene.wire.frames_from(GUEST_MAC) == wire


def test_a_guest_that_comes_back_on_a_new_tap_is_cut_again() -> None:
    with guarded(holding("1h"), taps=[OFFENDER]) as scene:
        held = offend(scene)
        scene.lab.hypervisor.remove(OFFENDER)
        wait_until(lambda: scene.sentinel.json("status")["away"], 10, "the port to go", 0.02)
        scene.lab.hypervisor.add_tap(OFFENDER)
        scene.wait_for_state(OFFENDER, "quarantined")
        again = scene.sentinel.port(OFFENDER)["quarantine"]
        assert again["ifindex"] != held["ifindex"]
        for key in ("cause", "reason", "since_wall_ns", "until_wall_ns"):
            assert again[key] == held[key]
        assert_shut(scene)
        assert scene.sentinel.json("status")["away"] == []
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        assert_open(scene)


def test_who_comes_back_is_cut_though_much_is_told_of_it_before_it_is_guarded() -> None:
    with guarded(holding("1h"), taps=[OFFENDER]) as scene:
        offend(scene)
        scene.lab.hypervisor.remove(OFFENDER)
        wait_until(lambda: scene.sentinel.json("status")["away"], 10, "the port to go", 0.02)
        assert scene.sentinel.process is not None
        scene.sentinel.process.send_signal(signal.SIGSTOP)
        # That it is there, that it is on the bridge, that it is up: read in one go.
        scene.lab.hypervisor.add_tap(OFFENDER)
        scene.sentinel.process.send_signal(signal.SIGCONT)
        scene.wait_for_state(OFFENDER, "quarantined")
        assert_shut(scene)
        assert events(scene.sentinel, "quarantine.released") == []


def test_who_is_away_when_the_hold_ends_comes_back_free() -> None:
    with guarded(holding(patient_s(2)), taps=[OFFENDER]) as scene:
        offend(scene)
        scene.lab.hypervisor.remove(OFFENDER)
        wait_until(lambda: events(scene.sentinel, "port.gone"), 10, "the port to go", 0.02)
        wait_until(
            lambda: events(scene.sentinel, "quarantine.released"), 10, "the hold to end", 0.05
        )
        scene.lab.hypervisor.add_tap(OFFENDER)
        scene.wait_for_state(OFFENDER, "watched")
        assert_open(scene)


def test_who_is_away_can_be_released() -> None:
    with guarded(holding("1h"), taps=[OFFENDER]) as scene:
        offend(scene)
        scene.lab.hypervisor.remove(OFFENDER)
        wait_until(lambda: scene.sentinel.json("status")["away"], 10, "the port to go", 0.02)
        done = scene.sentinel.json("release", OFFENDER)
        assert done["changed"]
        scene.lab.hypervisor.add_tap(OFFENDER)
        scene.wait_for_state(OFFENDER, "watched")
        assert_open(scene)


def test_a_new_name_does_not_free_a_port() -> None:
    with guarded(holding("1h"), taps=[OFFENDER]) as scene:
        held = offend(scene)
        scene.lab.hypervisor.netns.ip(
            f"link set {OFFENDER} down", f"link set {OFFENDER} name tapnew"
        )
        wait_until(lambda: state_of(scene.sentinel, "tapnew"), 10, "the new name", 0.02)
        scene.lab.hypervisor.netns.ip("link set tapnew up")
        assert scene.sentinel.port("tapnew")["state"] == "quarantined"
        assert scene.sentinel.port("tapnew")["quarantine"]["ifindex"] == held["ifindex"]
        scene.sentinel.kill()
        scene.sentinel.start(["tapnew"])
        assert scene.sentinel.port("tapnew")["state"] == "quarantined"
        assert scene.sentinel.cli("release", "tapnew").returncode == 0
        assert events(scene.sentinel, "port.renamed")[0]["body"]["old_name"] == OFFENDER


@pytest.mark.parametrize("is_running", [True, False], ids=["daemon", "no_daemon"])
def test_another_device_of_the_same_number_starts_anew(is_running: bool) -> None:
    with guarded(holding("1h"), taps=[OFFENDER]) as scene:
        held = offend(scene)
        if not is_running:
            scene.sentinel.kill()
        scene.lab.hypervisor.remove(OFFENDER)
        scene.lab.hypervisor.add_tap("tapnext", ifindex=held["ifindex"])
        if not is_running:
            scene.sentinel.start(["tapnext"])
        scene.wait_for_state("tapnext", "watched")
        port = scene.sentinel.port("tapnext")
        assert port["ifindex"] == held["ifindex"]
        assert port["quarantine"] is None
        assert port["counters"]["from_guest"]["frames"] == 0
        assert port["counters"]["from_guest"]["bpdu"]["total"] == 0
        assert_open(scene, "tapnext")


def test_a_port_that_moves_to_another_namespace_is_gone() -> None:
    with guarded(holding("1h"), taps=[OFFENDER, "tapone"]) as scene, Namespace("els") as elsewhere:
        scene.lab.hypervisor.netns.ip(f"link set tapone netns {elsewhere.name}")
        wait_until(
            lambda: state_of(scene.sentinel, "tapone") is None, 10, "the port to be gone", 0.02
        )
        assert events(scene.sentinel, "port.gone")[-1]["port"] == "tapone"
        wait_until(
            lambda: (
                len(list((scene.sentinel.pins / "links").iterdir()))
                + len(list((scene.sentinel.pins / "clsact").iterdir()))
                <= 4
            ),
            10,
            "its hooks to be taken off",
            0.02,
        )
