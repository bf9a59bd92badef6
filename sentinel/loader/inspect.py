# SPDX-License-Identifier: Apache-2.0
"""Who else has programs on a device, and whether they see a frame before ours do."""

from __future__ import annotations

from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.attach import SIDES, filter_priorities, find_filter
from sentinel.loader.guard import PROGRAM_OF

OUR_NAMES = frozenset(name[:15] for name in PROGRAM_OF.values())

_WORDS = {"in": "frames from it", "out": "frames to it"}


def programs_in_front(ifindex: int) -> list[str]:
    """Programs that take a device's frames before ours, in words; empty where ours is first.

    Where ours is not attached, every program there is in front. Needs root.
    """
    lib.ts_log_start()
    found = []
    for side in SIDES:
        names = tcx_programs(ifindex, side)
        for name in names:
            if name in OUR_NAMES:
                break
            found.append(f"tcx program {name} on {_WORDS[side]}")
        if any(name in OUR_NAMES for name in names):
            continue
        ours = find_filter(ifindex, side)
        found += [
            f"tc filter of priority {priority} on {_WORDS[side]}"
            for priority in filter_priorities(ifindex, side)
            if ours is None or priority < ours[0]
        ]
    return found


def tcx_programs(ifindex: int, side: str) -> list[str]:
    """Names of a side's tcx programs in the order they run; none where there is no tcx."""
    ids = ffi.new("uint32_t[]", 64)
    count = lib.ts_tcx_programs(ifindex, side == "out", ids, 64)
    names = []
    for prog_id in ids[0 : max(0, min(count, 64))]:
        try:
            names.append(syscall.program_name(prog_id))
        except KernelError:
            names.append(f"{prog_id} (its name is not ours to see)")
    return names
