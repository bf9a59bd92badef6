# SPDX-License-Identifier: Apache-2.0
"""What a service manager hears."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from sentinel.notify import notify, watchdog_interval_s


@pytest.mark.parametrize("abstract", [False, True])
def test_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@ts-{secrets.token_hex(4)}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1\nSTATUS=98 ports")
        assert manager.recv(100) == b"READY=1\nSTATUS=98 ports"


@pytest.mark.parametrize("place", ["", "relative", "/nonexistent/socket", "@" + "x" * 300])
def test_nobody_listens(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    assert notify("READY=1") is False


def test_a_manager_that_does_not_read_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        begun = time.monotonic()
        assert not all(notify("WATCHDOG=1") for _ in range(10_000))
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        (None, None, None),
        ("0", None, None),
        ("x", None, None),
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
    ],
)
def test_watchdog(
    usec: str | None, pid: str | None, interval_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value.replace("own", str(os.getpid())))
    assert watchdog_interval_s() == interval_s
