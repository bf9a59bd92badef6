# SPDX-License-Identifier: Apache-2.0
"""What a daemon refuses to start with, before it touches anything, and in words that help."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
from collections.abc import Iterator

import pytest

from sentinel.cli import main
from tests.harness.daemon import COMMAND, Sentinel
from tests.harness.frames import Bpdu, bpdu
from tests.harness.guarded import COUNT, DROP, OFFENDER, guarded, needs_daemon
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.users import STRANGER_UID, as_user

pytestmark = needs_daemon


def try_to_start(sentinel: Sentinel) -> subprocess.CompletedProcess[str]:
    return sentinel.cli("daemon", timeout_s=20)


def test_a_second_daemon_on_the_same_pins_is_refused() -> None:
    with guarded(DROP) as scene:
        with Sentinel(scene.lab.hypervisor.netns, DROP) as second:
            second.pins, own = scene.sentinel.pins, second.pins
            second.configure(DROP)
            done = try_to_start(second)
            second.pins = own
        assert done.returncode not in (0, None)
        assert "another tapsentinel daemon" in done.stderr
        assert str(scene.sentinel.pins) in done.stderr
        assert "Traceback" not in done.stderr
        # The first one did not notice.
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        assert scene.counters(OFFENDER)["from_guest"]["dropped"]["bpdu"] == 1
        assert scene.wire.bpdus() == 0
        assert len(scene.sentinel.ports()) == 4


def test_a_second_daemon_on_the_same_socket_is_refused() -> None:
    with guarded(COUNT, taps=[OFFENDER]) as scene:
        with Sentinel(scene.lab.hypervisor.netns, COUNT) as second:
            text = scene.sentinel.config.read_text()
            second.config.write_text(text.replace(str(scene.sentinel.pins), str(second.pins)))
            done = try_to_start(second)
        assert done.returncode not in (0, None)
        assert "Traceback" not in done.stderr
        assert scene.sentinel.json("status")["pid"] == scene.sentinel.process.pid  # type: ignore[union-attr]


BAD = {
    "a typo": ('[checks.bpdu]\nacton = "drop"', "checks.bpdu.acton", "action"),
    "a wrong type": ('[ports]\ninclude = "tap*"', "ports.include", ""),
    "an unknown key": ("[guard]\nlevel = 11", "guard", ""),
    "an unknown action": ('[checks.bpdu]\naction = "kill"', "checks.bpdu.action", "quarantine"),
    "an impossible hold": ('[hold]\ninitial = "2h"\nmax = "1h"', "hold.initial", "hold.max"),
    "a hold of nothing": ('[hold]\ninitial = "0s"', "hold.initial", ""),
    "no TOML": ("[checks.bpdu\n", "", "line"),
    "loader": ('[kernel]\nloader = "bc"', "kernel.loader", "libbpf"),
    "mqtt": ("[mqtt]\nenabled = true", "mqtt.host", "mqtt.example.net"),
}


@pytest.fixture(scope="module")
def idle() -> Iterator[Sentinel]:
    with Namespace("hv") as netns, Tap("tap0", netns) as tap, Sentinel(netns) as sentinel:
        tap.up()
        yield sentinel


@pytest.mark.parametrize(("text", "key", "hint"), BAD.values(), ids=BAD)
def test_a_bad_configuration_is_refused_before_anything_is_attached(
    idle: Sentinel, text: str, key: str, hint: str
) -> None:
    idle.configure({})
    paths = idle.config.read_text().partition("\n[kernel]")[0]
    idle.config.write_text(f"{paths}\n{text}\n")
    for done in (try_to_start(idle), idle.cli("config", "check")):
        assert done.returncode not in (0, None)
        said = done.stdout + done.stderr
        assert str(idle.config) in said
        assert key in said
        assert hint in said
        assert "Traceback" not in said
    assert not idle.pins.exists()
    assert not (idle.directory / "run").exists()
    assert not (idle.directory / "state").exists()


def test_without_root_it_says_so() -> None:
    def start() -> object:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = main(["daemon", "--config", "/dev/null"])
        return [code, said.getvalue()]

    # Before the user changes: that one may read nothing of ours.
    for name in ("sentinel.cli_config", "sentinel.daemon"):
        importlib.import_module(name)
    code, said = as_user(start, STRANGER_UID, STRANGER_UID)
    assert code != 0
    assert "root" in said


def test_a_configuration_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        [COMMAND, "daemon", "--config", "/nonexistent/c.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode not in (0, None)
    assert "/nonexistent/c.toml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["/proc/ts-pins", "/sys/ts-pins"])
def test_pins_that_cannot_be_are_named(where: str) -> None:
    with Namespace("hv") as netns, Sentinel(netns) as sentinel:
        text = sentinel.config.read_text()
        sentinel.config.write_text(text.replace(str(sentinel.pins), where))
        done = try_to_start(sentinel)
        assert done.returncode not in (0, None)
        assert where in done.stderr
        assert "Traceback" not in done.stderr
