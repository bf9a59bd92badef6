# SPDX-License-Identifier: Apache-2.0
"""Looking for qemus in a /proc of one's own making: which are read, and when again."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from sentinel.identity.qemu import QemuPorts
from sentinel.vm import VmIdentity, VmPort

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"


def cmdline(path: str, *more: str) -> bytes:
    words = ["/usr/bin/qemu-system-x86_64", "-uuid", UUID, "-chardev", f"socket,id=c,path={path}"]
    return "\0".join([*words, "-netdev", "vhost-user,chardev=c", *more, ""]).encode()


def process(proc: Path, pid: int, words: bytes = b"sh\0", start_ticks: int = 1) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    numbers = " ".join(str(one) for one in (*[1] * 5, 0, *[0] * 12, start_ticks, 0))
    (proc / str(pid) / "stat").write_text(f"{pid} (qemu) S {numbers}\n")
    (proc / str(pid) / "cmdline").write_bytes(words)


@pytest.fixture
def qemus(tmp_path: Path) -> QemuPorts:
    (tmp_path / "pci").mkdir()
    (tmp_path / "self").mkdir()
    return QemuPorts(tmp_path, tmp_path / "pci")


def port(pid: int, path: str) -> VmPort:
    return VmPort("vhost-user", VmIdentity(UUID, None, "fdinfo", pid=pid), source=path)


def test_qemus_are_found_and_go(qemus: QemuPorts, tmp_path: Path) -> None:
    process(tmp_path, 7, b"")
    process(tmp_path, 8, b"grep\0qemu-system-x86_64\0-netdev\0vhost-user,chardev=c\0")
    (tmp_path / "9").mkdir()
    process(tmp_path, 10, cmdline("/run/b"))
    process(tmp_path, 11, cmdline("/run/a"))
    assert qemus.find() == [port(10, "/run/b"), port(11, "/run/a")]
    shutil.rmtree(tmp_path / "10")
    assert qemus.find() == [port(11, "/run/a")]


def test_a_pid_used_again_is_another_qemu(qemus: QemuPorts, tmp_path: Path) -> None:
    process(tmp_path, 10, cmdline("/run/a"))
    first = qemus.find()
    process(tmp_path, 10, cmdline("/run/b"))
    assert qemus.find() == first
    process(tmp_path, 10, cmdline("/run/b"), start_ticks=2)
    assert qemus.find() == [port(10, "/run/b")]


def test_devices_passed_through_are_asked_for_in_sys(qemus: QemuPorts, tmp_path: Path) -> None:
    for address, pci_class in (("0000:01:00.0", "0x030000"), ("0000:3b:00.1", "0x020000")):
        (tmp_path / "pci" / address).mkdir()
        (tmp_path / "pci" / address / "class").write_text(pci_class)
    devices = [f"vfio-pci,host={one}" for one in ("01:00.0", "3b:00.1", "77:00.0")]
    words = [word for device in devices for word in ("-device", device)]
    process(tmp_path, 10, cmdline("/run/a", *words))
    found = [(one.kind, one.source) for one in qemus.find()]
    assert sorted(found) == [("nic", "0000:3b:00.1"), ("vhost-user", "/run/a")]


def test_what_becomes_qemu_is_read_when_it_is_twice_as_old(
    qemus: QemuPorts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("sentinel.identity.qemu.boot_s", lambda: now_s)
    ticks_per_s = qemus._ticks_per_s
    for pid, age_s in ((10, 1), (11, 999)):
        process(tmp_path, pid, start_ticks=(1000 - age_s) * ticks_per_s)
    assert qemus.find() == []
    for pid, age_s in ((10, 1), (11, 999)):
        process(tmp_path, pid, cmdline(f"/{pid}"), (1000 - age_s) * ticks_per_s)
    now_s = 1000.9
    assert qemus.find() == []
    now_s = 1001.1
    assert qemus.find() == [port(10, "/10")]
    now_s = 1060.1
    assert qemus.find() == [port(10, "/10"), port(11, "/11")]


def test_thousands_of_processes_are_looked_at_a_part_at_a_time(tmp_path: Path) -> None:
    for pid in range(1000, 2000):
        process(tmp_path, pid)
    process(tmp_path, 999, cmdline("/run/a"))
    qemus = QemuPorts(tmp_path, tmp_path, budget_s=0.005)
    started_s = time.monotonic()
    assert qemus.find() == []
    assert qemus.unfinished > 0
    assert time.monotonic() - started_s < 1
    for _ in range(1000):
        if qemus.find():
            break
    assert qemus.find() == [port(999, "/run/a")]
