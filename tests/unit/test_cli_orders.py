# SPDX-License-Identifier: Apache-2.0
"""Orders with no daemon: who may give them, and what is said about it.

That the kernel obeys is proved where there is one, in tests/kernel.
"""

from __future__ import annotations

import json
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import sentinel.loader
from sentinel.cli import main
from sentinel.errors import NotArmedError, PortGoneError, RefusedError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give such orders")


@dataclass(frozen=True)
class Done:
    changed: bool
    port: str
    ifindex: int


class Pins(types.ModuleType):
    """Takes the orders that `loader.offline` would write to the pinned maps."""

    def __init__(self) -> None:
        super().__init__("sentinel.loader.offline")
        self.orders: list[tuple[object, ...]] = []
        self.error: Exception | None = None

    def quarantine(
        self, bpffs_dir: Path, port_name: str, hold_ns: int | None, reason: str, uid: int
    ) -> Done:
        return self._take("quarantine", bpffs_dir, port_name, hold_ns, reason, uid)

    def release(self, bpffs_dir: Path, port_name: str, reason: str, uid: int) -> Done:
        return self._take("release", bpffs_dir, port_name, reason, uid)

    def _take(self, *order: object) -> Done:
        if self.error is not None:
            raise self.error
        self.orders.append(order)
        return Done(changed=True, port="tap1", ifindex=7)


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Pins:
    stand_in = Pins()
    monkeypatch.setitem(sys.modules, "sentinel.loader.offline", stand_in)
    monkeypatch.setattr(sentinel.loader, "offline", stand_in, raising=False)
    monkeypatch.delitem(sys.modules, "sentinel.cli_orders", raising=False)
    return stand_in


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "c.toml"
    file.write_text('[paths]\nrun_dir = "/nonexistent"\nbpffs_dir = "/sys/fs/bpf/ts-none"\n')
    return str(file)


def test_the_kernel_is_told_and_so_is_the_operator(
    pins: Pins, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", config, "quarantine", "tap1", "--for", "1h", "--reason", "x"]) == 0
    assert main(["--config", config, "release", "tap1"]) == 0
    out, err = capsys.readouterr()
    place = Path("/sys/fs/bpf/ts-none")
    assert pins.orders == [
        ("quarantine", place, "tap1", 3600 * 10**9, "x", os.getuid()),
        ("release", place, "tap1", "", os.getuid()),
    ]
    assert "tap1 is quarantined until" in out
    assert "tap1 is released" in out
    assert err.count("no daemon answers at /nonexistent/control.sock: the kernel was told") == 2


def test_as_json(pins: Pins, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config, "quarantine", "tap1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "port": "tap1", "ifindex": 7, "changed": True, "state": "quarantined",
        "until_wall_ns": None, "journaled": False, "daemon": False,
    }  # fmt: skip
    assert len(pins.orders) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotArmedError("no pins at /sys/fs/bpf/ts-none: nothing guards here"), 3),
        (RefusedError("tap1 is no port of the guard"), 1),
        (PortGoneError("tap1 is gone"), 1),
    ],
)
def test_what_cannot_be_done(
    pins: Pins, config: str, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    pins.error = error
    assert main(["--config", config, "quarantine", "tap1"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert str(error) in err
    assert "the kernel was told" not in err


def test_only_root_may(
    pins: Pins,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["--config", config, "quarantine", "tap1"]) == 3
    assert "without one only root can give orders to the kernel" in capsys.readouterr().err
    assert pins.orders == []


@pytest.mark.parametrize("command", ["status", "ports", "show tap1", "incidents", "watch"])
def test_nothing_else_touches_the_kernel(pins: Pins, config: str, command: str) -> None:
    assert main(["--config", config, *command.split()]) == 3
    assert pins.orders == []
