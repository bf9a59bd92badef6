# SPDX-License-Identifier: Apache-2.0
"""Orders while no daemon runs: the pinned maps are told, and keep them for the next one."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentinel import abi
from sentinel.decode import Cut, Order, PortSlot
from sentinel.errors import NotArmedError, RefusedError
from sentinel.loader import syscall
from sentinel.loader.maps import PinnedMaps
from sentinel.loader.pins import Pins


@dataclass(frozen=True, slots=True)
class OrderResult:
    """`changed` False: the port was in that state already."""

    port: str
    ifindex: int
    changed: bool


def quarantine(
    bpffs_dir: Path, port: str, hold_ns: int | None, reason: str, uid: int
) -> OrderResult:
    """Cuts a port: from the return on no frame of it passes.

    Nobody ends the hold before a daemon runs again. Raises NotArmedError,
    RefusedError for a port that is not watched, KernelError.
    """
    with _opened(bpffs_dir, port) as (maps, slot):
        now_ns = time.time_ns()
        before = maps.cut(slot.slot)
        since_ns = before.since_wall_ns if before else now_ns
        ordered = before is not None and before.latch == abi.TAP_LATCH_ORDER
        kept_ns = before.hold_ns if before is not None and ordered else 0
        cut = Cut(
            latch=abi.TAP_LATCH_ORDER,
            ifindex=slot.ifindex,
            uid=uid,
            relapses=before.relapses if before else 0,
            since_wall_ns=since_ns,
            hold_ns=now_ns + hold_ns - since_ns if hold_ns else kept_ns,
            reason=reason or (before.reason if before else ""),
        )
        maps.write_cut(slot.slot, cut)
        changed = maps.shut_latch(slot.slot, abi.TAP_LATCH_ORDER)
        if not changed:
            maps.change_latch(slot.slot, abi.TAP_LATCH_ORDER)
        syscall.wait_for_programs()
        maps.push_order(
            Order(
                abi.TAP_ORDER_QUARANTINE,
                slot.ifindex,
                uid,
                changed,
                now_ns,
                hold_ns or 0,
                port,
                reason,
            )
        )
    return OrderResult(port, slot.ifindex, changed)


def release(bpffs_dir: Path, port: str, reason: str, uid: int) -> OrderResult:
    """Opens a port. Raises as `quarantine` does."""
    with _opened(bpffs_dir, port) as (maps, slot):
        changed = maps.open_latch(slot.slot)
        maps.write_cut(slot.slot, None)
        now_ns = time.time_ns()
        maps.push_order(
            Order(abi.TAP_ORDER_RELEASE, slot.ifindex, uid, changed, now_ns, 0, port, reason)
        )
    return OrderResult(port, slot.ifindex, changed)


@contextlib.contextmanager
def _opened(bpffs_dir: Path, port: str) -> Iterator[tuple[PinnedMaps, PortSlot]]:
    try:
        ifindex = socket.if_nametoindex(port)
    except OSError as unknown:
        raise RefusedError(f"no device {port} in this network namespace") from unknown
    pins = Pins(bpffs_dir)
    if not pins.root.exists():
        raise NotArmedError(f"no guard is pinned in {bpffs_dir}: start the daemon once")
    maps = PinnedMaps(pins)
    try:
        slot = maps.find(ifindex)
        if slot is None or slot.role != abi.TAP_ROLE_PORT:
            raise RefusedError(
                f"{port} is not a port that the guard watches; `tapsentinel ports` lists them "
                "while the daemon runs"
            )
        yield maps, slot
    finally:
        maps.close()
