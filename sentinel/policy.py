# SPDX-License-Identifier: Apache-2.0
"""How long a cut holds, what counts as a relapse, how many cuts the fuse allows.

The recovery of a switch's err-disabled port is the model: 300 s, give or take 15 %.
The doubling is our own, so that a guest that does not mend costs ever less.
"""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.config import HOLD_JITTER_PERCENT, FuseConfig, HoldConfig
from sentinel.event import PastCut, Quarantine

_MOST_DOUBLINGS = 62
"""Ten years doubled this often is beyond any hold.max; keeps the numbers small."""
_JITTER_STEPS = 1_000_000


def hold_ns(hold: HoldConfig, relapses: int, jitter_unit: float) -> int | None:
    """How long a check's cut holds, in nanoseconds; None: until it is released.

    `initial` × 2^relapses, at most `max`, then up to 15 % more or less by
    `jitter_unit` (-1 to 1), and again at most `max`: after many relapses the holds
    are still spread. Raises ValueError for a negative `relapses` or a jitter_unit
    outside of its range.
    """
    if relapses < 0:
        raise ValueError(f"relapses cannot be negative: {relapses}")
    if not -1.0 <= jitter_unit <= 1.0:
        raise ValueError(f"jitter_unit must lie between -1 and 1: {jitter_unit}")
    if not hold.auto_release:
        return None
    doubled_ns = min(hold.initial_ns << min(relapses, _MOST_DOUBLINGS), hold.max_ns)
    spread = round(jitter_unit * _JITTER_STEPS) * HOLD_JITTER_PERCENT
    jittered_ns = doubled_ns + doubled_ns * spread // (100 * _JITTER_STEPS)
    return max(1, min(jittered_ns, hold.max_ns))


def relapse_count(history: Iterable[PastCut], now_wall_ns: int, forget_after_ns: int) -> int:
    """How many cuts in a row a new one now would follow.

    `history` in any order. A cut is part of the row if less than `forget_after_ns`
    passed between its release and the next one's beginning (for the last: now);
    `hold.max` is a good measure. What was ordered is no offence and does not
    count. A cut that has not been released ends now.
    """
    row = 0
    next_ns = now_wall_ns
    for cut in sorted(history, key=lambda cut: cut.since_wall_ns, reverse=True):
        if cut.cause == "order" or cut.since_wall_ns > now_wall_ns:
            continue
        released_ns = next_ns if cut.released_wall_ns is None else cut.released_wall_ns
        if next_ns - released_ns >= forget_after_ns:
            break
        row += 1
        next_ns = cut.since_wall_ns
    return row


def until_wall_ns(since_wall_ns: int, hold: int | None) -> int | None:
    """When a cut ends by itself; None: never."""
    return None if hold is None else since_wall_ns + hold


def remaining_ns(quarantine: Quarantine, now_wall_ns: int) -> int | None:
    """What is left of a hold, never negative; None: until it is released.

    Never more than the hold itself: a clock that was set back does not prolong it.
    """
    if quarantine.until_wall_ns is None:
        return None
    left_ns = max(0, quarantine.until_wall_ns - now_wall_ns)
    return left_ns if quarantine.hold_ns is None else min(left_ns, quarantine.hold_ns)


def is_due(quarantine: Quarantine, now_wall_ns: int) -> bool:
    """Whether the hold is over."""
    return remaining_ns(quarantine, now_wall_ns) == 0


def fuse_limit(fuse: FuseConfig, watched: int) -> int:
    """The most ports that may be cut at one time, of `watched` ones; never less than one."""
    return fuse.limit(watched)
