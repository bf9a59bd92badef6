# SPDX-License-Identifier: Apache-2.0
"""What tracing drops costs a frame that the kernel throws away: traced against not traced.

Frames are written to taps where no protocol takes them. Loading the program is not
part of the time.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import measure
from bench.report import Row
from bench.tap_path import children_s
from sentinel import abi
from sentinel.loader.drops import DropTrace, describe_obstacle
from tests.harness.blast import blast
from tests.harness.frames import BROADCAST, GUEST_MAC, Bpdu, bpdu, ethernet
from tests.harness.guarded_tap import GuardedTap
from tests.harness.taps import Tap

FRAMES = 100_000
ROUNDS = 15
NOBODYS = ethernet(BROADCAST, GUEST_MAC, bytes(86), 0x88B5)


def drop_rows() -> Iterator[Row]:
    """The writer's time on a CPU for each frame; nothing where drops cannot be traced."""
    if describe_obstacle("libbpf") is not None:
        return
    with GuardedTap(mtu_bytes=1500, bpdu="drop") as guarded, Tap("tap1", guarded.netns) as other:
        other.up()
        if guarded.tap is None:
            return
        trace = DropTrace(guarded.guard)
        other_ifindex = guarded.netns_ifindex("tap1")

        def flood(tap: Tap, frame: bytes) -> float:
            before_s = children_s()
            blast(tap, [frame], FRAMES)
            return (children_s() - before_s) * 1e9 / FRAMES

        def traced(tap: Tap, frame: bytes, *, elsewhere: bool = False) -> float:
            if elsewhere:
                trace.start()
            else:
                with guarded.netns.enter():
                    trace.start()
            try:
                return flood(tap, frame)
            finally:
                trace.close()

        def row(name: str, tap: Tap, frame: bytes, *, elsewhere: bool = False) -> Row:
            found = measure.alternate(
                lambda: flood(tap, frame), lambda: traced(tap, frame, elsewhere=elsewhere), ROUNDS
            )
            return Row(name, "no protocol's" if frame is NOBODYS else "our own cut", found, None)

        yield row("of another namespace's device", other, NOBODYS, elsewhere=True)
        yield row("of a device that is not watched", other, NOBODYS)
        guarded.guard.maps.claim(other_ifindex, abi.TAP_ROLE_PORT, 1500, 0)
        yield row("of a watched port", other, NOBODYS)
        guarded.guard.maps.release_slot(other_ifindex)
        yield row("of a watched port, BPDU", guarded.tap, bpdu(Bpdu.RSTP).ljust(100, b"\0"))
