# SPDX-License-Identifier: Apache-2.0
"""A time line keeps its beginning and its latest part, in order, whatever is added."""

from __future__ import annotations

import random

import pytest

from sentinel.detect.evidence import (
    LEFT_OUT,
    LONGEST_MOMENT_CHARS,
    LONGEST_PLACE_CHARS,
    MOST_MOMENTS,
    add_moment,
    bounded,
)
from sentinel.event import Moment


def moments(count: int) -> tuple[Moment, ...]:
    return tuple(Moment(number, "tap0", str(number)) for number in range(count))


def added(count: int) -> tuple[Moment, ...]:
    evidence: tuple[Moment, ...] = ()
    for moment in moments(count):
        evidence = add_moment(evidence, moment)
    return evidence


def test_what_fits_stays_as_it_is() -> None:
    assert added(MOST_MOMENTS) == moments(MOST_MOMENTS)


@pytest.mark.parametrize("count", [MOST_MOMENTS + 1, MOST_MOMENTS + 2, 1000])
def test_of_more_the_first_and_the_last_stay_and_the_gap_is_told(count: int) -> None:
    evidence = added(count)
    assert len(evidence) == MOST_MOMENTS
    half = MOST_MOMENTS // 2
    assert evidence[: half - 1] == moments(count)[: half - 1]
    assert (evidence[half - 1].time_ns, evidence[half - 1].text) == (half - 1, LEFT_OUT)
    assert evidence[half:] == moments(count)[-half:]
    assert bounded(moments(count)) == evidence


@pytest.mark.parametrize("most", [2, 3, 4, 8, 31, 32])
def test_any_bound_holds(most: int) -> None:
    for count in (0, 1, 2, 3, 5, 33, 200):
        kept = bounded(moments(count), most)
        assert len(kept) == min(most, count)
        assert kept[-1:] == moments(count)[-1:]


def test_a_moment_that_comes_late_stands_where_its_time_puts_it() -> None:
    chance = random.Random(1)
    late = [Moment(at, "tap0", str(at)) for at in range(MOST_MOMENTS)]
    chance.shuffle(late)
    evidence: tuple[Moment, ...] = ()
    for moment in late:
        evidence = add_moment(evidence, moment)
    assert evidence == moments(MOST_MOMENTS)
    # Of the same time, in the order they came.
    evidence = add_moment(evidence[:1], Moment(0, "tap0", "second"))
    assert [one.text for one in evidence] == ["0", "second"]


def test_texts_from_outside_are_cut() -> None:
    (kept,) = add_moment((), Moment(1, "p" * 1000, "t" * 1000))
    assert len(kept.text) == LONGEST_MOMENT_CHARS
    assert kept.text.endswith("…")
    assert len(kept.place) == LONGEST_PLACE_CHARS
