# SPDX-License-Identifier: Apache-2.0
"""Orders to a running daemon: obeyed at once, twice is once, and written down."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.cli import main
from tests.harness.blast import Blast
from tests.harness.daemon import COMMAND
from tests.harness.frames import GUEST_MAC
from tests.harness.guarded import (
    COUNT,
    OFFENDER,
    Scene,
    events,
    guarded,
    needs_daemon,
    ordinary_frames,
)
from tests.harness.hypervisor import OUTSIDE_MAC
from tests.harness.packets import udp_frame
from tests.harness.users import STRANGER_UID, as_user
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

FLOOD = udp_frame(GUEST_MAC, OUTSIDE_MAC, "192.0.2.99", "192.0.2.1", payload=bytes(200))


@pytest.fixture(scope="module")
def shared() -> Iterator[Scene]:
    with guarded(COUNT) as scene:
        yield scene


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    yield shared
    shared.sentinel.cli("release", OFFENDER)


def ordered(scene: Scene, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.sentinel.json(*words)
    return found


def test_from_the_commands_exit_no_frame_passes(scene: Scene) -> None:
    start = scene.wire.frames_from(GUEST_MAC)
    with Blast(scene.tap(OFFENDER), [FLOOD, *ordinary_frames().values()]) as running:
        scene.wire.wait_for(start + 1000, GUEST_MAC)
        done = scene.sentinel.cli("quarantine", OFFENDER, "--reason", "it floods")
        at_exit = scene.wire.frames_from(GUEST_MAC)
        assert done.returncode == 0, done.stderr
        sent_at_exit = running.accepted
        wait_until(lambda: running.accepted > sent_at_exit + 20_000, 30, "the flood to go on")
        assert scene.wire.frames_from(GUEST_MAC) == at_exit
        assert scene.sentinel.cli("release", OFFENDER).returncode == 0
        scene.wire.wait_for(at_exit + 1000, GUEST_MAC)


def test_both_orders_are_idempotent_and_journaled_with_uid_and_reason(scene: Scene) -> None:
    already = len(events(scene.sentinel))
    first = ordered(scene, "quarantine", OFFENDER, "--reason", "ticket 7", "--for", "1h")
    again = ordered(scene, "quarantine", OFFENDER, "--reason", "ticket 8", "--for", "2h")
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["state"] == again["state"] == "quarantined"
    assert again["until_wall_ns"] > first["until_wall_ns"]
    assert first["journaled"]
    freed = ordered(scene, "release", OFFENDER, "--reason", "mended")
    idle = ordered(scene, "release", OFFENDER)
    assert (freed["changed"], idle["changed"]) == (True, False)
    told = [
        one for one in events(scene.sentinel)[already:] if one["kind"].startswith("quarantine.")
    ]
    assert [(one["kind"], one["body"]["changed"]) for one in told] == [
        ("quarantine.set", True),
        ("quarantine.set", False),
        ("quarantine.released", True),
        ("quarantine.released", False),
    ]
    assert [one["body"].get("reason") for one in told[:2]] == ["ticket 7", "ticket 8"]
    assert [one["body"]["uid"] for one in told[:2]] == [0, 0]
    assert told[2]["body"]["release_reason"] == "mended"
    assert told[2]["body"]["by_uid"] == 0


def test_watch_tells_an_order_as_it_is_journaled(scene: Scene) -> None:
    watching = scene.lab.hypervisor.netns.popen(
        [COMMAND, "watch", "--json", "--after", "0", "--config", scene.sentinel.config]
    )
    scene.sentinel.cli("quarantine", OFFENDER, "--reason", "seen by a watcher")
    assert watching.stdout is not None
    for line in watching.stdout:
        one = json.loads(line)
        if one["kind"] == "quarantine.set" and one["body"]["reason"] == "seen by a watcher":
            assert one["body"]["uid"] == 0
            break
    watching.kill()
    watching.wait()


def test_what_cannot_be_ordered_is_refused_with_the_reason(scene: Scene) -> None:
    unknown = scene.sentinel.cli("quarantine", "tapnone")
    assert unknown.returncode == 1
    assert "tapnone" in unknown.stderr
    uplink = scene.sentinel.cli("quarantine", scene.lab.hypervisor.uplink)
    assert uplink.returncode == 1
    assert "uplink" in uplink.stderr
    assert scene.sentinel.cli("quarantine", OFFENDER, "--for", "soon").returncode == 2


def test_a_stranger_is_refused_and_journaled(scene: Scene) -> None:
    path = str(scene.sentinel.directory / "run" / "control.sock")
    scene.sentinel.directory.chmod(0o755)

    def knock() -> object:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            # It may have been refused and hung up on before it says anything.
            with contextlib.suppress(BrokenPipeError):
                client.sendall(json.dumps({"op": "quarantine", "port": OFFENDER}).encode() + b"\n")
            return client.recv(4096).decode()

    answer = json.loads(as_user(knock, STRANGER_UID, STRANGER_UID))
    assert answer["ok"] is False
    assert answer["code"] == "refused"
    wait_until(lambda: events(scene.sentinel, "order.refused"), 10, "the journal's entry", 0.05)
    told = events(scene.sentinel, "order.refused")[-1]
    assert told["body"]["uid"] == STRANGER_UID
    assert scene.sentinel.port(OFFENDER)["state"] == "watched"


def test_escape_sequences_are_printed_harmless(scene: Scene) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202ehidden\nline"
    done = scene.sentinel.cli("quarantine", OFFENDER, "--reason", evil)
    shown = [done]
    shown += [scene.sentinel.cli(*words) for words in (["ports"], ["show", OFFENDER], ["status"])]
    for each in shown:
        assert each.returncode == 0, each.stderr
        for hostile in ("\x1b", "\x07", "\u202e"):
            assert hostile not in each.stdout + each.stderr
    assert scene.sentinel.port(OFFENDER)["quarantine"]["reason"] == evil
    assert "\x1b" not in scene.sentinel.log()
    raw = scene.sentinel.cli("ports", "--json").stdout
    assert "\x1b" not in raw
    assert "\u202e" not in raw


def test_a_hold_is_shown_and_ends(scene: Scene) -> None:
    ordered(scene, "quarantine", OFFENDER, "--for", "1s")
    scene.wait_for_state(OFFENDER, "watched", 10)
    told = events(scene.sentinel, "quarantine.released")[-1]
    assert told["body"]["by"] == "hold"


def test_without_root_and_without_a_daemon_there_are_no_orders(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[paths]\nrun_dir = "{tmp_path}/run"\n')

    def order() -> object:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        return main(["quarantine", "tap0", "--config", "/dev/null"])

    assert as_user(order, STRANGER_UID, STRANGER_UID) in (1, 3)


def test_the_exit_code_is_that_of_no_daemon_where_nothing_is_pinned(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    paths = {"run_dir": tmp_path / "run", "bpffs_dir": "/sys/fs/bpf/ts-none"}
    config.write_text("[paths]\n" + "".join(f'{k} = "{v}"\n' for k, v in paths.items()))
    done = subprocess.run(
        [COMMAND, "quarantine", "lo", "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "start the daemon" in done.stderr
