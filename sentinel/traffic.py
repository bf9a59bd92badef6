# SPDX-License-Identifier: Apache-2.0
"""What the kernel saw of tags, sizes and losses: rows of its evidence maps, decoded.

Times are CLOCK_MONOTONIC in nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.tag import Tag


@dataclass(frozen=True, slots=True)
class PairSeen:
    """Frames of one device, one direction and one pair of tags.

    Untagged frames have a row only where they were oversized. `is_rest`: the row
    stands for all pairs of the device and direction that found no row of their own;
    its tags are None. Sizes are those of the largest segment of a super-frame. The
    excess is what a frame's path bytes (no Ethernet header, one tag free) are above
    the path's MTU; `excess` counts frames by it, as enum tap_excess orders them.
    """

    ifindex: int
    direction: int
    """abi.TAP_IN: from the guest or the wire; abi.TAP_OUT: towards it."""
    outer: Tag | None
    inner: Tag | None
    is_rest: bool
    frames: int
    bytes: int
    oversized: int
    excess: tuple[int, ...]
    smallest_excess_bytes: int
    """Of oversized frames; 0 without one."""
    largest_excess_bytes: int
    largest_wire_bytes: int
    first_seen_ns: int
    last_seen_ns: int
    last_oversized_ns: int
    """0: never."""


@dataclass(frozen=True, slots=True)
class LossSeen:
    """Frames that the kernel threw away, of one way, reason and place in its code.

    `from_ifindex` is the device the frame came into the host by (0: the host made
    it), `at_ifindex` the one it was at; at least one of the two is watched.
    """

    from_ifindex: int
    at_ifindex: int
    reason: str
    """As the kernel names it, e.g. "FULL_RING"; "reason 17" where it has no name."""
    symbol: str
    """The kernel function that gave it up, e.g. "br_dev_queue_push_xmit"; "" if unknown."""
    frames: int
    bytes: int
    largest_bytes: int
    first_seen_ns: int
    last_seen_ns: int
    frames_before: int = 0
    """Of `frames`, those that were lost more than a minute ago."""
