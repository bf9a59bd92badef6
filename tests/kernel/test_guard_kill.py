# SPDX-License-Identifier: Apache-2.0
"""The daemon dies in a flood: nothing passes, nothing is forgotten, the next one goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.blast import Blast
from tests.harness.daemon import Tables
from tests.harness.guarded import (
    DROP,
    HOOKS,
    NEIGHBOURS,
    OFFENDER,
    SIZES,
    Flooding,
    Scene,
    assert_wire_clean,
    bpdu_frames,
    events,
    flood,
    guarded,
    needs_daemon,
)
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

SECOND_NS = 1_000_000_000


def quarantine_of(scene: Scene) -> dict[str, object]:
    found = scene.sentinel.port(OFFENDER)["quarantine"]
    assert isinstance(found, dict)
    return found


def assert_same_quarantine(before: dict[str, object], after: dict[str, object]) -> None:
    for key in ("port", "ifindex", "cause", "reason", "uid", "relapses"):
        assert after[key] == before[key], key
    for key in ("since_wall_ns", "until_wall_ns"):
        then, now = before[key], after[key]
        assert isinstance(then, int)
        assert isinstance(now, int)
        assert abs(then - now) < SECOND_NS, key


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hook", HOOKS)
def test_killed_in_the_flood_the_guard_stays(hook: str, size: int) -> None:
    tables: Tables = {"checks.bpdu": {"action": "quarantine"}, "kernel": {"attach": hook}}
    with guarded(tables) as scene:
        held: list[dict[str, object]] = []

        def kill(bad: Blast) -> None:
            wait_until(lambda: bad.accepted > size // 10, 60, "the flood")
            scene.wait_for_state(OFFENDER, "quarantined")
            held.append(quarantine_of(scene))
            scene.sentinel.kill()

        sent = flood(scene, size, kill)
        assert_wire_clean(scene, sent)
        scene.sentinel.start([OFFENDER])
        assert_same_quarantine(held[0], quarantine_of(scene))
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == seen["bpdu"]["total"] == size
        assert seen["bpdu"] == sent.bpdus()
        assert len(events(scene.sentinel, "quarantine.set")) == 1
        wait_until(
            lambda: [one["frames"] for one in scene.sentinel.incidents(OFFENDER, "bpdu")] == [size],
            15,
            "one incident for all of it",
            0.1,
        )


def test_a_port_that_is_only_dropped_is_guarded_without_a_daemon() -> None:
    with guarded(DROP) as scene:
        with Flooding(scene) as running:
            scene.sentinel.kill()
            running.wait_for(running.bad.accepted + 20_000)
            scene.sentinel.start([OFFENDER])
            running.wait_for(running.bad.accepted + 20_000)
            sent = running.stop()
        assert_wire_clean(scene, sent)
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == seen["dropped"]["bpdu"] == sent.bad.frames


@pytest.fixture(scope="module")
def died_before() -> Iterator[Scene]:
    with guarded() as scene:
        scene.sentinel.kill()
        yield scene


def test_what_offends_while_no_daemon_runs_is_cut_and_told_later(died_before: Scene) -> None:
    scene = died_before
    sent = flood(scene, 5_000)
    assert_wire_clean(scene, sent)
    scene.sentinel.start([OFFENDER])
    scene.wait_for_state(OFFENDER, "quarantined")
    held = quarantine_of(scene)
    assert held["cause"] == "bpdu"
    (told,) = events(scene.sentinel, "quarantine.set")
    assert told["port"] == OFFENDER
    assert told["time_ns"] == held["since_wall_ns"]
    # The ring kept the first records for it.
    (incident,) = scene.sentinel.incidents(OFFENDER, "bpdu")
    assert incident["verdict"] == "latched"
    wait_until(
        lambda: (
            [one["frames"] for one in scene.sentinel.incidents(OFFENDER, "bpdu")]
            == [sent.bad.frames]
        ),
        15,
        "the incident to stand for every frame",
        0.1,
    )


def test_incidents_that_nobody_can_go_on_with_are_ended_and_not_counted_twice() -> None:
    tables: Tables = {**DROP, "ports": {"include": list(NEIGHBOURS)}}
    with guarded(tables, watched=[*NEIGHBOURS]) as scene:
        for frame in bpdu_frames():
            scene.tap(OFFENDER).write(frame)
        found = wait_until(scene.sentinel.incidents, 10, "the incident", 0.05)
        assert found[0]["uplink"]
        scene.sentinel.kill()
        scene.sentinel.start()
        assert [one["closed_wall_ns"] is None for one in scene.sentinel.incidents()] == [False]
        before = sum(one["frames"] for one in scene.sentinel.incidents())
        for frame in bpdu_frames():
            scene.tap(OFFENDER).write(frame)

        def counted() -> int:
            return sum(int(one["frames"]) for one in scene.sentinel.incidents())

        total = scene.counters(scene.lab.hypervisor.uplink)["to_wire"]["bpdu"]["total"]
        wait_until(lambda: counted() == total, 10, "every frame in one incident", 0.1)
        assert before <= len(bpdu_frames())
