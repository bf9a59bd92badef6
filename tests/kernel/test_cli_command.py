# SPDX-License-Identifier: Apache-2.0
"""The command as a process, against the real control socket."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.canned_control import (
    CannedControl,
    canned_control,
    incident,
    port,
    run_directory,
    uplink,
)
from tests.harness.waiting import PATIENCE, wait_until

CLI = [sys.executable, "-m", "sentinel.cli"]


@pytest.fixture
def control() -> Iterator[CannedControl]:
    with canned_control() as served:
        served.daemon.ports_answer = [port("tap1", 1), port("tap2", 2), uplink("bond0", 3)]
        write_config(served.path.parent)
        yield served


def write_config(place: Path, more: str = "") -> Path:
    file = place / "c.toml"
    file.write_text(f'[paths]\nrun_dir = "{place}"\nbpffs_dir = "/sys/fs/bpf/ts-none"\n{more}')
    return file


def run(
    control: CannedControl | Path, *argv: str, **given: str
) -> subprocess.CompletedProcess[str]:
    place = control if isinstance(control, Path) else control.path.parent
    environment = {**os.environ, "TERM": "xterm", **given}
    environment.pop("NO_COLOR", None)
    return subprocess.run(
        [*CLI, "--config", str(place / "c.toml"), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, **given},
    )


class TestJson:
    def test_ports_is_the_list_that_the_daemon_gave(self, control: CannedControl) -> None:
        done = run(control, "ports", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == control.daemon.ports_answer
        assert done.stdout.count("\n") == 1

    @pytest.mark.parametrize("argv", ["status", "show tap1", "incidents"])
    def test_others(self, control: CannedControl, argv: str) -> None:
        control.daemon.incidents_answer = [incident(1)]
        done = run(control, *argv.split(), "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)

    def test_what_a_terminal_would_obey_is_escaped(self, control: CannedControl) -> None:
        evil = "web\x1b[2J\x7f\x9b2J\u202e"
        control.daemon.ports_answer = [port("tap1", 1, vm={"name": evil})]
        done = run(control, "ports", "--json")
        assert done.stdout.removesuffix("\n").isprintable()
        assert json.loads(done.stdout)[0]["vm"]["name"] == evil

    def test_watch_is_one_object_a_line(self, control: CannedControl) -> None:
        control.tell(3)
        # A shell that runs the tests in the background has SIGINT ignored in all of them.
        with subprocess.Popen(
            ["env", "--default-signal=INT", *CLI, "--config", str(control.path.parent / "c.toml"),
             "watch", "--json", "--after", "1"],
            stdout=subprocess.PIPE,
        ) as watching, contextlib.ExitStack() as stack:  # fmt: skip
            stack.callback(watching.kill)
            assert watching.stdout is not None
            seen = [json.loads(watching.stdout.readline())["seq"] for _ in range(2)]
            control.tell(1)
            seen.append(json.loads(watching.stdout.readline())["seq"])
            watching.send_signal(signal.SIGINT)
            assert watching.wait(10) == 0
        assert seen == [2, 3, 4]


class TestText:
    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ("status", "98 ports watched"),
            ("ports", "bond0"),
            ("show tap1", "last incidents"),
            ("incidents -v", "0180 c200 0000"),
        ],
    )
    def test_commands(self, control: CannedControl, argv: str, words: str) -> None:
        control.daemon.incidents_answer = [incident(1)]
        done = run(control, *argv.split())
        assert (done.returncode, done.stderr) == (0, "")
        assert words in done.stdout
        assert "\x1b" not in done.stdout

    @pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
    def test_colour_on_a_terminal(
        self, control: CannedControl, no_color: str, coloured: bool
    ) -> None:
        control.daemon.ports_answer = [port("tap1", 1, state="quarantined")]
        ours, theirs = pty.openpty()
        try:
            done = subprocess.run(
                [*CLI, "--config", str(control.path.parent / "c.toml"), "ports"],
                stdout=theirs,
                timeout=60,
                check=True,
                env={**os.environ, "TERM": "xterm", "NO_COLOR": no_color},
            )
            said = os.read(ours, 65536)
        finally:
            os.close(ours)
            os.close(theirs)
        assert done.returncode == 0
        assert (b"\x1b[31mtap1" in said) is coloured

    def test_a_terminal_that_cannot_show_it(self, control: CannedControl) -> None:
        control.daemon.ports_answer = [port("tap1", 1, vm={"name": "東京"})]
        done = run(control, "ports", PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert "\\u6771" in done.stdout

    def test_a_reader_that_has_seen_enough(self, control: CannedControl) -> None:
        control.daemon.ports_answer = [port(f"tap{n}", n) for n in range(3000)]
        with subprocess.Popen(
            [*CLI, "--config", str(control.path.parent / "c.toml"), "ports"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as listing:
            assert listing.stdout is not None
            assert listing.stderr is not None
            listing.stdout.readline()
            listing.stdout.close()
            assert listing.wait(30) == 0
            assert listing.stderr.read() == b""

    def test_watch_says_when_the_daemon_ends(self, control: CannedControl) -> None:
        with subprocess.Popen(
            [*CLI, "--config", str(control.path.parent / "c.toml"), "watch"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as watching:
            wait_until(lambda: control.server.watchers, 30, "the watch")
            control.tell(1)
            assert watching.stdout is not None
            assert watching.stderr is not None
            assert b"spanning tree" in watching.stdout.readline()
            control.stop()
            assert watching.wait(10) == 3
            assert b"ended the watch" in watching.stderr.read()


class TestOrders:
    def test_quarantine_and_release_are_idempotent(self, control: CannedControl) -> None:
        first = run(control, "quarantine", "tap1", "--for", "1h", "--reason", "noise")
        again = run(control, "quarantine", "tap1")
        released = run(control, "release", "tap1", "--reason", "mended")
        idle = run(control, "release", "tap1", "--json")
        assert [done.returncode for done in (first, again, released, idle)] == [0] * 4
        assert "tap1 is quarantined until" in first.stdout
        assert "tap1 was already quarantined until it is released" in again.stdout
        assert "tap1 is released" in released.stdout
        assert json.loads(idle.stdout)["changed"] is False
        assert [order[:4] for order in control.daemon.orders] == [
            ("quarantine", "tap1", 3600 * 10**9, "noise"),
            ("quarantine", "tap1", None, ""),
            ("release", "tap1", None, "mended"),
            ("release", "tap1", None, ""),
        ]
        assert {order[4].uid for order in control.daemon.orders} == {os.getuid()}

    @pytest.mark.parametrize("argv", ["show nix", "quarantine nix", "release nix"])
    def test_not_found(self, control: CannedControl, argv: str) -> None:
        done = run(control, *argv.split())
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == "tapsentinel: nix: no such port here; `tapsentinel ports` lists them\n"
        )

    def test_complaints_are_harmless(self, control: CannedControl) -> None:
        done = run(control, "show", "nix\x1b[2J\x9b\n")
        assert done.returncode == 1
        assert "nix\\x1b[2J\\x9b\\x0a: no such port" in done.stderr
        assert done.stderr.removesuffix("\n").isprintable()

    def test_a_reason_too_long_is_usage(self, control: CannedControl) -> None:
        assert run(control, "release", "tap1", "--reason", "x" * 500).returncode == 2
        assert control.daemon.orders == []

    def test_a_port_whose_name_is_no_text(self, control: CannedControl) -> None:
        done = subprocess.run(
            [*CLI, "--config", str(control.path.parent / "c.toml"), "show", b"\xff\x1b[2J"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert b"\x1b" not in done.stderr


class TestNoDaemon:
    @pytest.mark.parametrize("argv", ["status", "ports", "ports --json", "watch", "incidents"])
    def test_code_3_and_what_to_do(self, argv: str) -> None:
        with run_directory() as place:
            write_config(place)
            done = run(place, *argv.split())
        assert (done.returncode, done.stdout) == (3, "")
        assert f"no daemon answers at {place}/control.sock" in done.stderr
        assert "systemctl status tapsentinel" in done.stderr

    def test_one_that_stands_still(self, control: CannedControl) -> None:
        # For longer than the command takes to begin, and then waits.
        control.stall(4 + 2 * PATIENCE)
        begun = time.monotonic()
        done = run(control, "status")
        assert done.returncode == 3
        assert time.monotonic() - begun < 15 * PATIENCE
        assert "is it stopped, or hanging?" in done.stderr


class TestConfiguration:
    def test_a_slip_elsewhere_is_told_and_the_command_goes_on(self, control: CannedControl) -> None:
        write_config(control.path.parent, '[checks.bpdu]\nactoin = "drop"\n')
        done = run(control, "release", "tap1")
        assert done.returncode == 0
        assert "c.toml: checks.bpdu.actoin" in done.stderr
        assert len(control.daemon.orders) == 1

    def test_with_json_it_is_told_when_nobody_answers(self) -> None:
        with run_directory() as place:
            write_config(place, '[checks.bpdu]\nactoin = "drop"\n')
            done = run(place, "ports", "--json")
        assert done.returncode == 3
        assert "c.toml: checks.bpdu.actoin" in done.stderr

    @pytest.mark.parametrize("argv", ["status", "ports --json", "release tap1", "watch"])
    def test_paths_that_cannot_be_known_end_it(self, argv: str) -> None:
        with run_directory() as place:
            (place / "c.toml").write_text("[paths]\nrun_dri = '/x'\n")
            done = run(place, *argv.split())
        assert (done.returncode, done.stdout) == (2, "")
        assert "c.toml: paths.run_dri" in done.stderr

    def test_a_file_that_is_not_there(self) -> None:
        with run_directory() as place:
            done = run(place, "ports", "--json")
        assert done.returncode == 2
        assert "c.toml: does not exist" in done.stderr


@pytest.mark.alone
def test_a_thousand_ports_in_time(control: CannedControl) -> None:
    control.daemon.ports_answer = [port(f"tap{n}", n) for n in range(1000)]
    wall_s, cpu_s = [], []
    for _ in range(7):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = run(control, "ports", "--json")
        wall_s.append(time.monotonic() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert len(json.loads(done.stdout)) == 1000
    print(f"1,000 ports: {min(wall_s) * 1000:.0f} ms, {min(cpu_s) * 1000:.0f} ms of a CPU")
    if PATIENCE > 1:
        pytest.skip("an emulated machine measures no speed")
    assert min(cpu_s) < 0.150
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if min(wall_s) >= 0.150 and load > 2 * cpus:
        pytest.skip(f"the machine is busy (load {load:.0f}): {min(wall_s) * 1000:.0f} ms")
    assert min(wall_s) < 0.150


def test_something_that_is_no_daemon() -> None:
    with run_directory() as place, contextlib.ExitStack() as stack:
        write_config(place)
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(place / "control.sock"))
        listening.listen(1)
        with subprocess.Popen(
            [*CLI, "--config", str(place / "c.toml"), "status"], stderr=subprocess.PIPE
        ) as asking:
            served, _ = listening.accept()
            with served:
                served.sendall(b'\x1b[2J{"ok":true,"result":{}}\n')
            assert asking.wait(30) != 0
            assert asking.stderr is not None
            said = asking.stderr.read()
    assert b"no answer" in said
    assert b"\x1b" not in said
