# SPDX-License-Identifier: Apache-2.0
"""Beside others' programs: theirs go on, their qdisc stays, and ours runs once."""

from __future__ import annotations

import contextlib
import json

import pytest

from tests.harness.bystander import Bystander
from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.guarded import (
    OFFENDER,
    Scene,
    guarded,
    needs_daemon,
    needs_tcx,
    ordinary_frames,
    state_of,
)

pytestmark = needs_daemon


def tables(hook: str, action: str = "drop") -> Tables:
    return {"checks.bpdu": {"action": action}, "kernel": {"attach": hook}}


def tc(scene: Scene, *words: str) -> str:
    done = scene.lab.hypervisor.netns.run(["tc", *words])
    return done.stdout


def qdiscs(scene: Scene, device: str = OFFENDER) -> list[str]:
    return [one["kind"] for one in json.loads(tc(scene, "-json", "qdisc", "show", "dev", device))]


def send(scene: Scene, frames: int = 3) -> None:
    for _ in range(frames):
        scene.tap(OFFENDER).write(ordinary_frames()["ipv4"])


@pytest.mark.parametrize("hook", [pytest.param("tcx", marks=needs_tcx), "clsact"])
def test_others_filters_go_on_before_and_after(hook: str) -> None:
    with contextlib.ExitStack() as beside:
        scene = beside.enter_context(guarded(tables(hook), taps=[OFFENDER], start=False))
        netns = scene.lab.hypervisor.netns
        tc(scene, "qdisc", "add", "dev", OFFENDER, "clsact")
        first = beside.enter_context(Bystander(netns, OFFENDER, 49000))
        scene.sentinel.start([OFFENDER])
        second = beside.enter_context(Bystander(netns, OFFENDER, 49500))
        send(scene)
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        scene.wire.wait_for(3, GUEST_MAC)
        assert first.frames == second.frames == 3
        seen = scene.counters(OFFENDER)["from_guest"]
        assert (seen["frames"], seen["dropped"]["bpdu"]) == (4, 1)
        # Unwatched, the port keeps what is not ours.
        scene.sentinel.stop()
        scene.sentinel.configure({**tables(hook), "ports": {"include": ["tapelse"]}})
        scene.sentinel.start()
        assert state_of(scene.sentinel, OFFENDER) is None
        assert "clsact" in qdiscs(scene)
        send(scene)
        assert first.frames == second.frames == 6
        assert "tap_from_guest" not in tc(scene, "filter", "show", "dev", OFFENDER, "ingress")


def test_a_qdisc_of_ours_goes_when_the_port_is_watched_no_more() -> None:
    with guarded(tables("clsact"), taps=[OFFENDER]) as scene:
        assert "clsact" in qdiscs(scene)
        scene.sentinel.stop()
        scene.sentinel.configure({**tables("clsact"), "ports": {"include": ["tapelse"]}})
        scene.sentinel.start()
        assert "clsact" not in qdiscs(scene)


@needs_tcx
@pytest.mark.parametrize(("first", "then"), [("tcx", "clsact"), ("clsact", "tcx")])
def test_another_way_to_attach_leaves_one_hook_only(first: str, then: str) -> None:
    with guarded(tables(first), taps=[OFFENDER]) as scene:
        send(scene)
        scene.sentinel.stop()
        scene.sentinel.configure(tables(then))
        scene.sentinel.start([OFFENDER])
        assert scene.sentinel.json("status")["attach"] == then
        send(scene)
        scene.wire.wait_for(6, GUEST_MAC)
        assert scene.counters(OFFENDER)["from_guest"]["frames"] == 6
        to_wire = scene.counters(scene.lab.hypervisor.uplink)["to_wire"]
        assert to_wire["frames"] == 6
        has_links = any((scene.sentinel.pins / "links").iterdir())
        assert has_links == (then == "tcx")
        assert ("clsact" in qdiscs(scene)) == (then == "clsact")
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        assert scene.counters(OFFENDER)["from_guest"]["dropped"]["bpdu"] == 1


@needs_tcx
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_anothers_tcx_program_goes_on(is_first: bool) -> None:
    with contextlib.ExitStack() as beside:
        scene = beside.enter_context(guarded(tables("tcx"), taps=[OFFENDER], start=False))
        hypervisor = scene.lab.hypervisor
        if is_first:
            other = beside.enter_context(Bystander(hypervisor.netns, OFFENDER))
        scene.sentinel.start([OFFENDER])
        if not is_first:
            other = beside.enter_context(Bystander(hypervisor.netns, OFFENDER))
        send(scene)
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        scene.wire.wait_for(3, GUEST_MAC)
        # Who came last is in front: ours lets it see nothing that it drops.
        assert other.frames == (3 if is_first else 4)
        seen = scene.counters(OFFENDER)["from_guest"]
        assert (seen["frames"], seen["dropped"]["bpdu"]) == (4, 1)
        assert scene.wire.bpdus() == 0
        scene.sentinel.stop()
        scene.sentinel.configure({**tables("tcx"), "ports": {"include": ["tapelse"]}})
        scene.sentinel.start()
        send(scene)
        assert other.frames == (6 if is_first else 7)
