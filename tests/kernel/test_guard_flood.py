# SPDX-License-Identifier: Apache-2.0
"""A flood of BPDUs: none on the wire, the neighbours undisturbed, every counter exact."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.loader.attach import SIDES
from sentinel.loader.inspect import tcx_programs
from tests.harness.daemon import Tables
from tests.harness.guarded import (
    HOOKS,
    NEIGHBOURS,
    OFFENDER,
    SIZES,
    Flood,
    Scene,
    assert_wire_clean,
    flood,
    guarded,
    needs_daemon,
    needs_tcx,
)
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

KINDS = ("stp", "rstp", "mstp", "pvst", "other", "total")
CAUSES = ("bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood", "quarantine")


def tables(action: str, hook: str, **ports: list[str]) -> Tables:
    return {"checks.bpdu": {"action": action}, "kernel": {"attach": hook}, "ports": ports}


def dropped(**causes: int) -> dict[str, int]:
    return dict.fromkeys(CAUSES, 0) | causes | {"total": sum(causes.values())}


def dropped_by(action: str, frames: int) -> dict[str, int]:
    """The first frame shuts the port, the latch stops the rest; or each is an offence."""
    if action == "drop":
        return dropped(bpdu=frames)
    return dropped(bpdu=1, quarantine=frames - 1)


def assert_neighbours_counted(scene: Scene, sent: Flood) -> None:
    for name in NEIGHBOURS:
        seen = scene.counters(name)["from_guest"]
        assert (seen["frames"], seen["bytes"]) == (sent.good[name].frames, sent.good[name].bytes)
        assert seen["bpdu"] == dict.fromkeys(KINDS, 0)
        assert seen["dropped"] == dropped()


def to_wire(scene: Scene) -> dict[str, Any]:
    seen: dict[str, Any] = scene.counters(scene.lab.hypervisor.uplink)["to_wire"]
    return seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("action", ["drop", "quarantine"])
def test_the_taps_program_stops_them_all(action: str, hook: str, size: int) -> None:
    with guarded(tables(action, hook)) as scene:
        sent = flood(scene, size)
        assert sent.bad.frames == size
        assert_wire_clean(scene, sent)
        seen = scene.counters(OFFENDER)["from_guest"]
        assert (seen["frames"], seen["bytes"]) == (sent.bad.frames, sent.bad.bytes)
        assert seen["bpdu"] == sent.bpdus()
        assert seen["dropped"] == dropped_by(action, size)
        assert_neighbours_counted(scene, sent)
        passed = to_wire(scene)
        good = list(sent.good.values())
        assert passed["frames"] == sum(one.frames for one in good)
        assert passed["bytes"] == sum(one.bytes for one in good)
        assert passed["bpdu"] == dict.fromkeys(KINDS, 0)
        assert passed["dropped"] == dropped()
        state = "quarantined" if action == "quarantine" else "watched"
        assert scene.sentinel.port(OFFENDER)["state"] == state
        (incident,) = scene.sentinel.incidents(OFFENDER, "bpdu")
        assert incident["verdict"] == ("latched" if action == "quarantine" else "dropped")
        wait_until(
            lambda: scene.sentinel.incidents(OFFENDER, "bpdu")[0]["frames"] == size,
            15,
            "the incident to stand for every frame",
            0.1,
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("action", "hook"),
    [pytest.param("drop", "tcx", marks=needs_tcx), ("quarantine", "clsact")],
)
def test_the_backstop_alone_stops_what_no_port_program_sees(
    action: str, hook: str, size: int
) -> None:
    config = tables(action, hook, include=[*NEIGHBOURS])
    with guarded(config, watched=[*NEIGHBOURS]) as scene:
        sent = flood(scene, size)
        assert_wire_clean(scene, sent)
        assert_neighbours_counted(scene, sent)
        seen = to_wire(scene)
        everybody = [sent.bad, *sent.good.values()]
        assert seen["frames"] == sum(one.frames for one in everybody)
        assert seen["bytes"] == sum(one.bytes for one in everybody)
        assert seen["bpdu"] == sent.bpdus()
        assert seen["dropped"] == dropped(bpdu=size)
        (incident,) = scene.sentinel.incidents(check="bpdu")
        assert incident["uplink"]
        assert incident["port"] == scene.lab.hypervisor.uplink
        assert "not watched" in incident["summary"]


def hooked(scene: Scene, ifindex: int) -> list[str]:
    """The tcx programs on both sides of a device."""
    with scene.lab.hypervisor.netns.enter():
        return [name for side in SIDES for name in tcx_programs(ifindex, side)]


@needs_tcx
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("action", ["drop", "quarantine"])
def test_the_backstop_stands_in_for_a_program_that_was_taken_off(action: str, size: int) -> None:
    with guarded(tables(action, "tcx")) as scene:
        ifindex = scene.sentinel.port(OFFENDER)["ifindex"]
        links = sorted((scene.sentinel.pins / "links").glob(f"{ifindex}-*"))
        assert len(links) == 2
        for link in links:
            link.unlink()
        # The kernel lets go of a link some time after its last pin is gone.
        wait_until(lambda: not hooked(scene, ifindex), 10, "the tap to be without programs")
        sent = flood(scene, size)
        assert_wire_clean(scene, sent)
        assert_neighbours_counted(scene, sent)
        assert scene.counters(OFFENDER)["from_guest"]["frames"] == 0
        assert to_wire(scene)["bpdu"] == sent.bpdus()
        assert to_wire(scene)["dropped"] == dropped_by(action, size)
        (incident,) = scene.sentinel.incidents(OFFENDER, "bpdu")
        assert "its own program did not stop it" in incident["summary"]
