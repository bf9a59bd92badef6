# SPDX-License-Identifier: Apache-2.0
"""Looking for tap holders in a /proc of one's own making: odd processes, time, order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sentinel.identity.fdinfo import TapHolders
from sentinel.identity.process import PF_KTHREAD
from sentinel.vm import VmIdentity

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"


class Proc:
    """A /proc that can be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process("self", fds={})

    def process(
        self,
        pid: int | str,
        *,
        fds: dict[int, str],
        command: str = "qemu-system-x86",
        cmdline: bytes = b"qemu\0",
        flags: int = 0,
        start_ticks: int = 1,
        netns: str = "netns",
    ) -> None:
        """`fds` says which tap each descriptor of /dev/net/tun is for; "" is none yet."""
        process = self.root / str(pid)
        for name in ("fd", "fdinfo", "ns"):
            (process / name).mkdir(parents=True, exist_ok=True)
        (self.root / netns).touch()
        net = process / "ns/net"
        net.unlink(missing_ok=True)
        net.symlink_to(self.root / netns)
        numbers = " ".join(str(one) for one in (1, 1, 1, 0, -1, flags, *[0] * 12, start_ticks, 0))
        (process / "stat").write_text(f"{pid} ({command}) S {numbers}\n")
        (process / "cmdline").write_bytes(cmdline)
        for old in (process / "fd").iterdir():
            old.unlink()
        (process / "fd/0").symlink_to("/dev/null")
        for fd, tap in fds.items():
            (process / f"fd/{fd}").symlink_to("/dev/net/tun")
            line = f"iff:\t{tap}\n" if tap else ""
            (process / f"fdinfo/{fd}").write_text(f"pos:\t0\nflags:\t02\n{line}")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def test_odd_processes_are_passed_over(proc: Proc) -> None:
    proc.process(10, fds={3: "tap0"}, command="libvirtd")
    proc.process(11, fds={3: "tap0"}, command="kworker/0:1", flags=PF_KTHREAD)
    proc.process(12, fds={3: ""})
    proc.process(13, fds={3: "tap0"}, netns="another")
    (proc.root / "14").mkdir()
    (proc.root / "15").mkdir()
    (proc.root / "15/stat").write_text("15 (no end")
    holders = TapHolders(proc.root)
    assert holders.find(["tap0"]) == {}
    proc.process(
        16, fds={3: "tap0"}, command="evil) S (name", cmdline=b"q\0-uuid\0" + UUID.encode()
    )
    assert holders.find(["tap0"]) == {"tap0": VmIdentity(UUID, None, "fdinfo", pid=16)}


def test_the_vm_goes_before_its_helpers(proc: Proc) -> None:
    for pid in (10, 12):
        proc.process(pid, fds={3: "tap0"}, command="helper", cmdline=b"helper\0")
    proc.process(11, fds={3: "tap0", 4: "tap1"}, cmdline=b"qemu\0-uuid\0" + UUID.encode())
    holders = TapHolders(proc.root)
    # All three are known once each was looked at for a tap that nobody has.
    holders.find(["none"])
    assert holders.find(["tap0"])["tap0"].pid == 11


def test_a_pid_used_again_is_another_process(proc: Proc) -> None:
    proc.process(10, fds={3: "tap0"}, cmdline=b"qemu\0-name\0first")
    holders = TapHolders(proc.root)
    assert holders.find(["tap0"])["tap0"].name == "first"
    proc.process(10, fds={3: "tap1"}, cmdline=b"qemu\0-name\0second", start_ticks=2)
    assert holders.find(["tap0"]) == {}
    assert holders.find(["tap1"])["tap1"].name == "second"


def test_a_process_without_taps_is_looked_at_again_when_it_is_twice_as_old(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("sentinel.identity.fdinfo.boot_s", lambda: now_s)
    holders = TapHolders(proc.root)
    ticks_per_s = holders._ticks_per_s
    proc.process(10, fds={}, start_ticks=999 * ticks_per_s)
    proc.process(11, fds={}, start_ticks=1)
    assert holders.find(["tap0", "tap1"]) == {}
    proc.process(10, fds={3: "tap0"}, start_ticks=999 * ticks_per_s)
    proc.process(11, fds={3: "tap1"}, start_ticks=1)
    now_s = 1000.9
    assert holders.find(["tap0", "tap1"]) == {}
    now_s = 1001.1
    assert holders.find(["tap0", "tap1"]).keys() == {"tap0"}
    now_s = 1060.1
    assert holders.find(["tap0", "tap1"]).keys() == {"tap0", "tap1"}


def test_a_process_that_has_a_tap_is_asked_for_another_at_once(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.identity.fdinfo.boot_s", lambda: 1000.0)
    holders = TapHolders(proc.root)
    proc.process(10, fds={3: "tap0"})
    assert holders.find(["tap0"]).keys() == {"tap0"}
    proc.process(10, fds={3: "tap0", 4: "tap1"})
    assert holders.find(["tap1"]).keys() == {"tap1"}


def test_thousands_of_processes_are_looked_at_a_part_at_a_time(proc: Proc) -> None:
    for pid in range(1000, 2000):
        proc.process(pid, fds={})
    proc.process(999, fds={3: "tap0"})
    holders = TapHolders(proc.root, budget_s=0.01)
    started_s = time.monotonic()
    assert holders.find(["tap0"]) == {}
    assert holders.unfinished > 0
    assert time.monotonic() - started_s < 1
    for _ in range(1000):
        if holders.find(["tap0"]):
            break
    assert holders.find(["tap0"])["tap0"].pid == 999
