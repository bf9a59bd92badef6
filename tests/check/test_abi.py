# SPDX-License-Identifier: Apache-2.0
"""The contract between programs and user space: one source, and no other version of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import abi
from sentinel.errors import AbiError, KernelError
from sentinel.loader.carry import STABLE_PREFIX
from sentinel.loader.guard import Guard
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.objects import OBJECTS_FOLDER, object_paths
from tests.harness.another_build import MISSING, AnotherBuild
from tests.harness.frames import Bpdu, bpdu
from tests.harness.namespaces import Namespace
from tests.harness.packets import arp
from tests.harness.programs import config, own_pins, remove_pins
from tests.harness.taps import Tap

ROOT = Path(__file__).parents[2]
STRUCTS = sorted(
    name for name, value in vars(abi).items() if isinstance(value, struct.Struct)
)  # fmt: skip

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")


@pytest.fixture
def pins() -> Iterator[Path]:
    root = own_pins()
    yield root
    remove_pins(root)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> AnotherBuild:
    """Another version, whose slots are larger and differ behind the members that never move."""
    build = AnotherBuild(tmp_path_factory.mktemp("older"))
    build.replace("bpf/abi_kern_user.h", "seen_ticks[TAP_DIRECTIONS];", "seen_ticks[10];")
    build.replace(
        "bpf/abi_kern_user.h", "sizeof(struct tap_port) == 64", "sizeof(struct tap_port) == 128"
    )
    build.replace(
        "bpf/abi_kern_user.h",
        "\t__u32 mtu_bytes; /* of the path; 0: sizes are not judged */\n",
        "\t__u32 trusted_before;\n\t__u32 mtu_bytes;\n",
    )
    clocks = "\t/*\n\t * When a frame last went"
    build.replace("bpf/abi_kern_user.h", f"\t__u32 reserved;\n{clocks}", clocks)
    build.next_abi()
    build.build()
    return build


@needs_tools
def test_the_generated_file_is_current() -> None:
    subprocess.run([sys.executable, "tools/generate_abi.py", "--check"], cwd=ROOT, check=True)


def test_the_members_that_never_move() -> None:
    offsets = [
        getattr(abi, f"TAP_PORT__{name}") for name in ("IFINDEX", "LATCH", "LATCHED_AT_NS", "ROLE")
    ]
    assert offsets == [0, 4, 8, 16]
    assert STABLE_PREFIX.size <= abi.TAP_PORT.size
    assert STABLE_PREFIX.unpack(abi.TAP_PORT.pack(7, 3, 1 << 40, 2, *[0] * 7)[:20]) == (
        7,
        3,
        1 << 40,
        2,
    )


@pytest.mark.parametrize("name", STRUCTS)
def test_offsets_are_those_of_the_format(name: str) -> None:
    """Each member's own offset agrees with where the format puts it."""
    fields = getattr(abi, f"{name}_FIELDS")
    offsets = [getattr(abi, f"{name}__{field.upper()}") for field in fields]
    assert offsets == sorted(set(offsets))
    assert offsets[0] == 0
    assert offsets[-1] < getattr(abi, name).size
    assert getattr(abi, name).format[0] == "="


@needs_tools
@pytest.mark.parametrize("path", object_paths(), ids=lambda path: path.name)
def test_the_objects_speak_this_version(path: Path) -> None:
    """Sizes and values in the object's own BTF, which the loader and the kernel read."""
    dump = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", str(path)], check=True, capture_output=True
    )
    types = json.loads(dump.stdout)["types"]
    sizes = {t["name"].upper(): t["size"] for t in types if t["kind"] == "STRUCT"}
    for name in (
        "TAP_PORT", "TAP_COUNTERS", "TAP_CONFIG", "TAP_STATE", "TAP_WINDOW", "TAP_GATE",
        "TAP_TALK", "TAP_MESSAGE",
    ):  # fmt: skip
        assert sizes[name] == getattr(abi, name).size
    values = {v["name"]: v["val"] for t in types if t["kind"] == "ENUM" for v in t["values"]}
    for name in ("TAP_ABI_VERSION", "TAP_CHECKS", "TAP_VERDICT_FUSED"):
        if name in values:
            assert values[name] == getattr(abi, name)
    assert values["TAP_ABI_VERSION"] == abi.TAP_ABI_VERSION


@needs_tools
@pytest.mark.parametrize("path", object_paths(), ids=lambda path: path.name)
def test_every_map_of_the_objects_is_pinned(path: Path) -> None:
    """One that is not would be another at the uplink, and empty after every restart."""
    dump = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", str(path)], check=True, capture_output=True
    )
    types = json.loads(dump.stdout)["types"]
    (maps,) = (t["vars"] for t in types if t["kind"] == "DATASEC" and t["name"] == ".maps")
    names = {t["id"]: t["name"] for t in types if t["kind"] == "VAR"}
    assert {names[one["type_id"]] for one in maps} == set(MAP_NAMES)


@needs_root
@needs_tools
def test_objects_of_another_version_are_refused(older: AnotherBuild, pins: Path) -> None:
    """Nothing is loaded, and the message says which speaks what."""
    theirs = older.folder / "sentinel" / "loader" / "objects"
    guard = Guard(pins, "auto", theirs)
    try:
        with pytest.raises(AbiError) as refused:
            guard.arm(config())
    finally:
        guard.close()
    said = str(refused.value)
    assert str(theirs) in said
    assert f"version {abi.TAP_ABI_VERSION + 1} of the contract" in said
    assert f"this program version {abi.TAP_ABI_VERSION}" in said
    assert list((pins / f"v{abi.TAP_ABI_VERSION}" / "progs").iterdir()) == []


@needs_root
@needs_tools
def test_objects_that_say_no_version_are_refused(tmp_path: Path, pins: Path) -> None:
    """A program of somebody else's under our name."""
    source = tmp_path / "empty.c"
    source.write_text('int nothing __attribute__((section("license")));')
    for name in ("tap.bpf.o", "uplink.bpf.o"):
        command = [
            "clang",
            "-O2",
            "-g",
            "-target",
            "bpf",
            "-c",
            str(source),
            "-o",
            str(tmp_path / name),
        ]
        subprocess.run(command, check=True)
    guard = Guard(pins, "auto", tmp_path)
    try:
        with pytest.raises(KernelError):
            guard.arm(config())
    finally:
        guard.close()


@pytest.mark.parametrize("missing", ["tap.bpf.o", "uplink.bpf.o"])
def test_a_missing_object_is_named(tmp_path: Path, missing: str) -> None:
    for path in object_paths():
        if path.name != missing:
            shutil.copy(path, tmp_path)
    with pytest.raises(KernelError, match=f"{missing} is missing: run `make`"):
        object_paths(tmp_path)
    assert [path.parent for path in object_paths()] == [OBJECTS_FOLDER] * 2


OLD_GUARD = """
import sys
from pathlib import Path
from sentinel import abi
from sentinel.decode import CheckSetting, KernelConfig
from sentinel.loader.guard import Guard

pins, shut, watched, hour = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 3600 * 10**9
guard = Guard(pins, "auto")
checks = tuple(CheckSetting("quarantine", 1, hour) for _ in range(abi.TAP_CHECKS))
guard.arm(KernelConfig(checks, "count", 10, hour, 1000))
guard.attach(shut, abi.TAP_ROLE_PORT, 1500, 0)
guard.attach(watched, abi.TAP_ROLE_PORT, 1500, 0)
guard.close()
"""


@needs_root
@needs_tools
def test_an_upgrade_carries_latches_between_layouts(older: AnotherBuild, pins: Path) -> None:
    """What the other version's programs shut stays shut under ours; the rest stays open."""
    with Namespace("abi") as netns, Tap("tapshut", netns) as shut, Tap("tapopen", netns) as watched:
        shut.up()
        watched.up()
        with netns.enter():
            indexes = [socket.if_nametoindex(tap.name) for tap in (shut, watched)]
        subprocess.run(
            netns.command([sys.executable, "-c", OLD_GUARD, str(pins), *map(str, indexes)]),
            cwd=older.folder, env={**os.environ, "PYTHONPATH": str(older.folder)}, check=True,
        )  # fmt: skip
        shut.write(bpdu(Bpdu.STP))
        guard = Guard(pins, "auto")
        try:
            armed = guard.arm(config({"bpdu": "drop"}))
            assert (armed.adopted, armed.carried) == (False, 1)
            with netns.enter():
                assert all(guard.attach(index, abi.TAP_ROLE_PORT, 1500, 0) for index in indexes)
            guard.finish_upgrade()
            assert not guard.pins.other_versions()
            causes = {slot.ifindex: slot.cause for slot in guard.maps.slots()}
            assert causes == dict(zip(indexes, ("bpdu", None), strict=True))
            assert guard.maps.state().quarantined == 1
            ordinary = arp("02:00:00:00:00:01", "192.0.2.1", "192.0.2.2")
            for tap, index, dropped in ((shut, indexes[0], 1), (watched, indexes[1], 0)):
                tap.write(ordinary)
                found = guard.maps.find(index)
                assert found is not None
                ((counts, _),) = guard.maps.counters([found.slot])
                assert (counts.frames, sum(counts.dropped)) == (1, dropped)
        finally:
            guard.close()
