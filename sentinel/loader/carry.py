# SPDX-License-Identifier: Apache-2.0
"""Quarantines and orders out of the maps that another version of the contract pinned.

The first four members of a slot never move (bpf/abi_kern_user.h), so any version
can read them out of any other's map. Reasons, and orders that no daemon has
journaled yet, come along where their layout is the same.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from struct import Struct

from sentinel import abi
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.maps import PinnedMaps

STABLE_PREFIX = Struct("=IIQI")
"""ifindex, latch, latched_at_ns, role."""


def map_shape(fd: int) -> tuple[int, int]:
    """(bytes of a value, elements) of a map."""
    value_bytes, entries = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    syscall.check(lib.ts_map_shape(fd, value_bytes, entries), "ask for a map's shape")
    return int(value_bytes[0]), int(entries[0])


def carry_latches(old_version: Path, maps: PinnedMaps) -> int:
    """Shuts in `maps` what is shut in an old version's; how many were carried now.

    Called before programs change over and again after: a port that the old
    programs shut in between is carried by the second call.
    """
    try:
        ports_fd = syscall.open_pin(old_version / "maps" / "tap_ports")
    except KernelError:
        return 0
    carried = 0
    try:
        value_bytes, entries = map_shape(ports_fd)
        for slot in range(entries):
            key = slot.to_bytes(4, "little")
            value = syscall.map_lookup(ports_fd, key, value_bytes, "tap_ports")
            ifindex, latch, latched_at_ns, role = STABLE_PREFIX.unpack_from(value)
            if not ifindex or latch == abi.TAP_LATCH_OPEN:
                continue
            found = maps.find(ifindex) or maps.claim(ifindex, role, 0, 0)
            if maps.shut_latch(found.slot, latch, latched_at_ns):
                _carry_cut(old_version, slot, found.slot, maps)
                carried += 1
    finally:
        os.close(ports_fd)
    return carried


def _carry_cut(old_version: Path, old_slot: int, slot: int, maps: PinnedMaps) -> None:
    try:
        fd = syscall.open_pin(old_version / "maps" / "tap_cuts")
    except KernelError:
        return
    try:
        value_bytes, _ = map_shape(fd)
        if value_bytes == abi.TAP_CUT.size:
            key = old_slot.to_bytes(4, "little")
            value = syscall.map_lookup(fd, key, value_bytes, "tap_cuts")
            syscall.map_update(maps.fd("tap_cuts"), slot.to_bytes(4, "little"), value, "tap_cuts")
    finally:
        os.close(fd)


def carry_orders(old_version: Path, maps: PinnedMaps) -> None:
    """Moves orders that wait for a daemon behind those that wait here already.

    A kill in between leaves an order in both, never in none. Those that find no room go
    with the old version: what they ordered stands in the latches.
    """
    try:
        fd = syscall.open_pin(old_version / "maps" / "tap_orders")
    except KernelError:
        return
    try:
        if map_shape(fd)[0] != abi.TAP_ORDER.size:
            return
        while (order := syscall.queue_peek(fd, abi.TAP_ORDER.size, "tap_orders")) is not None:
            with contextlib.suppress(KernelError):
                syscall.map_update(maps.fd("tap_orders"), None, order, "tap_orders")
            syscall.queue_pop(fd, abi.TAP_ORDER.size, "tap_orders")
    finally:
        os.close(fd)
