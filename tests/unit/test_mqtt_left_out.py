# SPDX-License-Identifier: Apache-2.0
"""A rate with a burst, and what is said of what was over it."""

from __future__ import annotations

from sentinel.durations import MINUTE_NS, SECOND_NS
from sentinel.mqtt.left_out import SAID_FOR_NS, LeftOut
from sentinel.mqtt.token_bucket import TokenBucket


def test_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(20, 100)
    at_once = sum(bucket.allows(10**15) for _ in range(1000))
    assert at_once == 100
    in_a_minute = sum(bucket.allows(10**15 + at * SECOND_NS // 1000) for at in range(60_000))
    assert 1199 <= in_a_minute <= 1200


def test_an_hour_of_silence_saves_no_more_than_a_burst() -> None:
    bucket = TokenBucket(20, 100)
    assert sum(bucket.allows(60 * MINUTE_NS) for _ in range(1000)) == 100


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(1, 1)
    assert bucket.allows(10 * SECOND_NS)
    assert not bucket.allows(5 * SECOND_NS)


def test_what_was_left_out_is_said_for_a_while() -> None:
    left_out = LeftOut("orders")
    assert left_out.problem(0) == ""
    for _ in range(3):
        left_out.add("over the rate", SECOND_NS)
    left_out.add("retained", 2 * SECOND_NS)
    assert left_out.problem(2 * SECOND_NS) == (
        "4 orders were left out (3 over the rate, 1 retained), the last just now"
    )
    assert left_out.problem(62 * SECOND_NS).endswith("the last 1m ago")
    assert left_out.problem(2 * SECOND_NS + SAID_FOR_NS + 1) == ""
    assert left_out.total == 4
