# SPDX-License-Identifier: Apache-2.0
"""A package installed on a host of its release: what works, what stays and what goes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from sentinel import __version__
from tests.harness.release_host import Host

pytestmark = [pytest.mark.slow, pytest.mark.alone]

PINS = "sys/fs/bpf/tapsentinel"
NUMBER = "/run/daemon.pid"
READY_S = 60


def begin_to_guard(host: Host) -> None:
    """A daemon runs, and has pinned its programs on a tap."""
    host.add_tap("tap-guest")
    host.start("sh", "-c", f"echo $$ >{NUMBER}; exec tapsentinel daemon")
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        asked = host.run("tapsentinel", "ports", "--json")
        if asked.returncode == 0 and links(host):
            return
        time.sleep(0.2)
    raise AssertionError(f"no guard within {READY_S} s: {asked.stdout} {asked.stderr}")


def links(host: Host) -> list[str]:
    folder = host.files / PINS / "links"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def stop_daemon(host: Host) -> None:
    """As the unit's stop would."""
    host.do("sh", "-c", f"kill $(cat {NUMBER})")
    deadline_s = time.monotonic() + READY_S
    while host.run("tapsentinel", "status").returncode != 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_it_works_with_nothing_but_what_it_depends_on(host: Host, package: Path) -> None:
    host.install(package)
    assert host.do("tapsentinel", "--version").split() == ["tapsentinel", __version__]
    assert host.do("tapsentinel", "config", "check").startswith("ok: /etc/tapsentinel/")
    doctor = host.run("tapsentinel", "doctor", "--json")
    assert doctor.returncode in {0, 1}, doctor.stderr
    assert json.loads(doctor.stdout)
    begin_to_guard(host)
    assert "tap-guest" in host.do("tapsentinel", "ports")


def test_nothing_of_the_host_leaks_in(host: Host, package: Path) -> None:
    host.install(package)
    trap = "raise SystemExit('a module of the host was imported')\n"
    for folder in ("usr/lib/python3/dist-packages", "root", "tmp"):
        for name in ("msgspec.py", "sentinel.py", "sitecustomize.py", "usercustomize.py"):
            (host.files / folder / name).write_text(trap)
    said = host.do("env", "-C", "/tmp", "PYTHONPATH=/tmp", "tapsentinel", "config", "check")
    assert said.startswith("ok: ")


def test_what_is_imported_was_compiled_before(host: Host, package: Path) -> None:
    host.install(package)
    before = host.every_file()
    script = "import sys; sys.path.append('/usr/lib/tapsentinel'); import sentinel.daemon"
    said = host.run("python3", "-ISvc", script).stderr
    ours = [line for line in said.splitlines() if "/usr/lib/tapsentinel" in line]
    assert [line for line in ours if re.match(r"# code object from .*\.py'", line)] == []
    assert any("matches /usr/lib/tapsentinel/sentinel/daemon.py" in line for line in ours)
    assert host.every_file() == before


def test_everything_is_roots_and_nobody_else_may_write(contents: list[list[str]]) -> None:
    assert {owner for _, owner, _ in contents} == {"root/root"}
    assert [path for mode, _, path in contents if mode[0] != "l" and (
        mode[5] == "w" or mode[8] == "w" or "s" in mode.lower()
    )] == []  # fmt: skip
    programs = [path for mode, _, path in contents if mode[0] == "-" and "x" in mode]
    assert programs == ["./usr/bin/tapsentinel"]


def test_an_upgrade_keeps_the_guard_and_what_was_configured(host: Host, package: Path) -> None:
    host.install(package)
    configured = host.files / "etc/tapsentinel/tapsentinel.toml"
    configured.write_text('[checks.bpdu]\naction = "quarantine"\n')
    begin_to_guard(host)
    pinned = links(host)
    host.install(package)
    assert links(host) == pinned
    assert configured.read_text() == '[checks.bpdu]\naction = "quarantine"\n'
    assert "tap-guest" in host.do("tapsentinel", "ports")


def test_a_removal_is_refused_while_a_daemon_guards(host: Host, package: Path) -> None:
    host.install(package)
    begin_to_guard(host)
    removed = host.run("dpkg", "-r", "tapsentinel")
    assert removed.returncode != 0
    assert "the guard is still in the kernel" in removed.stderr
    assert links(host)
    assert "tap-guest" in host.do("tapsentinel", "ports")


def test_a_removal_takes_the_guard_and_a_purge_all(host: Host, package: Path) -> None:
    before, people = host.every_file(), host.everybody()
    host.install(package)
    assert host.everybody() != people
    begin_to_guard(host)
    stop_daemon(host)
    assert links(host)
    host.do("dpkg", "-r", "tapsentinel")
    assert not (host.files / PINS).exists()
    assert (host.files / "etc/tapsentinel/tapsentinel.toml").exists()
    assert list((host.files / "var/lib/tapsentinel").iterdir())
    host.do("dpkg", "-P", "tapsentinel")
    assert host.every_file() - before == set()
    assert before - host.every_file() == set()
    assert host.everybody() == people
    assert not (host.files / PINS).exists()
    assert not (host.files / "run/tapsentinel").exists()
