# SPDX-License-Identifier: Apache-2.0
"""The two loaders: either takes over from the other, and BCC says what it misses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.errors import AbiError, KernelError
from sentinel.loader import bcc, bcc_sources, objects
from sentinel.loader.guard import Guard
from sentinel.loader.pins import Pins
from tests.harness.bcc import bcc_problem
from tests.harness.compiled import COMPILED
from tests.harness.daemon import Tables
from tests.harness.guarded import (
    HOOKS,
    OFFENDER,
    Flooding,
    assert_wire_clean,
    events,
    guarded,
    needs_daemon,
)
from tests.harness.programs import own_pins, remove_pins

pytestmark = [
    *needs_daemon,
    pytest.mark.skipif(bool(bcc_problem()), reason=bcc_problem()),
]

BUILT_HEADERS = next(iter(sorted(Path("/usr/src").glob("linux-headers-*-amd64"))), None)


@pytest.fixture
def pins() -> Iterator[Pins]:
    found = Pins(own_pins())
    found.prepare()
    yield found
    remove_pins(found.root)


def tables(loader: str, hook: str = "auto") -> Tables:
    return {
        "checks.bpdu": {"action": "quarantine"},
        # Longer than an emulated machine compiles.
        "hold": {"initial": "1h"},
        "kernel": {"loader": loader, "attach": hook},
    }


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("first", ["libbpf", "bcc"])
def test_either_takes_over_in_a_flood(first: str, hook: str) -> None:
    second = {"libbpf": "bcc", "bcc": "libbpf"}[first]
    with guarded(tables(first, hook)) as scene:
        with Flooding(scene) as running:
            scene.wait_for_state(OFFENDER, "quarantined")
            assert scene.sentinel.json("status")["loader"] == first
            running.wait_for(running.bad.accepted + 5_000)
            scene.sentinel.kill()
            scene.sentinel.configure(tables(second, hook))
            scene.sentinel.start([OFFENDER])
            assert scene.sentinel.json("status")["loader"] == second
            running.wait_for(running.bad.accepted + 5_000)
            sent = running.stop()
        assert_wire_clean(scene, sent)
        assert scene.sentinel.port(OFFENDER)["state"] == "quarantined"
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == sent.bad.frames
        assert seen["bpdu"] == sent.bpdus()
        assert len(events(scene.sentinel, "quarantine.set")) == 1


def test_the_same_sources_are_adopted(pins: Pins) -> None:
    adopted = []
    for _ in range(2):
        guard = Guard(pins.root, "auto", loader="bcc", compiled_folder=COMPILED)
        try:
            adopted.append(guard.arm().adopted)
            assert guard.loader == "bcc"
        finally:
            guard.close()
    assert adopted == [False, True]


def test_without_objects_the_sources_are_taken(pins: Pins, tmp_path: Path) -> None:
    guard = Guard(pins.root, "auto", tmp_path)
    try:
        guard.arm()
        assert guard.loader == "bcc"
    finally:
        guard.close()


@pytest.mark.skipif(BUILT_HEADERS is None, reason="no linux-headers-*-amd64 is installed")
def test_headers_in_debian_s_two_packages(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(BUILT_HEADERS))
    assert all(folder.is_relative_to("/usr/src") for folder in bcc_sources.kernel_headers())
    objects.close_all(bcc.BccLoader().load(pins))


def test_a_tree_without_headers_is_named(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/nonexistent")
    with pytest.raises(KernelError, match="BCC_KERNEL_SOURCE is /nonexistent"):
        bcc.BccLoader().load(pins)
    assert not list(pins.map("x").parent.iterdir())


def test_a_python_without_bcc_is_told_what_to_install(
    pins: Pins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(bcc, "_PYTHONS", (bare,))
    for ask in (bcc.describe, lambda: bcc.BccLoader().load(pins)):
        with pytest.raises(KernelError, match="install python3-bpfcc"):
            ask()


def test_sources_of_another_contract_are_refused(pins: Pins, tmp_path: Path) -> None:
    folder = tmp_path / "bpf"
    shutil.copytree(bcc_sources.source_folder(), folder)
    header = folder / "abi_kern_user.h"
    header.write_text(header.read_text().replace("TAP_ABI_VERSION = ", "TAP_ABI_VERSION = 9"))
    with pytest.raises(AbiError, match="another version of the contract"):
        bcc.BccLoader(folder).load(pins)
    assert not list(pins.map("x").parent.iterdir())


def test_what_the_compiler_says_is_told(pins: Pins, tmp_path: Path) -> None:
    folder = tmp_path / "bpf"
    shutil.copytree(bcc_sources.source_folder(), folder)
    with (folder / "judge_kern.h").open("a") as header:
        header.write("\nint frob(void) { return nothing_of_the_kind; }\n")
    with pytest.raises(KernelError, match=r"judge_kern.h:.*nothing_of_the_kind"):
        bcc.BccLoader(folder).load(pins)


def test_the_daemon_keeps_nothing_of_the_compiler() -> None:
    with guarded(tables("bcc")) as scene:
        assert scene.sentinel.process is not None
        maps = Path(f"/proc/{scene.sentinel.process.pid}/maps").read_text()
        assert "libLLVM" not in maps
        assert "libbcc" not in maps
