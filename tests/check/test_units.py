# SPDX-License-Identifier: Apache-2.0
"""The units ask for no more than they say; what they run in practice is tests/vm's to show."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
# In tenths, as systemd-analyze(1) takes a threshold.
EXPOSED_AT_MOST = {"tapsentinel.service": 15, "tapsentinel-mqtt.service": 10}
# Lines that stand for what the analysis calls otherwise.
EXPLAINED_AS = {
    "UserOrDynamicUser": "User=",
    "RootDirectoryOrRootImage": "RootDirectory=",
    "SystemCallFilter_privileged": "bpf",
    "CapabilityBoundingSet_CAP_BPF": "CAP_BPF",
    "CapabilityBoundingSet_CAP_NET_ADMIN": "CAP_NET_ADMIN",
    "RestrictAddressFamilies_AF_UNIX": "AF_UNIX",
    "RestrictAddressFamilies_AF_NETLINK": "AF_NETLINK",
    "RestrictAddressFamilies_AF_INET_INET6": "AF_INET",
    "IPAddressDeny": "IPAddressAllow=",
}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)"
)


def _lines(unit: str) -> list[str]:
    text = (PACKAGING / unit).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _comments(unit: str) -> str:
    text = (PACKAGING / unit).read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.startswith("# "))


def _analyzed(unit: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", *options, PACKAGING / unit],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SYSTEMD_PAGER": ""},
    )


@needs_systemd
@pytest.mark.parametrize("unit", EXPOSED_AT_MOST)
def test_a_unit_is_exposed_no_more_than_it_has_to_be(unit: str) -> None:
    done = _analyzed(unit, f"--threshold={EXPOSED_AT_MOST[unit]}")
    assert done.returncode == 0, done.stdout[-200:]


@needs_systemd
@pytest.mark.parametrize("unit", EXPOSED_AT_MOST)
def test_what_could_not_be_set_is_explained(unit: str) -> None:
    rows = json.loads(_analyzed(unit, "--json=short").stdout)
    comments = _comments(unit)
    unset = [row["json_field"] for row in rows if float(row["exposure"] or 0) > 0]
    silent = [field for field in unset if EXPLAINED_AS.get(field, field) not in comments]
    assert silent == []


def test_the_daemon_is_there_before_what_makes_taps() -> None:
    before = {
        word
        for line in _lines("tapsentinel.service")
        if line.startswith("Before=")
        for word in line.removeprefix("Before=").split()
    }
    assert {"libvirtd.service", "virtqemud.service", "nova-compute.service"} <= before
    # Only an order: a guard that cannot start must not keep guests from it.
    words = ("RequiredBy=", "Requires=", "BindsTo=", "FailureAction=")
    assert not [line for line in _lines("tapsentinel.service") if line.startswith(words)]


def test_stopping_the_daemon_leaves_the_guard() -> None:
    stops = ("ExecStop=", "ExecStopPost=")
    assert not [line for line in _lines("tapsentinel.service") if line.startswith(stops)]


@pytest.mark.parametrize("unit", EXPOSED_AT_MOST)
def test_a_unit_is_tried_again_and_again_and_less_and_less_often(unit: str) -> None:
    lines = _lines(unit)
    assert {"Restart=always", "StartLimitIntervalSec=0", "RestartSteps=5"} <= set(lines)


def test_the_publisher_has_no_capability() -> None:
    lines = _lines("tapsentinel-mqtt.service")
    assert {"CapabilityBoundingSet=", "AmbientCapabilities=", "User=tapsentinel-mqtt"} <= set(lines)
