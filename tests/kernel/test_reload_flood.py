# SPDX-License-Identifier: Apache-2.0
"""A changed configuration under a flood: from one frame on the new one holds, or the old stays."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.harness.daemon import Tables
from tests.harness.guarded import (
    COUNT,
    DROP,
    NEIGHBOURS,
    OFFENDER,
    QUARANTINE,
    Flooding,
    Scene,
    events,
    guarded,
    needs_daemon,
    state_of,
)
from tests.harness.programs import loader_under_test
from tests.harness.reloading import (
    changed,
    config_events,
    dropped,
    hang_up,
    passed,
    put,
    reload,
    trust,
)
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

FRAMES = 20_000
ALL_MAY: Tables = {"fuse": {"max_quarantined": "100%"}}


def uplink_dropped(scene: Scene) -> int:
    (uplink,) = (one for one in scene.sentinel.json("ports") if one["role"] == "uplink")
    return int(uplink["counters"]["to_wire"]["dropped"]["bpdu"])


def send_more(sending: Flooding) -> None:
    sending.wait_for(sending.bad.accepted + FRAMES)


def assert_none_passed(scene: Scene) -> None:
    """In a flood: a frame that is counted is dropped an instant later."""
    wait_until(lambda: passed(scene) == 0, 2, "a moment between two frames")
    assert scene.wire.bpdus() == 0


@pytest.mark.parametrize("how", ["order", "SIGHUP"])
def test_from_count_to_quarantine(how: str) -> None:
    with guarded({**COUNT, **ALL_MAY}, switch_guards=False) as scene, Flooding(scene) as sending:
        wait_until(lambda: scene.sentinel.incidents(OFFENDER, "bpdu"), 30, "the incident", 0.1)
        (before,) = scene.sentinel.incidents(OFFENDER, "bpdu")
        if how == "order":
            done = reload(scene, {**QUARANTINE, **ALL_MAY})
            assert changed(done) == {"checks.bpdu.action": ("count", "quarantine")}
            assert done["journaled"]
        else:
            put(scene, {**QUARANTINE, **ALL_MAY})
            assert hang_up(scene)["body"]["by"] == "SIGHUP"
        most = passed(scene)
        send_more(sending)
        scene.wait_for_state(OFFENDER, "quarantined")
        sent = sending.stop()
        # Every frame was counted, and from some frame on not one has passed.
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == sent.bad.frames
        assert seen["bpdu"] == sent.bpdus()
        assert 0 < passed(scene) <= most <= sent.bad.frames - FRAMES
        # What had passed its port in that very moment died at the uplink, which then cut it.
        late = uplink_dropped(scene)
        wait_until(
            lambda: scene.wire.bpdus() + late == passed(scene), 10, "the last of them to arrive"
        )
        assert [state_of(scene.sentinel, name) for name in NEIGHBOURS] == ["watched"] * 2
        # And it says so: one incident before and after, what was read, then the cut.
        incidents = scene.sentinel.incidents(OFFENDER, "bpdu")
        assert [one["id"] for one in incidents if not one["uplink"]] == [before["id"]]
        verdicts = {one["verdict"] for one in incidents if one["uplink"] == bool(late)}
        assert verdicts == {"latched"}
        (loaded,) = config_events(scene)
        assert loaded["body"]["actions"]["bpdu"] == "quarantine"
        assert "checks.bpdu.action: count → quarantine" in loaded["body"]["message"]
        (cut,) = events(scene.sentinel, "quarantine.set")
        assert cut["seq"] > loaded["seq"]


def test_from_quarantine_to_count_the_cut_stays_until_it_is_released() -> None:
    with (
        guarded({**QUARANTINE, **ALL_MAY}, switch_guards=False) as scene,
        Flooding(scene) as sending,
    ):
        scene.wait_for_state(OFFENDER, "quarantined")
        held = scene.sentinel.port(OFFENDER)["quarantine"]
        assert reload(scene, {**COUNT, **ALL_MAY})["released"] == []
        send_more(sending)
        assert_none_passed(scene)
        assert scene.sentinel.port(OFFENDER)["quarantine"] == held
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        wait_until(lambda: scene.wire.bpdus() > FRAMES, 60, "what only counts to pass")
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"


def test_from_drop_to_count_and_back() -> None:
    with guarded(DROP, switch_guards=False) as scene, Flooding(scene) as sending:
        send_more(sending)
        assert_none_passed(scene)
        reload(scene, COUNT)
        before = dropped(scene)
        send_more(sending)
        assert dropped(scene) == before
        reload(scene, DROP)
        most = passed(scene)
        send_more(sending)
        sending.stop()
        assert FRAMES <= passed(scene) <= most
        late = uplink_dropped(scene)
        wait_until(
            lambda: scene.wire.bpdus() + late == passed(scene), 10, "the last of them to arrive"
        )


OTHER_LOADER = "libbpf" if loader_under_test() == "bcc" else "bcc"
WRONG = {
    "syntax": (b"[checks.bpdu]\naction = quarantine\n", "is not TOML"),
    "unknown key": (b'[checks.bpdu]\nactoin = "count"\n', "checks.bpdu.actoin"),
    "impossible": (b'[checks.bpdu]\naction = "count"\nwindow = "2h"\n', "checks.bpdu.window"),
    "no text": (b"\xff\xfe[checks.bpdu]\n", "not UTF-8"),
    "restart": (
        f'[checks.bpdu]\naction = "count"\n[kernel]\nloader = "{OTHER_LOADER}"\n'.encode(),
        "kernel.loader",
    ),
}


def kernel_side(scene: Scene) -> dict[str, Any]:
    status = scene.sentinel.json("status")
    return {key: status[key] for key in ("checks", "fuse", "guard", "config")}


@pytest.mark.parametrize("action", ["drop", "quarantine"])
def test_a_wrong_file_changes_nothing(action: str) -> None:
    tables: Tables = {"checks.bpdu": {"action": action}, **ALL_MAY}
    with guarded(tables) as scene, Flooding(scene) as sending:
        send_more(sending)
        if action == "quarantine":
            scene.wait_for_state(OFFENDER, "quarantined")
        before = kernel_side(scene)
        right = scene.sentinel.config.read_bytes()
        paths = right[: right.index(b"[checks")]
        for raw, words in WRONG.values():
            scene.sentinel.config.write_bytes(raw if raw[0] == 0xFF else paths + raw)
            assert words in hang_up(scene)["body"]["message"]
            send_more(sending)
        scene.sentinel.config.unlink()
        assert "does not exist" in hang_up(scene)["body"]["problem"]
        scene.sentinel.config.mkdir()
        assert "no regular file" in hang_up(scene)["body"]["problem"]
        scene.sentinel.config.rmdir()
        os.mkfifo(scene.sentinel.config)
        assert "no regular file" in hang_up(scene)["body"]["problem"]
        scene.sentinel.config.unlink()
        scene.sentinel.config.write_bytes(right)
        assert kernel_side(scene) == before
        sent = sending.stop()
        assert scene.wire.bpdus() == passed(scene) == 0
        assert scene.counters(OFFENDER)["from_guest"]["frames"] == sent.bad.frames
        assert {one["kind"] for one in config_events(scene)} == {"config.refused"}
        assert len(config_events(scene)) == len(WRONG) + 3


def test_trust_that_comes_with_a_cutting_check_is_there_first() -> None:
    """Who is trusted is judged neither by the new action nor, when trust goes, by the old."""
    with guarded({**COUNT, **ALL_MAY}, switch_guards=False) as scene, Flooding(scene) as sending:
        for _ in range(10):
            reload(scene, {**QUARANTINE, **ALL_MAY}, trust(OFFENDER, "bpdu"))
            reload(scene, {**COUNT, **ALL_MAY})
        send_more(sending)
        assert dropped(scene) == 0
        assert state_of(scene.sentinel, OFFENDER) == "watched"
        assert events(scene.sentinel, "quarantine.set") == []
