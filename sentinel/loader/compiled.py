# SPDX-License-Identifier: Apache-2.0
"""What a compiler on this host made of the sources, and how it gets into the kernel.

Programs name their maps by numbers that stand for nothing yet; `load` puts the
descriptors of the pinned maps in their place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from sentinel.errors import AbiError, KernelError
from sentinel.loader import syscall
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.objects import PROGRAM_NAMES, close_all
from sentinel.loader.pins import Pins

MAP_NUMBERS: Final = {name: 0x7A500000 + at for at, name in enumerate(MAP_NAMES)}
"""What stands in a program where a map's descriptor belongs: no descriptor is that large."""

_INSTRUCTION = struct.Struct("=BBhi")  # struct bpf_insn
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_MAX_INSTRUCTIONS = 1_000_000


class MapShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What two maps must have in common to be used for each other, as fdinfo names it."""

    map_type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int

    def __str__(self) -> str:
        return (
            f"type {self.map_type}, key {self.key_size} bytes, value {self.value_size} bytes, "
            f"{self.max_entries} entries, flags {self.map_flags:#x}"
        )


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program that knows its maps by MAP_NUMBERS."""

    instructions: bytes
    license: str
    kernel_version: int


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that took part in compiling."""

    path: str
    size_bytes: int
    modified_ns: int

    def is_unchanged(self) -> bool:
        """Whether it still is the same file, by size and time."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.modified_ns)


class Compiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every map's shape, every program, and what made them."""

    maps: dict[str, MapShape]
    programs: dict[str, Code]
    tools: list[Tool]

    def load(self, pins: Pins) -> dict[str, int]:
        """Onto the pinned maps, making those that are not there; descriptors by name.

        Raises KernelError for a pinned map of another shape, before anything is made
        or loaded; and with the verifier's last lines. What it made is gone then.
        """
        missing = [name for name in MAP_NAMES if name not in self.maps]
        missing += [name for name in PROGRAM_NAMES if name not in self.programs]
        if missing:
            raise AbiError(
                f"the sources have no {', '.join(missing)}: take them all from one place"
            )
        maps: dict[str, int] = {}
        made: list[Path] = []
        programs: dict[str, int] = {}
        try:
            self._open_pinned(pins, maps)
            for name in MAP_NAMES:
                if name not in maps:
                    maps[name] = _make_map(name, self.maps[name])
                    syscall.pin(maps[name], pins.map(name))
                    made.append(pins.map(name))
            for name in PROGRAM_NAMES:
                programs[name] = _load_program(name, self.programs[name], maps)
        except BaseException:
            close_all(programs)
            for path in made:
                path.unlink(missing_ok=True)
            raise
        finally:
            close_all(maps)
        return programs

    def _open_pinned(self, pins: Pins, maps: dict[str, int]) -> None:
        for name in MAP_NAMES:
            path = pins.map(name)
            if not path.exists():
                continue
            maps[name] = syscall.open_pin(path)
            found = shape_of(maps[name])
            if found != self.maps[name]:
                raise KernelError(
                    f"the map pinned at {path} has another shape than this program's: it is "
                    f"{found}; wanted is {self.maps[name]}; `tapsentinel disarm` removes it"
                )


def shape_of(map_fd: int) -> MapShape:
    """Of any map."""
    lines = Path(f"/proc/self/fdinfo/{map_fd}").read_text(encoding="ascii").splitlines()
    said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return MapShape(**{name: int(said[name], 0) for name in MapShape.__struct_fields__})


def with_descriptors(code: bytes, maps: Mapping[str, int]) -> bytes:
    """Instructions with each map's descriptor where its number stood.

    Raises KernelError for what does not look like a program of ours.
    """
    count, rest = divmod(len(code), _INSTRUCTION.size)
    if rest or not 0 < count <= _MAX_INSTRUCTIONS:
        raise KernelError(f"{len(code)} bytes are no BPF program: compile the sources anew")
    names = {number: name for name, number in MAP_NUMBERS.items()}
    found = bytearray(code)
    at = 0
    while at < len(code):
        opcode, registers, offset, value = _INSTRUCTION.unpack_from(found, at)
        if opcode == _LD_IMM64:
            source = registers >> 4
            if source and (source != _PSEUDO_MAP_FD or value not in names):
                raise KernelError(
                    f"instruction {at // _INSTRUCTION.size} names no map of ours ({source}, "
                    f"{value:#x}): compile the sources anew"
                )
            if source:
                fd = maps[names[value]]
                _INSTRUCTION.pack_into(found, at, opcode, registers, offset, fd)
            at += _INSTRUCTION.size  # its upper half
        at += _INSTRUCTION.size
    return bytes(found)


def _make_map(name: str, shape: MapShape) -> int:
    return syscall.create_map(
        name,
        shape.map_type,
        shape.key_size,
        shape.value_size,
        shape.max_entries,
        shape.map_flags,
    )


def _load_program(name: str, code: Code, maps: Mapping[str, int]) -> int:
    instructions = with_descriptors(code.instructions, maps)
    return syscall.load_tc_program(name, instructions, code.license, code.kernel_version)


def decode_compiled(text: bytes | str) -> Compiled:
    """Of JSON. Raises KernelError."""
    try:
        return msgspec.json.decode(text, type=Compiled)
    except (msgspec.MsgspecError, UnicodeError) as wrong:
        raise KernelError(f"what was compiled cannot be read: {wrong}") from wrong


def encode_compiled(compiled: Compiled) -> bytes:
    """As JSON."""
    return msgspec.json.encode(compiled)
