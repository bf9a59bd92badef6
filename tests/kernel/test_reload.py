# SPDX-License-Identifier: Apache-2.0
"""A changed configuration in a running daemon: who is watched, who is cut, who is told."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentinel.loader.pins import Pins
from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.guarded import (
    COUNT,
    DROP,
    OFFENDER,
    QUARANTINE,
    Scene,
    events,
    guarded,
    needs_daemon,
    ordinary_frames,
    state_of,
)
from tests.harness.reloading import changed, config_events, hang_up, put, refusal, reload
from tests.harness.waiting import PATIENCE, patient_s, wait_until

pytestmark = needs_daemon

ALL_MAY: Tables = {"fuse": {"max_quarantined": "100%"}}


def including(*patterns: str, action: str = "quarantine") -> Tables:
    return {"ports": {"include": patterns}, "checks.bpdu": {"action": action}, **ALL_MAY}


def assert_passes(scene: Scene, name: str) -> None:
    before = scene.wire.frames_from(GUEST_MAC)
    scene.tap(name).write(ordinary_frames()["ipv4"])
    scene.wire.wait_for(before + 1, GUEST_MAC)


def hooked(scene: Scene) -> int:
    """Devices that have a link or, before tcx, a qdisc of ours."""
    return len(Pins(scene.sentinel.pins).devices())


def test_who_is_included_is_guarded_when_the_answer_comes_and_who_is_not_any_more_is_free() -> None:
    taps = ["tapone", "taptwo", "vmone"]
    with guarded(including("tap*"), taps=taps, watched=["tapone", "taptwo"]) as scene:
        scene.tap("tapone").write(bpdu(Bpdu.STP))
        scene.wait_for_state("tapone", "quarantined")
        held = scene.sentinel.port("tapone")["quarantine"]
        frames = scene.counters("taptwo")["from_guest"]["frames"]
        done = reload(scene, including("vm*", "taptwo"))
        assert done["attached"] == ["vmone"]
        assert done["released"] == ["tapone"]
        assert done["problems"] == []
        assert changed(done) == {"ports.include": ('["tap*"]', '["vm*", "taptwo"]')}
        # Before anything else is asked: the very first frame meets the guard.
        scene.tap("vmone").write(bpdu(Bpdu.STP))
        scene.wait_for_state("vmone", "quarantined")
        assert scene.wire.bpdus() == 0
        assert scene.counters("taptwo")["from_guest"]["frames"] == frames
        assert state_of(scene.sentinel, "tapone") is None
        assert hooked(scene) == 3
        assert_passes(scene, "tapone")
        (away,) = scene.sentinel.json("status")["away"]
        assert away["port"] == "tapone"
        # Watched again, it is cut for what is left of its hold.
        assert reload(scene, including("tap*", "vm*"))["attached"] == ["tapone"]
        again = scene.sentinel.port("tapone")["quarantine"]
        assert again["until_wall_ns"] == held["until_wall_ns"]
        assert scene.sentinel.port("vmone")["state"] == "quarantined"


def test_an_uplink_by_name_stays_guarded() -> None:
    with guarded(DROP, taps=[OFFENDER]) as scene:
        uplink = scene.lab.hypervisor.uplink
        before = scene.sentinel.port(uplink)
        done = reload(scene, {**DROP, "ports": {"uplinks": [uplink]}})
        assert (done["attached"], done["released"]) == ([], [])
        after = scene.sentinel.port(uplink)
        assert (after["role"], after["state"]) == ("uplink", "watched")
        assert after["ifindex"] == before["ifindex"]


def test_the_fuse_and_the_hold() -> None:
    taps = [f"tap{number}" for number in range(3)]
    few: Tables = {**QUARANTINE, "fuse": {"max_quarantined": 1}, "hold": {"initial": "1h"}}
    with guarded(few, taps=taps) as scene:
        first, second, third = taps
        scene.tap(first).write(bpdu(Bpdu.STP))
        scene.wait_for_state(first, "quarantined")
        scene.tap(second).write(bpdu(Bpdu.STP))
        wait_until(lambda: events(scene.sentinel, "quarantine.refused"), 10, "the fuse", 0.05)
        held = scene.sentinel.port(first)["quarantine"]
        short = {"max_quarantined": 2}, {"initial": patient_s(2)}
        done = reload(scene, {**QUARANTINE, "fuse": short[0], "hold": short[1]})
        assert changed(done) == {
            "fuse.max_quarantined": ("1", "2"),
            "hold.initial": ("1h", patient_s(2)),
        }
        assert scene.sentinel.json("status")["fuse"]["limit"] == 2
        scene.tap(second).write(bpdu(Bpdu.STP))
        scene.wait_for_state(second, "quarantined")
        assert scene.sentinel.port(second)["quarantine"]["hold_ns"] < 3 * 10**9 * PATIENCE
        assert scene.sentinel.port(first)["quarantine"] == held
        scene.tap(third).write(bpdu(Bpdu.STP))
        wait_until(
            lambda: events(scene.sentinel, "quarantine.refused", third), 10, "the fuse", 0.05
        )
        scene.wait_for_state(second, "watched")
        # Fewer than are cut now: nobody is freed, and nobody else is cut.
        reload(scene, few)
        assert scene.sentinel.port(first)["state"] == "quarantined"
        assert scene.wire.bpdus() == 0


def test_threshold_and_window() -> None:
    with guarded(DROP, taps=[OFFENDER]) as scene:
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        reload(scene, {"checks.bpdu": {"action": "quarantine", "threshold": 3}, **ALL_MAY})
        for _ in range(2):
            scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        assert scene.sentinel.port(OFFENDER)["state"] == "watched"
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        scene.wait_for_state(OFFENDER, "quarantined")
        assert scene.wire.bpdus() == 0


def test_what_is_told_of_it() -> None:
    with guarded(COUNT, taps=[OFFENDER]) as scene:
        same = scene.sentinel.cli("reload")
        assert same.stdout.endswith("read anew, and nothing is another\n")
        put(scene, DROP)
        done = scene.sentinel.cli("reload")
        assert done.returncode == 0
        assert "read anew, 1 key is another\n  checks.bpdu.action: count → drop\n" in done.stdout
        before = scene.sentinel.config.read_bytes()
        paths = before[: before.index(b"[checks")]
        said = refusal(scene, paths + b"[checks.bpdu]\naction = drop\n")
        assert "line 6, column 10: is not TOML" in said
        assert "the configuration of before holds" in said
        said = refusal(scene, paths + b'[checks.bpdu]\naction = "stop"\n')
        assert "checks.bpdu.action" in said
        moved = before.replace(b"/state", b"/elsewhere")
        assert "paths.state_dir: needs a restart" in refusal(scene, moved)
        # Nothing in it says where the daemon is.
        assert "is not TOML" in refusal(scene, b"[paths\n" + paths)
        assert "not UTF-8" in refusal(scene, b"\xff")
        told = config_events(scene)
        assert [one["kind"] for one in told] == ["config.loaded"] * 2 + ["config.refused"] * 3
        assert {(one["body"]["by"], one["body"]["uid"]) for one in told} == {("order", 0)}
        assert list(changed(told[1]["body"])) == ["checks.bpdu.action"]
        put(scene, DROP)
        scene.sentinel.stop()
        assert scene.sentinel.cli("reload").returncode == 3


def test_hangups_in_a_row_end_with_the_last_file() -> None:
    with guarded(COUNT, taps=[OFFENDER]) as scene:
        for tables in (DROP, COUNT, QUARANTINE):
            put(scene, tables)
            for _ in range(3):
                scene.sentinel.signal(signal.SIGHUP)
        wait_until(
            lambda: (
                scene.sentinel.json("status")["checks"]["bpdu"]["action"] == "quarantine"
                # As many as there were turns: those that come in one are one.
                and config_events(scene)
            ),
            20,
            "the last file to hold",
            0.1,
        )
        hang_up(scene)
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        scene.wait_for_state(OFFENDER, "quarantined")
        assert scene.wire.bpdus() == 0
        assert "unexpected" not in scene.sentinel.log()
        assert scene.sentinel.stop() == 0


def test_orders_that_are_under_way_are_carried_out() -> None:
    taps = [f"tap{number}" for number in range(6)]
    with guarded(DROP, taps=taps) as scene, ThreadPoolExecutor(4) as pool:
        orders = [pool.submit(scene.sentinel.cli, "quarantine", name) for name in taps]
        for tables in (COUNT, DROP):
            put(scene, tables)
            assert scene.sentinel.cli("reload").returncode == 0
        assert [one.result().returncode for one in orders] == [0] * len(taps)
        assert {state_of(scene.sentinel, name) for name in taps} == {"quarantined"}
        assert {one["port"] for one in events(scene.sentinel, "quarantine.set")} == set(taps)
        orders = [pool.submit(scene.sentinel.cli, "release", name) for name in taps]
        scene.sentinel.signal(signal.SIGHUP)
        assert [one.result().returncode for one in orders] == [0] * len(taps)
        assert {state_of(scene.sentinel, name) for name in taps} == {"watched"}


@pytest.mark.parametrize("is_wrong", [False, True], ids=["right", "wrong"])
def test_the_service_manager_is_told(
    is_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with guarded(COUNT, taps=[OFFENDER]) as scene:
            while manager.recv(4096) != b"READY=1":
                pass
            put(scene, DROP, "rubbish" if is_wrong else "")
            scene.sentinel.signal(signal.SIGHUP)
            began, usec = manager.recv(4096).decode().split("\n")
            assert began == "RELOADING=1"
            now_us = int(usec.removeprefix("MONOTONIC_USEC="))
            assert 0 <= time.monotonic_ns() // 1000 - now_us < 60_000_000
            ready, status = manager.recv(4096).decode().split("\n")
            assert ready == "READY=1"
            assert status.startswith("STATUS=guarding 2 devices")
            assert ("refused" in status) == is_wrong
            # An order's outcome is told by its exit code (ExecReload=), and by nothing before it.
            assert scene.sentinel.cli("reload").returncode == is_wrong
            assert manager.recv(4096).startswith(b"STATUS=guarding 2 devices")
