# SPDX-License-Identifier: Apache-2.0
"""An upgrade in a flood: other programs, or another contract, and not one frame between."""

from __future__ import annotations

import pytest

from sentinel import abi
from tests.harness.another_build import MISSING, AnotherBuild
from tests.harness.daemon import Tables
from tests.harness.guarded import (
    HOOKS,
    NEIGHBOURS,
    OFFENDER,
    SIZES,
    Flooding,
    Scene,
    assert_wire_clean,
    events,
    guarded,
    needs_daemon,
)
from tests.harness.waiting import wait_until

pytestmark = [
    *needs_daemon,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} to build"),
]

SECOND_NS = 1_000_000_000
HEADER = "bpf/abi_kern_user.h"


@pytest.fixture(scope="module")
def other_programs(tmp_path_factory: pytest.TempPathFactory) -> AnotherBuild:
    """The same contract, other programs."""
    build = AnotherBuild(tmp_path_factory.mktemp("build"))
    build.replace(
        "bpf/frame_kern.h",
        "\tcounters->frames++;",
        "\tif (skb->mark == 0x7ab5e271)\n\t\tbpf_get_prandom_u32();\n\tcounters->frames++;",
    )
    build.build()
    return build


@pytest.fixture(scope="module")
def other_ports(tmp_path_factory: pytest.TempPathFactory) -> AnotherBuild:
    """Another contract: a slot's members behind the fixed ones change places."""
    build = AnotherBuild(tmp_path_factory.mktemp("abi"))
    build.next_abi()
    line = "\t__u32 mtu_bytes; /* of the path; 0: sizes are not judged */\n"
    before = "\t__u32 trusted_checks; /* bit per enum tap_check */\n"
    build.replace(HEADER, line + before, before + line)
    build.build()
    return build


@pytest.fixture(scope="module")
def other_cuts(tmp_path_factory: pytest.TempPathFactory) -> AnotherBuild:
    """Another contract: what stands beside a latch is larger."""
    build = AnotherBuild(tmp_path_factory.mktemp("abi"))
    build.next_abi()
    build.replace(HEADER, "TAP_REASON_BYTES = 96", "TAP_REASON_BYTES = 128")
    build.build()
    return build


def tables(action: str, hook: str) -> Tables:
    return {"checks.bpdu": {"action": action}, "kernel": {"attach": hook}}


def upgrade(scene: Scene, build: AnotherBuild, running: Flooding, frames: int) -> None:
    """Kill the old daemon, start the new one; the flood gets `frames` further in each part."""
    running.wait_for(running.bad.accepted + frames)
    scene.sentinel.kill()
    running.wait_for(running.bad.accepted + frames)
    scene.sentinel.command = build.command
    scene.sentinel.start([OFFENDER])
    running.wait_for(running.bad.accepted + frames)


def assert_held(before: dict[str, object], after: dict[str, object]) -> None:
    for key in ("port", "ifindex", "cause", "reason", "uid", "relapses"):
        assert after[key] == before[key], key
    for key in ("since_wall_ns", "until_wall_ns"):
        assert abs(int(str(after[key])) - int(str(before[key]))) < SECOND_NS, key


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hook", HOOKS)
def test_other_programs_take_over_in_place(
    other_programs: AnotherBuild, hook: str, size: int
) -> None:
    with guarded(tables("quarantine", hook)) as scene:
        with Flooding(scene) as running:
            scene.wait_for_state(OFFENDER, "quarantined")
            held = scene.sentinel.port(OFFENDER)["quarantine"]
            upgrade(scene, other_programs, running, size // 3)
            sent = running.stop()
        assert_wire_clean(scene, sent)
        assert_held(held, scene.sentinel.port(OFFENDER)["quarantine"])
        # The maps are the same, so the counters never stopped.
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == sent.bad.frames
        assert seen["bpdu"] == sent.bpdus()
        assert [one["body"]["adopted"] for one in events(scene.sentinel, "guard.attached")] == [
            *[False] * 4,
            *[True] * 4,
        ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("which", ["other_ports", "other_cuts"])
def test_another_contract_takes_over_in_place(
    request: pytest.FixtureRequest, which: str, hook: str, size: int
) -> None:
    build: AnotherBuild = request.getfixturevalue(which)
    with guarded(tables("quarantine", hook)) as scene:
        with Flooding(scene) as running:
            scene.wait_for_state(OFFENDER, "quarantined")
            held = scene.sentinel.port(OFFENDER)["quarantine"]
            upgrade(scene, build, running, size // 3)
            sent = running.stop()
        assert_wire_clean(scene, sent)
        assert_held(held, scene.sentinel.port(OFFENDER)["quarantine"])
        # Another contract has maps of its own: its counters begin anew.
        seen = scene.counters(OFFENDER)["from_guest"]
        assert 0 < seen["frames"] < sent.bad.frames
        assert seen["frames"] == seen["bpdu"]["total"] == seen["dropped"]["quarantine"]
        assert len(list(scene.sentinel.pins.glob("v*"))) == 1
        assert len(events(scene.sentinel, "quarantine.set")) == 1
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"


def test_a_port_that_is_only_dropped_stays_guarded(other_ports: AnotherBuild) -> None:
    with guarded(tables("drop", "auto")) as scene:
        with Flooding(scene) as running:
            upgrade(scene, other_ports, running, 10_000)
            sent = running.stop()
        assert_wire_clean(scene, sent)


def test_orders_that_nobody_journaled_come_along(other_ports: AnotherBuild) -> None:
    """One that released a port too: no latch tells of it."""
    with guarded(tables("quarantine", "auto")) as scene:
        one, two = NEIGHBOURS
        assert scene.sentinel.cli("quarantine", two, "--reason", "first").returncode == 0
        scene.sentinel.kill()
        assert scene.sentinel.cli("quarantine", one, "--reason", "second").returncode == 0
        assert scene.sentinel.cli("release", two, "--reason", "third").returncode == 0
        scene.sentinel.command = other_ports.command
        scene.sentinel.start([one, two])
        wait_until(lambda: events(scene.sentinel, "quarantine.released"), 10, "the entry", 0.05)
        told = [one["body"]["reason"] for one in events(scene.sentinel, "quarantine.set")]
        assert told == ["first", "second"]
        (released,) = events(scene.sentinel, "quarantine.released")
        assert released["body"]["release_reason"] == "third"
        assert scene.sentinel.port(one)["quarantine"]["reason"] == "second"
        assert scene.sentinel.port(two)["state"] == "watched"


def test_an_older_command_says_that_the_contract_is_another(other_ports: AnotherBuild) -> None:
    with guarded() as scene:
        ours = scene.sentinel.command
        scene.sentinel.kill()
        scene.sentinel.command = other_ports.command
        scene.sentinel.start([OFFENDER])
        scene.sentinel.kill()
        scene.sentinel.command = ours
        done = scene.sentinel.cli("quarantine", OFFENDER)
        assert done.returncode != 0
        assert f"version {abi.TAP_ABI_VERSION + 1} of the contract" in done.stderr
