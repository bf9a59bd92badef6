# SPDX-License-Identifier: Apache-2.0
"""Holds double and are spread, relapses are forgotten, the fuse allows at least one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import FuseConfig, HoldConfig
from sentinel.durations import DAY_NS, HOUR_NS, LONGEST_NS, SECOND_NS
from sentinel.event import PastCut
from sentinel.policy import (
    fuse_limit,
    hold_ns,
    is_due,
    relapse_count,
    remaining_ns,
    until_wall_ns,
)
from tests.harness.journals import NOON_NS, quarantine

HOLD = HoldConfig()


def test_the_first_hold_is_the_initial_one() -> None:
    assert hold_ns(HOLD, 0, 0.0) == 300 * SECOND_NS


@pytest.mark.parametrize(("relapses", "times"), [(1, 2), (2, 4), (3, 8), (8, 256)])
def test_each_relapse_doubles_it(relapses: int, times: int) -> None:
    assert hold_ns(HOLD, relapses, 0.0) == times * 300 * SECOND_NS


def test_it_is_spread_by_15_per_cent() -> None:
    assert hold_ns(HOLD, 0, 1.0) == 345 * SECOND_NS
    assert hold_ns(HOLD, 0, -1.0) == 255 * SECOND_NS


@pytest.mark.parametrize("relapses", [9, 63, 64, 10_000, 1 << 40])
def test_it_never_exceeds_the_maximum_and_is_still_spread_there(relapses: int) -> None:
    assert hold_ns(HOLD, relapses, 1.0) == DAY_NS
    assert hold_ns(HOLD, relapses, 0.0) == DAY_NS
    assert hold_ns(HOLD, relapses, -1.0) == DAY_NS * 85 // 100


def test_without_auto_release_it_has_no_end() -> None:
    assert hold_ns(HoldConfig(auto_release=False), 3, 0.5) is None


@given(
    initial=st.integers(1, LONGEST_NS),
    more=st.integers(0, LONGEST_NS),
    relapses=st.integers(0, 100),
    unit=st.floats(-1, 1),
)
def test_it_is_within_its_bounds_whatever_comes(
    initial: int, more: int, relapses: int, unit: float
) -> None:
    hold = HoldConfig(initial_ns=initial, max_ns=initial + more)
    got = hold_ns(hold, relapses, unit)
    assert got is not None
    plain = min(initial << relapses, initial + more)
    assert max(1, plain * 85 // 100) <= got <= min(plain * 115 // 100 + 1, hold.max_ns)


@pytest.mark.parametrize("unit", [1.01, -1.01, math.nan, math.inf])
def test_a_jitter_out_of_range_is_a_mistake(unit: float) -> None:
    with pytest.raises(ValueError, match="jitter_unit"):
        hold_ns(HOLD, 0, unit)


def test_negative_relapses_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="relapses"):
        hold_ns(HOLD, -1, 0.0)


def cuts(*spans: tuple[int, int | None], cause: str = "bpdu") -> list[PastCut]:
    return [PastCut(cause, since * HOUR_NS, until and until * HOUR_NS) for since, until in spans]


@pytest.mark.parametrize(
    ("history", "now_hours", "count"),
    [
        ([], 100, 0),
        (cuts((98, 99)), 100, 1),
        (cuts((70, 76)), 100, 0),  # 24 quiet hours since the release: forgotten.
        (cuts((70, 77)), 100, 1),
        (cuts((50, 60), (70, 77)), 100, 2),
        (cuts((70, 77), (50, 60)), 100, 2),  # Any order.
        (cuts((20, 30), (70, 77)), 100, 1),  # A quiet time in between ends the row.
        (cuts((20, 30), (50, 60), (70, 77)), 100, 3),
        (cuts((98, None)), 100, 1),
        (cuts((98, 99), cause="order"), 100, 0),
        (cuts((70, 77)) + cuts((98, 99), cause="order"), 100, 1),
        (cuts((101, 102)), 100, 0),  # A clock that was set back.
    ],
)
def test_a_relapse_follows_a_cut_by_a_check_within_the_time(
    history: list[PastCut], now_hours: int, count: int
) -> None:
    assert relapse_count(history, now_hours * HOUR_NS, DAY_NS) == count


def test_the_end_of_a_hold() -> None:
    assert until_wall_ns(5, 3) == 8
    assert until_wall_ns(5, None) is None
    cut = quarantine()
    assert remaining_ns(cut, NOON_NS) == 300 * SECOND_NS
    assert not is_due(cut, NOON_NS + 300 * SECOND_NS - 1)
    assert is_due(cut, NOON_NS + 300 * SECOND_NS)
    assert remaining_ns(cut, NOON_NS + DAY_NS) == 0


def test_a_clock_that_was_set_back_does_not_prolong_a_hold() -> None:
    assert remaining_ns(quarantine(), NOON_NS - DAY_NS) == 300 * SECOND_NS


def test_a_cut_without_a_hold_is_never_due() -> None:
    endless = quarantine(hold_ns=None, until_wall_ns=None)
    assert remaining_ns(endless, NOON_NS + DAY_NS) is None
    assert not is_due(endless, NOON_NS + DAY_NS)


def test_the_fuse() -> None:
    assert fuse_limit(FuseConfig(), 3) == 1
    assert fuse_limit(FuseConfig(max_quarantined="50%"), 9) == 4
