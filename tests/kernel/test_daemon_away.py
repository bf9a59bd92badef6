# SPDX-License-Identifier: Apache-2.0
"""Orders while no daemon runs, or one that does not answer: obeyed now, journaled by the next."""

from __future__ import annotations

import signal
import time

import pytest

from tests.harness.blast import Blast
from tests.harness.frames import GUEST_MAC
from tests.harness.guarded import COUNT, OFFENDER, Scene, events, guarded, needs_daemon
from tests.harness.hypervisor import OUTSIDE_MAC
from tests.harness.packets import udp_frame
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

FRAME = udp_frame(GUEST_MAC, OUTSIDE_MAC, "192.0.2.99", "192.0.2.1", payload=bytes(200))


def ordered(scene: Scene, *words: str) -> bool:
    """Whether it changed anything."""
    done = scene.sentinel.json(*words)
    assert not done["daemon"]
    assert not done["journaled"]
    return bool(done["changed"])


def test_orders_hold_at_once_and_are_journaled_in_full_by_the_next_daemon() -> None:
    with guarded(COUNT) as scene:
        scene.sentinel.kill()
        before_ns = time.time_ns()
        with Blast(scene.tap(OFFENDER), [FRAME]) as running:
            scene.wire.wait_for(1000, GUEST_MAC)
            done = scene.sentinel.cli("quarantine", OFFENDER, "--reason", "one", "--for", "1h")
            at_exit = scene.wire.frames_from(GUEST_MAC)
            assert done.returncode == 0
            assert "no daemon" in done.stderr
            sent = running.accepted
            wait_until(lambda: running.accepted > sent + 20_000, 30, "the flood to go on")
            assert scene.wire.frames_from(GUEST_MAC) == at_exit
            assert not ordered(scene, "quarantine", OFFENDER, "--reason", "two", "--for", "2h")
            assert ordered(scene, "release", OFFENDER, "--reason", "three")
            assert not ordered(scene, "release", OFFENDER, "--reason", "four")
            scene.wire.wait_for(at_exit + 1000, GUEST_MAC)
            assert ordered(scene, "quarantine", OFFENDER, "--reason", "five", "--for", "3h")
            at_last = scene.wire.frames_from(GUEST_MAC)
            scene.sentinel.start([OFFENDER])
            assert scene.wire.frames_from(GUEST_MAC) == at_last
        after_ns = time.time_ns()
        told = [
            one
            for one in events(scene.sentinel, port=OFFENDER)
            if one["kind"].startswith("quarantine.")
        ]
        assert [
            (
                one["kind"].removeprefix("quarantine."),
                one["body"]["changed"],
                one["body"]["reason" if one["kind"] == "quarantine.set" else "release_reason"],
            )
            for one in told
        ] == [
            ("set", True, "one"),
            ("set", False, "two"),
            ("released", True, "three"),
            ("released", False, "four"),
            ("set", True, "five"),
        ]
        times = [one["time_ns"] for one in told]
        assert times == sorted(times)
        assert before_ns < times[0] < times[-1] < after_ns
        for one in told:
            uid = one["body"]["uid" if one["kind"] == "quarantine.set" else "by_uid"]
            assert uid == 0
        port = scene.sentinel.port(OFFENDER)
        assert port["state"] == "quarantined"
        assert port["quarantine"]["reason"] == "five"
        assert port["quarantine"]["uid"] == 0
        left_s = (port["quarantine"]["until_wall_ns"] - time.time_ns()) / 1e9
        assert 3 * 3600 - 60 < left_s <= 3 * 3600
        # A further restart has nothing more to tell.
        scene.sentinel.kill()
        scene.sentinel.start([OFFENDER])
        assert len(events(scene.sentinel, "quarantine.set")) == 3
        assert scene.sentinel.port(OFFENDER)["quarantine"] == port["quarantine"]


def test_what_cannot_be_ordered_is_refused_by_the_pins_too() -> None:
    with guarded(COUNT) as scene:
        scene.sentinel.stop()
        for name in ("tapnone", "lo", scene.lab.hypervisor.uplink):
            done = scene.sentinel.cli("quarantine", name)
            assert done.returncode == 1, done.stderr
            assert name in done.stderr


@pytest.mark.slow
def test_a_daemon_that_stands_still_is_passed_over() -> None:
    with guarded(COUNT) as scene:
        scene.sentinel.signal(signal.SIGSTOP)
        assert ordered(scene, "quarantine", OFFENDER, "--reason", "it hangs")
        scene.tap(OFFENDER).write(FRAME)
        scene.sentinel.signal(signal.SIGCONT)
        scene.wait_for_state(OFFENDER, "quarantined")
        wait_until(lambda: events(scene.sentinel, "quarantine.set"), 10, "the entry", 0.05)
        changed = [one["body"]["changed"] for one in events(scene.sentinel, "quarantine.set")]
        assert changed.count(True) == 1
        assert scene.wire.frames_from(GUEST_MAC) == 0
