# SPDX-License-Identifier: Apache-2.0
"""What BCC compiled is kept: a later start needs no compiler, and trusts nothing damaged."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sentinel.errors import KernelError
from sentinel.loader import bcc, bcc_sources, objects, syscall
from sentinel.loader.bcc import BccLoader
from sentinel.loader.compiled import MAP_NUMBERS, Compiled, MapShape, decode_compiled, shape_of
from sentinel.loader.guard import Guard
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.pins import Pins
from tests.harness.bcc import bcc_problem
from tests.harness.compiled import COMPILED
from tests.harness.daemon import Sentinel
from tests.harness.guarded import needs_daemon
from tests.harness.namespaces import Namespace
from tests.harness.programs import own_pins, remove_pins
from tests.harness.waiting import PATIENCE, wait_until

pytestmark = [
    *needs_daemon,
    pytest.mark.skipif(bool(bcc_problem()), reason=bcc_problem()),
]


@contextlib.contextmanager
def fresh_pins() -> Iterator[Pins]:
    found = Pins(own_pins())
    found.prepare()
    try:
        yield found
    finally:
        remove_pins(found.root)


@pytest.fixture
def pins() -> Iterator[Pins]:
    with fresh_pins() as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of kept work with the one entry that these sources have."""
    folder = tmp_path / "state" / "compiled"
    with fresh_pins() as pins:
        # Compiled at most once for all of these tests.
        objects.close_all(BccLoader(None, COMPILED).load(pins))
    folder.mkdir(parents=True, mode=0o700)
    headers = bcc_sources.kernel_headers()
    loader = BccLoader()
    mark = bcc_sources.fingerprint(loader._folder, headers, loader._request(headers))
    shutil.copy2(COMPILED / f"{mark}.json", folder)
    return folder


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bcc, "_PYTHONS", (tmp_path / "no-python3",))


def entry_of(folder: Path) -> tuple[str, Compiled]:
    (path,) = folder.glob("*.json")
    return path.stem, decode_compiled(path.read_bytes()[64:])


def names_pinned(pins: Pins) -> set[str]:
    return {path.name for path in pins.map("x").parent.iterdir()}


def test_a_later_start_needs_no_compiler(pins: Pins, store: Path, no_compiler: None) -> None:
    signs: list[float] = []
    programs = BccLoader(None, store, signs.append).load(pins)
    try:
        assert set(programs) == set(objects.PROGRAM_NAMES)
        assert names_pinned(pins) == set(MAP_NAMES)
        assert not signs
    finally:
        objects.close_all(programs)


def test_what_was_compiled_is_kept(pins: Pins, store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "compiled"
    signs: list[float] = []
    objects.close_all(BccLoader(None, folder, signs.append).load(pins))
    mark, compiled = entry_of(folder)
    assert (mark, compiled) == entry_of(store)
    assert signs
    assert {code.license for code in compiled.programs.values()} == {"GPL"}
    tools = " ".join(tool.path for tool in compiled.tools)
    assert "libbcc" in tools
    assert "libLLVM" in tools or "libclang" in tools


def test_other_sources_are_compiled(
    pins: Pins, store: Path, tmp_path: Path, no_compiler: None
) -> None:
    folder = tmp_path / "bpf"
    shutil.copytree(bcc_sources.source_folder(), folder)
    with pytest.raises(KernelError, match="install python3-bpfcc"):
        BccLoader(folder, store).load(pins)
    assert not names_pinned(pins)


def test_a_damaged_entry_is_compiled_anew(pins: Pins, store: Path) -> None:
    (path,) = store.glob("*.json")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    objects.close_all(BccLoader(None, store).load(pins))
    assert path.read_bytes() == whole


def test_a_folder_of_others_is_not_used(
    pins: Pins, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark, _ = entry_of(store)
    (store / f"{mark}.json").unlink()
    store.chmod(0o777)
    objects.close_all(BccLoader(None, store).load(pins))
    assert not list(store.iterdir())
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "compiled anew" in caplog.messages[0]
    assert "not kept" in caplog.messages[1]


def test_what_the_verifier_says_is_told(pins: Pins, store: Path) -> None:
    _, compiled = entry_of(store)
    code = compiled.programs["uplink_from_wire"]
    # Returns what it never set.
    broken = msgspec.structs.replace(code, instructions=b"\x95" + bytes(7))
    programs = {**compiled.programs, "uplink_from_wire": broken}
    with pytest.raises(KernelError, match=r"refused uplink_from_wire: .*R0 !read_ok"):
        msgspec.structs.replace(compiled, programs=programs).load(pins)
    assert not names_pinned(pins)


def test_both_loaders_make_the_same_maps(store: Path) -> None:
    _, compiled = entry_of(store)
    with fresh_pins() as pins:
        objects.close_all(objects.load_all(objects.object_paths(), pins))
        for name in MAP_NUMBERS:
            fd = syscall.open_pin(pins.map(name))
            try:
                assert shape_of(fd) == compiled.maps[name], name
            finally:
                os.close(fd)


OTHER_SHAPES = {
    "a longer value": {"value_size": 64},
    "a longer key": {"map_type": 1, "key_size": 8},
    "more entries": {"max_entries": 4096},
    "another type": {"map_type": 6},
    "other flags": {"map_flags": 0x400},
}


@pytest.mark.parametrize("other", OTHER_SHAPES)
@pytest.mark.parametrize("loader", ["libbpf", "bcc"])
def test_a_pinned_map_of_another_shape_is_refused(
    pins: Pins, store: Path, loader: str, other: str
) -> None:
    _, compiled = entry_of(store)
    usual = compiled.maps["tap_gates"]
    shape: MapShape = msgspec.structs.replace(usual, **OTHER_SHAPES[other])
    name = "tap_gates"
    fd = syscall.create_map(
        name, shape.map_type, shape.key_size, shape.value_size, shape.max_entries, shape.map_flags
    )
    syscall.pin(fd, pins.map(name))
    guard = Guard(pins.root, "auto", loader=loader, compiled_folder=store)
    try:
        with pytest.raises(KernelError, match=r"another shape|parameter mismatch") as caught:
            guard.arm()
        assert str(pins.map(name)) in str(caught.value)
        assert shape_of(fd) == shape
        assert not list(pins.program("x").parent.iterdir())
        if loader == "bcc":
            assert names_pinned(pins) == {name}
    finally:
        guard.close()
        os.close(fd)


def test_a_compiler_that_hangs_is_ended(
    pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python3"
    slow.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(bcc, "_PYTHONS", (slow,))
    monkeypatch.setattr(bcc, "TIMEOUT_S", 1)
    monkeypatch.setattr(bcc, "SIGN_EVERY_S", 0.1)
    signs: list[float] = []
    begun_s = time.monotonic()
    with pytest.raises(KernelError, match="was not done"):
        BccLoader(sign_of_life=signs.append).load(pins)
    assert time.monotonic() - begun_s < 10 * PATIENCE
    assert len(signs) >= 3
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    assert not names_pinned(pins)


@pytest.fixture
def nothing_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.harness.daemon.lend_compiled", lambda _: None)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What systemd would hear. Read at once, as there: the kernel keeps few waiting."""
    heard: list[str] = []
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)

        def listen() -> None:
            while message := sock.recv(4096):
                heard.append(message.decode())

        listening = threading.Thread(target=listen)
        listening.start()
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        try:
            yield heard
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", address)
            listening.join()


def test_a_start_that_compiles_asks_for_time(told: list[str], nothing_lent: None) -> None:
    with (
        Namespace("hv") as netns,
        Sentinel(netns, {"kernel": {"loader": "bcc"}}) as sentinel,
    ):
        sentinel.start()
        wait_until(lambda: "READY=1" in told, 5, "the word that it is ready")
        ready = told.index("READY=1")
        assert ready > 0
        assert all("EXTEND_TIMEOUT_USEC=30000000" in each for each in told[:ready])


def compilers_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            status = (path.parent / "stat").read_text()
            ours = int(status.rpartition(")")[2].split()[1]) == pid
            if ours and b"bcc_helper.py" in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_the_compiler_goes_with_a_killed_daemon(nothing_lent: None) -> None:
    with (
        Namespace("hv") as netns,
        Sentinel(netns, {"kernel": {"loader": "bcc"}}) as sentinel,
    ):
        process = netns.popen([sentinel.command, "daemon", "--config", sentinel.config])
        wait_until(lambda: compilers_of(process.pid), 30, "the compiler to run")
        (helper,) = compilers_of(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not alive(helper), 5, "the compiler to end")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as gone:
        return gone.errno != errno.ESRCH
    return True
