# SPDX-License-Identifier: Apache-2.0
"""What knowing when a port was last seen adds to a frame, and what other ways would add."""

from __future__ import annotations

from collections.abc import Iterator

from bench import measure
from bench.report import Row
from sentinel.loader import objects
from tests.harness.frames import GUEST_MAC
from tests.harness.packets import tcp_frame
from tests.harness.programs import PORT, Programs

FRAME = tcp_frame(GUEST_MAC, "52:54:00:aa:bb:cc", "192.0.2.9", "192.0.2.1")
WAYS = {
    "nothing of it": "clock_none",
    "the tick compared": "clock_compared",
    "the clock read once in a tick (ours)": "clock_each_tick",
    "the same for housekeeping (ours)": "clock_each_quiet_tick",
    "ticks written for every frame": "clock_ticks_written",
    "the clock read for every frame": "clock_each_frame",
}


def clock_rows(programs: Programs, empty_fd: int) -> Iterator[Row]:
    """Each way against the empty program, in turn."""
    fds = objects.load_object(measure.compiled("clocks"), programs.guard.pins)
    try:
        for way, name in WAYS.items():
            base = measure.program_on(empty_fd, FRAME, PORT)
            ours = measure.program_on(fds[name], FRAME, PORT)
            yield Row("TCP", way, measure.alternate(base, ours), None)
    finally:
        objects.close_all(fds)
