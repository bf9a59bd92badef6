# SPDX-License-Identifier: Apache-2.0
"""Where frames of watched ports vanish in the kernel: drops.bpf.o at skb:kfree_skb.

Unlike the guard's, this program and its link are not pinned. It runs for every
frame that the host drops, whoever's that is, so it must not outlive the one who
reads it: it is evidence, and nobody is less guarded without it. Its rows are in a
pinned map, and stay for the next daemon.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from sentinel import abi
from sentinel.decode_losses import Row, decode_losses, idle_keys, keys_of, reason_names, reason_of
from sentinel.errors import KernelError
from sentinel.loader import objects, syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.choose import choose_loader
from sentinel.loader.guard import Guard
from sentinel.traffic import LossSeen

OBJECT_FILE: Final = "drops.bpf.o"
PROGRAM_NAME: Final = "drop_seen"

_TRACEPOINT: Final = b"kfree_skb"
_REASONS: Final = b"skb_drop_reason"
_MODULE_REASONS: Final = {b"openvswitch": b"ovs_drop_reason"}
_ARGUMENTS: Final = 3
"""That are needed: the frame, who gave it up, why. Later kernels give a fourth."""
_MOST_REASONS: Final = 4096
_NETNS: Final = Path("/proc/thread-self/ns/net")
_MODULES_BTF: Final = Path("/sys/kernel/btf")
_LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")


class KernelDrops(NamedTuple):
    """What the running kernel's BTF says of drops."""

    obstacle: str | None
    """Why they cannot be traced; None: they can."""
    reasons: dict[int, str]


class DropTrace:
    """One daemon's trace of drops on the maps of its guard, which must be armed.

    Each method but `close` raises KernelError where the kernel refuses.
    """

    def __init__(self, guard: Guard, objects_folder: Path = objects.OBJECTS_FOLDER) -> None:
        self._guard = guard
        self._path = objects_folder / OBJECT_FILE
        self._programs: dict[str, int] = {}
        self._link_fd: int | None = None
        self._state: syscall.MappedMap | None = None
        self._reasons: dict[int, str] | None = None
        self._unnamed: set[int] = set()
        self.pruned = 0
        """Rows that went for room since this daemon began."""

    @property
    def is_on(self) -> bool:
        """Whether drops are counted."""
        return self._link_fd is not None

    def start(self) -> None:
        """Counts drops from the return on, of frames in this thread's network namespace.

        Raises KernelError with a plain reason where that cannot be.
        """
        if self.is_on:
            return
        obstacle = loader_obstacle(self._guard.loader)
        if obstacle is None:
            obstacle, self._reasons = kernel_drops()
        obstacle = obstacle or _missing(self._path)
        if obstacle is not None:
            raise KernelError(obstacle)
        try:
            self._programs = self._load()
            self._state = syscall.MappedMap(
                self._guard.maps.fd("tap_loss_state"), abi.TAP_LOSS_STATE.size, "tap_loss_state"
            )
            self._state.store_u32(abi.TAP_LOSS_STATE__NETNS_INUM, _NETNS.stat().st_ino)
            self._link_fd = syscall.check(
                lib.ts_tracepoint_open(self._programs[PROGRAM_NAME]),
                "attach to the tracepoint skb:kfree_skb",
            )
        except KernelError:
            self.close()
            raise

    def _load(self) -> dict[str, int]:
        try:
            return objects.load_object(self._path, self._guard.pins)
        except KernelError as refused:
            if refused.errno in (errno.EPERM, errno.EACCES) and is_locked_down():
                raise KernelError(
                    "this kernel is locked down (confidentiality): programs may not read its "
                    f"memory, as tracing drops does; {refused}",
                    refused.errno,
                ) from refused
            raise

    def read(self) -> list[LossSeen]:
        """Everything that was lost, by way, reason and place; also before this daemon began."""
        rows = self._rows()
        numbers = {reason_of(key) for key, _ in rows}
        # A module that was loaded meanwhile brings names of its own.
        if self._reasons is None or numbers - self._reasons.keys() - self._unnamed:
            self._reasons = kernel_drops().reasons
            self._unnamed |= numbers - self._reasons.keys()
        return decode_losses(rows, self._reasons)

    def unlisted(self) -> int:
        """Frames that found no row: the table was full, or two CPUs met there."""
        value = syscall.map_lookup(
            self._guard.maps.fd("tap_loss_state"),
            bytes(4),
            abi.TAP_LOSS_STATE.size,
            "tap_loss_state",
        )
        return int(abi.TAP_LOSS_STATE.unpack(value)[2])

    def missed(self) -> int:
        """Drops of the whole host that were not looked at: inside of another's on their CPU."""
        if not self.is_on:
            return 0
        found = ffi.new("uint64_t *")
        result = lib.ts_prog_misses(self._programs[PROGRAM_NAME], found)
        syscall.check(result, "ask what the trace of drops missed")
        return int(found[0])

    def prune(self, now_ns: int) -> int:
        """Makes room where there is little: see `idle_keys`. `now_ns` is CLOCK_MONOTONIC."""
        count = self._delete(idle_keys(self._rows(), now_ns))
        self.pruned += count
        return count

    def forget(self, ifindexes: Collection[int]) -> int:
        """Deletes what devices lost that are gone: their ifindexes may come back as others'."""
        return self._delete(keys_of(self._rows(), ifindexes)) if ifindexes else 0

    def close(self) -> None:
        """Counts no longer; the rows stay. May be called again."""
        if self._link_fd is not None:
            os.close(self._link_fd)
            self._link_fd = None
        objects.close_all(self._programs)
        if self._state is not None:
            self._state.store_u32(abi.TAP_LOSS_STATE__NETNS_INUM, 0)
            self._state.close()
            self._state = None

    def _rows(self) -> list[Row]:
        key_bytes, value_bytes = abi.TAP_LOSS_KEY.size, abi.TAP_LOSS.size
        batches = syscall.Batches(
            self._guard.maps.fd("tap_losses"),
            key_bytes,
            value_bytes,
            abi.TAP_MAX_LOSSES,
            "tap_losses",
        )
        rows: list[Row] = []
        while not batches.is_done:
            keys, values = batches.take()
            rows += [
                (
                    keys[at * key_bytes : (at + 1) * key_bytes],
                    values[at * value_bytes : (at + 1) * value_bytes],
                )
                for at in range(len(keys) // key_bytes)
            ]
        return rows

    def _delete(self, keys: list[bytes]) -> int:
        map_fd = self._guard.maps.fd("tap_losses")
        for key in keys:
            syscall.map_delete(map_fd, key, "tap_losses")
        return len(keys)


def describe_obstacle(wanted_loader: str, folder: Path = objects.OBJECTS_FOLDER) -> str | None:
    """Why drops cannot be traced here; None: they can. Asks the kernel and loads nothing.

    `wanted_loader` is kernel.loader: "auto", "libbpf" or "bcc".
    """
    try:
        loader = choose_loader(wanted_loader, folder).name
    except KernelError as nothing:
        return str(nothing)
    return loader_obstacle(loader) or kernel_drops().obstacle or _missing(folder / OBJECT_FILE)


def _missing(path: Path) -> str | None:
    return None if path.is_file() else f"{path} is missing: run `make` in a checkout, or reinstall"


def loader_obstacle(loader: str) -> str | None:
    """What about the loader keeps drops from being traced."""
    if loader != "bcc":
        return None
    return (
        "the programs were compiled by BCC, which does no CO-RE relocation, and tracing drops "
        "needs that: lost frames are not attributed to a place in the kernel"
    )


def kernel_drops() -> KernelDrops:
    """What this kernel can tell of drops: takes some 15 ms, and gives its memory back."""
    lib.ts_log_start()
    kernel = lib.btf__load_vmlinux_btf()
    if kernel == ffi.NULL:
        return KernelDrops("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)", {})
    try:
        reasons = _enumerators(kernel, _REASONS)
        for module, name in _MODULE_REASONS.items():
            reasons += _enumerators(kernel, name) or _module_enumerators(kernel, module, name)
        arguments = lib.ts_tracepoint_arguments(kernel, _TRACEPOINT)
    finally:
        lib.btf__free(kernel)
    if arguments < 0:
        obstacle = "this kernel has no tracepoint skb:kfree_skb for programs"
    elif arguments < _ARGUMENTS or not reasons:
        obstacle = "this kernel does not say why it drops a frame (5.17 and later do)"
    else:
        obstacle = None
    return KernelDrops(obstacle, reason_names(reasons))


def _enumerators(btf: object, name: bytes) -> list[tuple[str, int]]:
    names = ffi.new("const char *[]", _MOST_REASONS)
    values = ffi.new("uint32_t[]", _MOST_REASONS)
    count = lib.ts_btf_enumerators(btf, name, names, values, _MOST_REASONS)
    return [
        (ffi.string(names[at]).decode("ascii", "replace"), int(values[at]))
        for at in range(min(count, _MOST_REASONS))
    ]


def _module_enumerators(kernel: object, module: bytes, name: bytes) -> list[tuple[str, int]]:
    if not (_MODULES_BTF / module.decode()).exists():
        return []
    btf = lib.btf__load_module_btf(module, kernel)
    if btf == ffi.NULL:
        return []
    try:
        return _enumerators(btf, name)
    finally:
        lib.btf__free(btf)


def is_locked_down() -> bool:
    """Whether programs may not read kernel memory: lockdown=confidentiality."""
    with suppress(OSError):
        return "[confidentiality]" in _LOCKDOWN.read_text(encoding="ascii", errors="replace")
    return False
