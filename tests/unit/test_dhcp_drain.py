# SPDX-License-Identifier: Apache-2.0
"""Whether a queue is drained, from what is read of it now and then."""

from __future__ import annotations

import pytest

from sentinel.dhcp.drain import TIME_TO_READ_NS, Drain, Draining
from sentinel.dhcp.facts import PortFacts, QueueReading

SECOND = 1_000_000_000


def facts(at_s: float, passed: int, taken: int, dropped: int = 0) -> PortFacts:
    queue = QueueReading(passed, taken, dropped, None, None)
    return PortFacts(7, round(at_s * SECOND), 0, 0, 0, False, queue)


def after(*readings: PortFacts) -> Drain:
    drain = Drain()
    for one in readings:
        drain.add(one)
    return drain


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], Draining.UNKNOWN),
        ([(0, 10, 5)], Draining.UNKNOWN),
        # Nothing was sent to it, so it had nothing to take.
        ([(0, 10, 5), (1, 10, 5), (60, 10, 5)], Draining.UNKNOWN),
        ([(0, 10, 5), (1, 10, 6)], Draining.DRAINED),
        ([(0, 10, 5), (1, 11, 6)], Draining.DRAINED),
        # It was sent something a moment ago at most.
        ([(0, 10, 5), (1, 11, 5)], Draining.UNKNOWN),
        ([(0, 10, 5), (1, 11, 5), (1.7, 11, 5)], Draining.UNKNOWN),
        ([(0, 10, 5), (1, 11, 5), (1.8, 11, 5)], Draining.STALLED),
        ([(0, 10, 5), (1, 11, 5), (60, 11, 5)], Draining.STALLED),
        ([(0, 10, 5), (1, 11, 5), (2, 11, 5), (3, 11, 6)], Draining.DRAINED),
        ([(0, 10, 5), (1, 11, 6), (2, 12, 6), (3, 12, 6)], Draining.STALLED),
        # Slow, but it takes.
        ([(0, 10, 5), (1, 20, 6), (2, 30, 7), (3, 40, 8)], Draining.DRAINED),
        # Counters that went backwards are another device's.
        ([(0, 10, 5), (1, 3, 1), (2, 3, 1)], Draining.UNKNOWN),
        ([(0, 10, 5), (1, 12, 1), (1.5, 13, 1), (2, 13, 1)], Draining.UNKNOWN),
    ],
)
def test_readings(readings: list[tuple[float, int, int]], expected: Draining) -> None:
    assert after(*(facts(*one) for one in readings)).draining is expected


def test_a_stall_is_one_to_the_nanosecond() -> None:
    for late_ns, expected in ((-1, Draining.UNKNOWN), (0, Draining.STALLED)):
        late_s = 1 + (TIME_TO_READ_NS + late_ns) / SECOND
        drain = after(facts(0, 10, 5), facts(1, 11, 5), facts(late_s, 11, 5))
        assert drain.draining is expected


def test_what_waits_and_what_was_dropped() -> None:
    drain = after(facts(0, 100, 50, 7), facts(1, 150, 50, 27), facts(2, 160, 50, 30))
    assert drain.waiting() == (37, 23)
    assert after().waiting() == (0, 0)
    assert after(facts(0, 1, 1)).waiting() == (0, 0)


def test_a_reading_that_failed_says_nothing() -> None:
    drain = after(facts(0, 10, 5), facts(1, 11, 5))
    drain.add(PortFacts(7, 5 * SECOND, 0, 0, 0, False, None))
    assert drain.draining is Draining.UNKNOWN
    assert drain.last == facts(1, 11, 5)


def test_clear() -> None:
    drain = after(facts(0, 10, 5), facts(1, 11, 5), facts(2, 11, 5))
    drain.clear()
    assert drain == Drain()
