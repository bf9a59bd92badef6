# SPDX-License-Identifier: Apache-2.0
"""Typed doors to shim.c: a negative errno becomes a `KernelError`, nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from sentinel.errors import KernelError
from sentinel.loader._libbpf import ffi, lib

_LOG_LINES = 12


def check(result: int, what: str) -> int:
    """`result`, or KernelError saying what failed and why where it is negative."""
    if result < 0:
        raise KernelError(f"{what}: {os.strerror(-result)}", errno=-result)
    return result


def open_pin(path: Path) -> int:
    """Descriptor of what is pinned at `path`. Raises KernelError (ENOENT if nothing is)."""
    return check(lib.ts_obj_get(os.fsencode(path)), f"open the pin {path}")


def open_pin_if_there(path: Path) -> int | None:
    """The same; None if nothing is pinned there."""
    opened = lib.ts_obj_get(os.fsencode(path))
    return None if opened == -errno.ENOENT else check(opened, f"open the pin {path}")


def pin(fd: int, path: Path) -> None:
    """Pins an object. Raises KernelError (EEXIST if something is pinned there)."""
    check(lib.ts_obj_pin(fd, os.fsencode(path)), f"pin at {path}")


def create_map(
    name: str, kind: int, key_bytes: int, value_bytes: int, entries: int, flags: int
) -> int:
    """Descriptor of a new map. Raises KernelError."""
    made = lib.ts_map_create(name.encode(), kind, key_bytes, value_bytes, entries, flags)
    return check(made, f"make the map {name}")


def load_tc_program(name: str, instructions: bytes, license_: str, kernel_version: int) -> int:
    """Descriptor of a tc program. Raises KernelError with the verifier's last lines."""
    lib.ts_log_start()
    loaded = lib.ts_tc_program_load(
        name.encode(), license_.encode(), instructions, len(instructions) // 8, kernel_version
    )
    if loaded < 0:
        log = ffi.string(lib.ts_log()).decode("utf-8", "replace").strip().splitlines()
        tail = "; ".join(line.strip() for line in log[-_LOG_LINES:])
        raise KernelError(
            f"the kernel refused {name}: {os.strerror(-loaded)}"
            + (f"; the verifier says: {tail}" if tail else ""),
            -loaded,
        )
    return int(loaded)


def map_lookup(fd: int, key: bytes, value_bytes: int, what: str) -> bytes:
    """One element of a map that is not per CPU."""
    value = ffi.new("uint8_t[]", value_bytes)
    check(lib.ts_map_lookup(fd, key, value), f"read {what}")
    return bytes(ffi.buffer(value))


def map_update(fd: int, key: bytes | None, value: bytes, what: str) -> None:
    """Writes one element; a queue has no key."""
    check(lib.ts_map_update(fd, key if key is not None else ffi.NULL, value), f"write {what}")


def map_delete(fd: int, key: bytes, what: str) -> bool:
    """Removes one element; False: it was not there."""
    result = lib.ts_map_delete(fd, key)
    if result == -errno.ENOENT:
        return False
    check(result, f"remove from {what}")
    return True


def map_keys(fd: int, key_bytes: int, most: int, what: str) -> bytes:
    """The keys of a hash of at most `most` elements, one after the other.

    One that vanishes meanwhile starts the walk anew: then keys are there twice, or
    the last ones are missing.
    """
    keys = ffi.new("uint8_t[]", key_bytes * most)
    found = check(lib.ts_map_keys(fd, keys, key_bytes, most), f"list {what}")
    return bytes(ffi.buffer(keys, found * key_bytes))


class Batches:
    """A hash read in batches, with few calls. Elements may come and go meanwhile."""

    def __init__(self, fd: int, key_bytes: int, value_bytes: int, count: int, what: str) -> None:
        """`value_bytes` are those of all CPUs together; `count` elements are a batch."""
        self._fd = fd
        self._what = what
        self._key_bytes, self._value_bytes, self._count = key_bytes, value_bytes, count
        self._keys = ffi.new("uint8_t[]", key_bytes * count)
        self._values = ffi.new("uint8_t[]", value_bytes * count)
        self._tokens = ffi.new("uint8_t[]", key_bytes), ffi.new("uint8_t[]", key_bytes)
        self._token = ffi.NULL
        self.is_done = False

    def take(self) -> tuple[bytes, bytes]:
        """(keys, values) of the next batch. Raises KernelError.

        ENOSPC: `count` is too small for one of the hash's buckets.
        """
        count = ffi.new("uint32_t *", self._count)
        ahead = self._tokens[self._token == self._tokens[0]]
        result = lib.ts_map_lookup_batch(
            self._fd, self._token, ahead, self._keys, self._values, count
        )
        self.is_done = result == -errno.ENOENT
        if not self.is_done:
            check(result, f"read {self._what}")
        self._token = ahead
        return (
            bytes(ffi.buffer(self._keys, count[0] * self._key_bytes)),
            bytes(ffi.buffer(self._values, count[0] * self._value_bytes)),
        )


def possible_cpus() -> int:
    """Of how many CPUs a per-CPU value has a copy. Raises KernelError."""
    return check(lib.ts_possible_cpus(), "count the possible CPUs")


def queue_peek(fd: int, value_bytes: int, what: str) -> bytes | None:
    """The oldest element of a queue, left there; None if it is empty."""
    value = ffi.new("uint8_t[]", value_bytes)
    result = lib.ts_map_lookup(fd, ffi.NULL, value)
    if result == -errno.ENOENT:
        return None
    check(result, f"look into {what}")
    return bytes(ffi.buffer(value))


def queue_pop(fd: int, value_bytes: int, what: str) -> bytes | None:
    """The oldest element of a queue, removed; None if it is empty."""
    value = ffi.new("uint8_t[]", value_bytes)
    result = lib.ts_queue_pop(fd, value)
    if result == -errno.ENOENT:
        return None
    check(result, f"take from {what}")
    return bytes(ffi.buffer(value))


def percpu_sums(fd: int, keys: Sequence[int], words: int, what: str) -> list[tuple[int, ...]]:
    """For each key the sums over all CPUs of its `words` 64-bit counters."""
    if not keys:
        return []
    sums = ffi.new("uint64_t[]", len(keys) * words)
    check(lib.ts_percpu_sums(fd, list(keys), len(keys), words, sums), f"read {what}")
    flat = ffi.unpack(sums, len(keys) * words)
    return [tuple(flat[at : at + words]) for at in range(0, len(flat), words)]


def percpu_clear(fd: int, key: int, words: int, what: str) -> None:
    """Sets a per-CPU element to zero on every CPU."""
    check(lib.ts_percpu_clear(fd, key, words), f"clear {what}")


def program_id(fd: int) -> int:
    """The kernel's id of a loaded program."""
    found = ffi.new("uint32_t *")
    check(lib.ts_prog_id(fd, found), "ask for a program's id")
    return int(found[0])


def program_name(prog_id: int) -> str:
    """A program's name (at most 15 characters) by id. Needs CAP_SYS_ADMIN."""
    name = ffi.new("char[16]")
    check(lib.ts_prog_name(prog_id, name), f"ask for the name of program {prog_id}")
    return str(ffi.string(name).decode("ascii", "replace"))


def wait_for_programs() -> None:
    """Returns when every frame that began before is done with its program."""
    check(lib.ts_wait_for_programs(), "wait for running programs (membarrier)")


class MappedMap:
    """An array map in our address space: single fields are read and stored atomically."""

    def __init__(self, fd: int, size_bytes: int, what: str) -> None:
        page = os.sysconf("SC_PAGESIZE")
        self._bytes = -(-size_bytes // page) * page
        self._memory = lib.ts_map_memory(fd, self._bytes)
        if self._memory == ffi.NULL:
            raise KernelError(f"map {what} into memory: {os.strerror(ffi.errno)}", ffi.errno)
        self._size = size_bytes

    def close(self) -> None:
        """Gives the memory back; no method may be called after."""
        if self._memory != ffi.NULL:
            lib.ts_unmap_memory(self._memory, self._bytes)
            self._memory = ffi.NULL

    def snapshot(self) -> bytes:
        """A copy of all of it; each field is whole, the copy is of no single moment."""
        return bytes(ffi.buffer(self._memory, self._size))

    def load_u32(self, offset: int) -> int:
        """The 32-bit field at this offset in bytes."""
        return int(lib.ts_load_u32(self._memory + offset))

    def store_u32(self, offset: int, value: int) -> None:
        """Stores a 32-bit field."""
        lib.ts_store_u32(self._memory + offset, value)

    def load_u64(self, offset: int) -> int:
        """The 64-bit field at this offset in bytes."""
        return int(lib.ts_load_u64(self._memory + offset))

    def store_u64(self, offset: int, value: int) -> None:
        """Stores a 64-bit field."""
        lib.ts_store_u64(self._memory + offset, value)

    def add_u32(self, offset: int, difference: int) -> None:
        """Adds to a 32-bit field."""
        lib.ts_add_u32(self._memory + offset, difference)

    def swap_u32(self, offset: int, expected: int, desired: int) -> int:
        """Stores `desired` where the field was `expected`; returns what it was."""
        return int(lib.ts_swap_u32(self._memory + offset, expected, desired))
