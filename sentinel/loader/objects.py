# SPDX-License-Identifier: Apache-2.0
"""Compiled programs into the kernel, through libbpf; and any loader's onto their pins.

Programs that are pinned already and come from the same object files are used
as they are: that takes no verifier and no time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sentinel import abi
from sentinel.errors import AbiError, KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.pins import Pins

OBJECTS_FOLDER = Path(__file__).with_name("objects")
OBJECT_FILES = ("tap.bpf.o", "uplink.bpf.o")
PROGRAM_NAMES = ("tap_from_guest", "tap_to_guest", "uplink_from_wire", "uplink_to_wire")

_LOG_LINES = 12


class ObjectLoader:
    """Loader: the prebuilt objects of a folder through libbpf."""

    name = "libbpf"

    def __init__(self, folder: Path) -> None:
        """Raises KernelError where an object is missing."""
        self._paths = object_paths(folder)

    def build_number(self) -> int:
        """64 bits that stand for exactly these objects."""
        return build_number(self._paths)

    def load(self, pins: Pins) -> dict[str, int]:
        """Every program of every object; see `load_object`."""
        return load_all(self._paths, pins)


def object_paths(folder: Path = OBJECTS_FOLDER) -> list[Path]:
    """The compiled objects. Raises KernelError where one is missing."""
    paths = [folder / name for name in OBJECT_FILES]
    for path in paths:
        if not path.is_file():
            raise KernelError(f"{path} is missing: run `make` in a checkout, or reinstall")
    return paths


def build_number(paths: Sequence[Path]) -> int:
    """64 bits that stand for exactly these object files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "little")


def load_object(path: Path, pins: Pins) -> dict[str, int]:
    """Loads one object on the pinned maps, making those that are not there.

    Returns the programs' descriptors by name. Raises AbiError for an object of
    another version, KernelError with the verifier's last lines otherwise.
    """
    lib.ts_log_start()
    opened = lib.bpf_object__open_file(os.fsencode(path), ffi.NULL)
    if opened == ffi.NULL:
        raise KernelError(_explain(f"cannot read {path} as a BPF object", -ffi.errno))
    try:
        _check_abi(opened, path)
        for bpf_map in _walk(lib.bpf_object__next_map, opened):
            name = _text(lib.bpf_map__name(bpf_map))
            if name in MAP_NAMES:
                lib.bpf_map__set_pin_path(bpf_map, os.fsencode(pins.map(name)))
        failed = lib.bpf_object__load(opened)
        if failed:
            raise KernelError(_explain(f"the kernel refused {path.name}", failed), -failed)
        return {
            _text(lib.bpf_program__name(program)): os.dup(lib.bpf_program__fd(program))
            for program in _walk(lib.bpf_object__next_program, opened)
        }
    finally:
        lib.bpf_object__close(opened)


def load_all(paths: Sequence[Path], pins: Pins) -> dict[str, int]:
    """Every program of every object; the descriptors are the caller's."""
    programs: dict[str, int] = {}
    try:
        for path in paths:
            programs |= load_object(path, pins)
        missing = [name for name in PROGRAM_NAMES if name not in programs]
        if missing:
            raise AbiError(f"no program {', '.join(missing)} in {paths[0].parent}: rebuild it")
    except KernelError:
        close_all(programs)
        raise
    return programs


def open_pinned(pins: Pins) -> dict[str, int] | None:
    """Descriptors of the pinned programs, or None if they are not all there."""
    programs: dict[str, int] = {}
    try:
        for name in PROGRAM_NAMES:
            programs[name] = syscall.open_pin(pins.program(name))
    except KernelError:
        close_all(programs)
        return None
    return programs


def pin_all(programs: dict[str, int], pins: Pins) -> None:
    """Pins programs in the place of what was pinned under their names."""
    for name in PROGRAM_NAMES:
        fresh = pins.program(f"{name}-new")  # a dot is not allowed there
        fresh.unlink(missing_ok=True)
        syscall.pin(programs[name], fresh)
        fresh.rename(pins.program(name))


def close_all(programs: dict[str, int]) -> None:
    """Closes descriptors; what is attached or pinned stays."""
    for fd in programs.values():
        os.close(fd)
    programs.clear()


def _check_abi(opened: object, path: Path) -> None:
    version = lib.ts_object_enum(opened, b"tap_abi", b"TAP_ABI_VERSION")
    if version != abi.TAP_ABI_VERSION:
        said = f"version {version}" if version > 0 else "no version"
        raise AbiError(
            f"{path} speaks {said} of the contract, this program version "
            f"{abi.TAP_ABI_VERSION}: build both from the same source"
        )


def _walk(following: Callable[[object, object], object], opened: object) -> list[object]:
    found = []
    item = following(opened, ffi.NULL)
    while item != ffi.NULL:
        found.append(item)
        item = following(opened, item)
    return found


def _text(pointer: object) -> str:
    return str(ffi.string(pointer).decode("ascii", "replace"))


def _explain(what: str, failed: int) -> str:
    log = ffi.string(lib.ts_log()).decode("utf-8", "replace").strip().splitlines()
    tail = "; ".join(line.strip() for line in log[-_LOG_LINES:])
    return f"{what}: {os.strerror(-failed)}" + (f"; libbpf says: {tail}" if tail else "")
