# SPDX-License-Identifier: Apache-2.0
"""Frames written to a real tap as fast as it takes them: ours attached against the empty one."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from bench import measure
from bench.report import Row
from sentinel import abi
from sentinel.loader import syscall
from sentinel.loader._libbpf import lib
from sentinel.loader.attach import has_tcx
from tests.harness.blast import blast
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import GUEST_MAC, TPID_C, TPID_S, Bpdu, bpdu
from tests.harness.guarded_tap import GuardedTap
from tests.harness.packets import tcp_frame

FRAMES = 100_000
ROUNDS = 7
THREE = ((TPID_S, 5, 0), (TPID_C, 6, 0), (TPID_C, 7, 0))
CASES = {
    "TCP": tcp_frame(GUEST_MAC, "52:54:00:aa:bb:cc", "192.0.2.9", "192.0.2.1"),
    "BPDU rstp, three tags, dropped": bpdu(Bpdu.RSTP, tags=THREE),
    "DHCP, three tags": dhcp(DhcpType.DISCOVER, tags=THREE),
}


def children_s() -> float:
    """Time on a CPU of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tap_rows(empty_fd: int) -> Iterator[Row]:
    """The writer's time on a CPU for each frame; nothing where the kernel has no tcx."""
    if not has_tcx(empty_fd):
        return
    with GuardedTap(mtu_bytes=1500, bpdu="drop") as guarded:
        tap = guarded.tap
        if tap is None:
            return

        def flood(frame: bytes) -> float:
            before_s = children_s()
            blast(tap, [frame], FRAMES)
            return (children_s() - before_s) * 1e9 / FRAMES

        def with_empty(frame: bytes) -> float:
            with guarded.netns.enter():
                link_fd = syscall.check(lib.ts_tcx_link(empty_fd, guarded.ifindex, 0), "attach")
            try:
                return flood(frame)
            finally:
                os.close(link_fd)

        def with_ours(frame: bytes) -> float:
            with guarded.netns.enter():
                guarded.guard.attach(guarded.ifindex, abi.TAP_ROLE_PORT, 1500, 0)
            try:
                return flood(frame)
            finally:
                guarded.detach(guarded.ifindex)

        guarded.detach(guarded.ifindex)
        for name, frame in CASES.items():
            found = measure.alternate(
                lambda frame=frame: with_empty(frame),  # type: ignore[misc]
                lambda frame=frame: with_ours(frame),  # type: ignore[misc]
                ROUNDS,
            )
            yield Row(name, "write to a tap", found, None)
