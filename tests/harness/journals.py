# SPDX-License-Identifier: Apache-2.0
"""Entries, incidents and cuts to journal, and a small disk that can be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.durations import DAY_NS
from sentinel.event import Event, Incident, Quarantine
from sentinel.journal import Journal
from sentinel.vm import UNKNOWN_VM, VmIdentity

NOON_NS = 1_700_000_000_000_000_000
VM = VmIdentity(uuid="1f1f6c2a-65c0-4c39-b9c3-51d3b4f33d6d", name="web-1", source="libvirt")


def open_journal(path: Path, max_age_ns: int = 30 * DAY_NS, max_size: int = 64_000_000) -> Journal:
    return Journal(path, max_age_ns, max_size)


def event(number: int, time_ns: int | None = None, padding: int = 0) -> Event:
    return Event(
        kind="port.appeared",
        time_ns=NOON_NS + number if time_ns is None else time_ns,
        port=f"tap{number % 7}",
        ifindex=number % 7 + 1,
        vm=VM,
        body={"number": number, "padding": "x" * padding},
    )


def incident(**changes: object) -> Incident:
    facts: dict[str, object] = {
        "id": 0,
        "check": "bpdu",
        "detail": "rstp",
        "port": "tap0",
        "ifindex": 7,
        "vm": VM,
        "mac": "fa:16:3e:24:e7:22",
        "opened_wall_ns": NOON_NS,
        "updated_wall_ns": NOON_NS + 1,
        "closed_wall_ns": None,
        "frames": 1_000_000,
        "action": "quarantine",
        "verdict": "latched",
        "frame_hex": "0180c2000000fa163e24e722",
        "summary": "VM web-1 sent spanning tree into tap0.",
        "uplink": False,
    }
    return Incident(**{**facts, **changes})  # type: ignore[arg-type]


def quarantine(**changes: object) -> Quarantine:
    facts: dict[str, object] = {
        "port": "tap0",
        "ifindex": 7,
        "vm": UNKNOWN_VM,
        "cause": "bpdu",
        "reason": "the first BPDU",
        "uid": None,
        "since_wall_ns": NOON_NS,
        "hold_ns": 300_000_000_000,
        "until_wall_ns": NOON_NS + 300_000_000_000,
        "relapses": 0,
    }
    return Quarantine(**{**facts, **changes})  # type: ignore[arg-type]


class SmallDisk:
    """A file system of its own, of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    def fill(self) -> None:
        """Leave not one free block."""
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self._filling.unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int = 4 << 20) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    path.mkdir()
    options = f"size={size_bytes},nr_inodes=100"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tapsentinel-test", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
