# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes: what is read, what is refused, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.durations import (
    DAY_NS,
    HOUR_NS,
    LONGEST_NS,
    MINUTE_NS,
    SECOND_NS,
    format_duration,
    format_duration_exactly,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("500ms", SECOND_NS // 2),
        ("90s", 90 * SECOND_NS),
        ("5m", 5 * MINUTE_NS),
        ("1h", HOUR_NS),
        ("2d", 2 * DAY_NS),
        ("1h30m", HOUR_NS + 30 * MINUTE_NS),
        ("3650d", LONGEST_NS),
    ],
)
def test_durations_are_read(text: str, duration_ns: int) -> None:
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "0s",
        "-1s",
        "1.5h",
        "30m1h",
        "1h1h",
        "5M",
        "1 h",
        " 1h",
        "1h\n",
        "٣s",
        "3651d",
        "1e3s",
        "999999999999s",
        "soon",
    ],
)
def test_what_is_no_duration_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as|longer than zero|at most 3650d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0s"),
        (999_999, "0s"),
        (250_000_000, "250ms"),
        (287 * SECOND_NS, "4m47s"),
        (5 * MINUTE_NS, "5m"),
        (26 * HOUR_NS + MINUTE_NS, "1d2h"),
        (DAY_NS + SECOND_NS, "1d"),
        (-90 * SECOND_NS, "-1m30s"),
    ],
)
def test_durations_are_shown_by_their_two_largest_units(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text


@given(st.integers(min_value=1_000_000, max_value=LONGEST_NS))
def test_what_is_shown_can_be_read_again_and_is_near(duration_ns: int) -> None:
    again_ns = parse_duration(format_duration(duration_ns))
    assert again_ns <= duration_ns < again_ns + max(again_ns // 20, 1_000_000)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("256MB", 256_000_000), ("1GB", 10**9), ("64MiB", 64 << 20), ("1 KiB", 1024), ("7B", 7)],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "256", "MB", "0MB", "-1MB", "1.5GB", "1mb", "1PB", "2000TB"])
def test_what_is_no_size_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as|larger than zero|at most"):
        parse_size(text)


@given(st.integers(1, LONGEST_NS // 1_000_000))
def test_what_is_written_exactly_reads_back_the_same(duration_ms: int) -> None:
    duration_ns = duration_ms * 1_000_000
    assert parse_duration(format_duration_exactly(duration_ns)) == duration_ns


@given(st.integers(1, 10**15))
def test_a_size_that_is_written_reads_back_the_same(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


def test_the_largest_unit_that_leaves_nothing_over() -> None:
    assert [format_size(each) for each in (256_000_000, 1 << 30, 1000, 1500, 7)] == [
        "256MB", "1GiB", "1kB", "1500B", "7B",
    ]  # fmt: skip
    assert format_duration_exactly(90_061_001_000_000) == "1d1h1m1s1ms"
