# SPDX-License-Identifier: Apache-2.0
"""Tables, times and hex: how text is laid out for a person."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.cli_text import (
    Style,
    ago,
    clip,
    clock,
    day,
    exact_ago,
    exact_moment,
    gap,
    hexdump,
    left,
    member,
    moment,
    named_once,
    number,
    pairs,
    parts,
    plain,
    seconds,
    several,
    size,
    style_for,
    table,
    wrapped,
    zone,
)
from sentinel.terminal import columns, harmless

SECOND_NS = 1_000_000_000


@pytest.fixture(autouse=True)
def _summer_in_paris(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CEST-2")
    time.tzset()


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert style_for(True).paint("red", "x") == "\x1b[31mx\x1b[0m"
    assert style_for(False).paint("red", "x") == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert style_for(True).paint("red", "x") == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert style_for(True).paint("red", "x") == "x"


def test_a_table_is_aligned() -> None:
    lines = table(("PORT", "FRAMES"), [("tap1", "7"), ("tap1000", "1,000,000")], right=[1])
    assert lines == [
        "PORT        FRAMES",
        "tap1             7",
        "tap1000  1,000,000",
    ]


def test_wide_letters_keep_a_table_aligned() -> None:
    lines = table(("VM", "N"), [("東京", "1"), ("web", "2")])
    assert {
        columns(line[: line.index(digit)]) for line, digit in zip(lines[1:], "12", strict=True)
    } == {6}


@given(st.text(max_size=50), st.integers(1, 30))
def test_a_clipped_text_fits_and_is_printable(text: str, width: int) -> None:
    shown = clip(text, width)
    assert columns(shown) <= width
    assert shown.isprintable()


def test_moment_has_a_zone() -> None:
    assert moment(0) == "1970-01-01 02:00:00 +0200"
    assert moment(None) == "unknown time"
    assert moment(2**63 - 1).startswith("2262-")
    assert moment(10**30) == f"{10**30} ns"


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0s"), (-5, "0s"), (999_000_000, "0s"), (61 * SECOND_NS + 5, "1m1s"), (None, "unknown")],
)
def test_seconds(duration_ns: object, text: str) -> None:
    assert seconds(duration_ns) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (40960, "41 kB"), (256_000_000, "256 MB"), (None, "?")],
)
def test_size(size_bytes: object, text: str) -> None:
    assert size(size_bytes) == ("unknown size" if text == "?" else text)


def test_what_is_left_is_rounded_up() -> None:
    assert left(3600 * SECOND_NS - 20_000_000) == "1h"
    assert left(1) == "1s"


def test_numbers() -> None:
    assert number(1234567) == "1,234,567"
    assert number(None) == "-"
    assert several(1, "port", "ports") == "1 port"
    assert several(0, "port", "ports") == "0 ports"


def test_hexdump() -> None:
    assert hexdump("0180c200000052540000000700274242030000020200") == [
        "0000: 0180 c200 0000 5254 0000 0007 0027 4242  ......RT.....'BB",
        "0010: 0300 0002 0200                           ......",
    ]
    assert hexdump("1b5b324a7f80") == ["0000: 1b5b 324a 7f80" + " " * 27 + ".[2J.."]
    assert hexdump("no\x1bhex") == ["no\\x1bhex"]
    assert hexdump("") == []


def test_values_in_words() -> None:
    assert plain(None) == "none"
    assert plain(True) == "yes"
    assert plain(["a\x1b", 1]) == "a\\x1b, 1"
    assert plain([]) == "none"
    assert plain({"a": {"b": None}}) == "a b none"
    assert member("since_wall_ns", 0) == "1970-01-01 02:00:00 +0200"
    assert member("hold_ns", 90 * SECOND_NS) == "1m30s"
    assert member("hold_ns", None) == "none"


@pytest.mark.parametrize(
    ("wall_ns", "shown"),
    [
        (1_412_999_999, "1970-01-01 02:00:01.412 +0200"),
        (-1, "1970-01-01 01:59:59.999 +0200"),
        (None, "unknown time"),
        ("x", "unknown time"),
        (10**30, f"{10**30} ns"),
    ],
)
def test_moments_with_milliseconds(wall_ns: object, shown: str) -> None:
    assert exact_moment(wall_ns) == shown


def test_clocks_and_days() -> None:
    assert (clock(0), day(0), zone(0)) == ("02:00:00.000", "1970-01-01", "+0200")
    for unknown in (None, "0", 1.5, 10**30):
        assert (clock(unknown), day(unknown), zone(unknown)) == ("", "", "")


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "+0.0 ms"),
        (100_000, "+0.1 ms"),
        (9_949_999, "+9.9 ms"),
        (9_950_000, "+10 ms"),
        (38_000_000, "+38 ms"),
        (999_499_999, "+999 ms"),
        (999_500_000, "+1.000 s"),
        (12_004_000_000, "+12.004 s"),
        (59_999_499_999, "+59.999 s"),
        (60_000_000_000, "+1m"),
        (23 * 3600 * SECOND_NS + 59 * 60 * SECOND_NS, "+23h59m"),
        (-100_000, "-0.1 ms"),
        (None, ""),
        ("1", ""),
    ],
)
def test_gaps(duration_ns: object, text: str) -> None:
    assert gap(duration_ns) == text


@given(st.integers())
def test_a_gap_fits_its_column(duration_ns: int) -> None:
    assert len(gap(duration_ns)) <= 9


def test_how_long_ago() -> None:
    now_ns = 300 * SECOND_NS
    assert ago(now_ns - 252 * SECOND_NS, now_ns) == "4m12s ago"
    assert ago(now_ns - 380_000_000, now_ns) == "380ms ago"
    assert ago(now_ns, now_ns) == "0s ago"
    assert ago(now_ns + 12 * SECOND_NS, now_ns) == "in 12s"
    assert exact_ago(None, 0) == "never"
    assert exact_ago("x", 0) == "unknown time"
    assert exact_ago(0, SECOND_NS) == "1970-01-01 02:00:00.000 +0200 (1s ago)"


@given(st.text(max_size=200), st.integers(2, 40))
def test_a_wrapped_text_fits_and_loses_nothing(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(columns(line) <= width and line.isprintable() for line in lines)
    assert "".join(lines).replace(" ", "") == harmless(text).replace(" ", "")


def test_wrapping_breaks_between_words() -> None:
    assert wrapped("a queue is not drained", 12) == ["a queue is", "not drained"]
    assert wrapped("", 5) == [""]


def test_parts_of_an_answer() -> None:
    assert parts({"a": [{"b": 1}, None, [], 7]}, "a") == [{"b": 1}]
    damaged: tuple[object, ...] = (None, 7, [], "a", {}, {"a": None}, {"a": {"b": 1}})
    for broken in damaged:
        assert parts(broken, "a") == []


def test_pairs() -> None:
    facts = named_once([("a", "1"), ("a", "2"), ("bcd", "3"), ("a", "4")])
    assert pairs(facts) == ["  a    1", "       2", "  bcd  3", "  a    4"]
    assert pairs([]) == []


def test_no_style_adds_nothing() -> None:
    assert Style(False).paint("bold", "x") == "x"
