# SPDX-License-Identifier: Apache-2.0
"""The ladder: an arrow for each message, as far as it was seen to get."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sentinel.cli_ladder import ladder_lines, paper_for
from sentinel.cli_text import Style
from sentinel.terminal import columns
from tests.harness.canned_dhcp import (
    MS_NS,
    PORT,
    SECOND_NS,
    SILENT_NS,
    answered,
    asked,
    seen,
    stalled_exchange,
    with_gaps,
)

PLAIN = Style(False)
WIDE, NARROW, TYPED = paper_for(100, "utf-8"), paper_for(80, "utf-8"), paper_for(100, "ascii")
START_NS = SILENT_NS + 38 * MS_NS
Exchange = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _at_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def rows(exchange: Exchange, style: Style = PLAIN) -> list[str]:
    """The ladder without its head, from the first life line on, on wide paper."""
    return [line[26:] for line in ladder_lines(exchange, PORT, style, paper_for(120, "utf-8"))[1:]]


def test_a_guest_that_hears_no_answer() -> None:
    assert ladder_lines(stalled_exchange(), PORT, PLAIN, WIDE) == [
        "  2025-10-09 +0000        guest  tap3f2a9c1e-77 / bond0  server",
        "  02:13:07.450            │── DHCPREQUEST ──┼────────────────▶│"
        "  renews 10.0.0.7, to 10.0.0.1",
        "  02:13:07.451   +1.2 ms  │◀────────────────┼──── DHCPACK ────│  10.0.0.7",
        "  02:13:19.453 +12.002 s  │── DHCPREQUEST ──┼────────────────▶│  renews 10.0.0.7",
        "  02:13:19.454   +1.1 ms  │◀────────────────┼──── DHCPACK ────│  10.0.0.7",
        "  02:13:29.924 +10.470 s  │── DHCPREQUEST ──┼────────────────▶│"
        "  rebinds 10.0.0.7, to everybody",
        "  02:13:29.925   +1.3 ms  │◀────────────────┼──── DHCPACK ────│  10.0.0.7 from 10.0.0.1",
    ]


def test_without_the_signs_for_it() -> None:
    lines = ladder_lines(stalled_exchange(), PORT, PLAIN, TYPED)
    assert lines[1:3] == [
        "  02:13:07.450            |-- DHCPREQUEST --+---------------->|"
        "  renews 10.0.0.7, to 10.0.0.1",
        "  02:13:07.451   +1.2 ms  |<----------------+---- DHCPACK ----|  10.0.0.7",
    ]
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(
    ("message", "row"),
    [
        (
            seen(START_NS, "from_guest"),
            "│─ DHCPREQUEST ──▶│                 │  10.0.0.7",
        ),
        (
            seen(START_NS, "from_guest", passed=False),
            f"│─ DHCPREQUEST ──▶x                 │  dropped at {PORT}; 10.0.0.7",
        ),
        (
            seen(START_NS, "to_wire"),
            f"│                 │─ DHCPREQUEST ──▶│  not seen at {PORT}; 10.0.0.7",
        ),
        (
            seen(START_NS, "to_wire", passed=False),
            "│   DHCPREQUEST   x                 │"
            f"  dropped at bond0; not seen at {PORT}; 10.0.0.7",
        ),
        (
            seen(START_NS, "from_wire", "DHCPACK"),
            f"│                 x◀─── DHCPACK ────│  not seen at {PORT}; 10.0.0.7",
        ),
        (
            seen(START_NS, "to_guest", "DHCPACK"),
            "│◀─── DHCPACK ────│                 │  10.0.0.7",
        ),
        (
            seen(START_NS, "to_guest", "DHCPACK", passed=False),
            f"│                 x     DHCPACK     │  dropped at {PORT}; 10.0.0.7",
        ),
        (
            seen(START_NS, "sideways"),
            "│                 │   DHCPREQUEST   │  10.0.0.7",
        ),
    ],
    ids=lambda one: one["direction"] if isinstance(one, dict) else "",
)
def test_how_far_a_message_got(message: dict[str, Any], row: str) -> None:
    (drawn,) = rows([message])
    assert drawn == row


def test_an_answer_that_came_to_the_uplink_and_not_to_the_tap() -> None:
    lost = seen(START_NS + MS_NS, "from_wire", "DHCPACK", server="10.0.0.1")
    lines = ladder_lines([*asked(START_NS), lost], PORT, Style(True), WIDE)
    assert lines[2] == (
        "\x1b[31m  02:13:07.451   +1.0 ms  │                 x◀─── DHCPACK ────│\x1b[0m"
    )
    assert lines[3] == (f"\x1b[31m{' ' * 28}not seen at {PORT}; 10.0.0.7 from 10.0.0.1\x1b[0m")
    assert "x" not in lines[1]


def test_an_answer_that_the_tap_s_own_program_dropped() -> None:
    came, dropped = answered(START_NS)
    (row,) = rows([came, {**dropped, "passed": False}])
    assert row == (
        f"│                 x◀─── DHCPACK ────│  dropped at {PORT}; 10.0.0.7 from 10.0.0.1"
    )


def test_a_question_that_never_left_by_the_uplink_the_others_left_by() -> None:
    drawn = rows([*asked(START_NS), seen(START_NS + 9 * SECOND_NS, "from_guest", xid=7)])
    assert drawn[1] == "│─ DHCPREQUEST ──▶│                 │  not seen at bond0; 10.0.0.7"
    (alone,) = rows([seen(START_NS, "from_guest")])
    assert "not seen" not in alone


class TestPairs:
    def test_the_sighting_next_before_is_the_same_message(self) -> None:
        """The first of two questions got lost; the second one is the one that left."""
        drawn = rows(
            [
                seen(START_NS, "from_guest"),
                seen(START_NS + 400 * MS_NS, "from_guest"),
                seen(START_NS + 401 * MS_NS, "to_wire"),
            ]
        )
        assert "┼" not in drawn[0]
        assert "┼" in drawn[1]

    @pytest.mark.parametrize(
        "other",
        [
            {"xid": 9},
            {"name": "DHCPDISCOVER"},
            {"address": "10.0.0.8"},
            {"server": "10.0.0.2"},
            {"time_wall_ns": START_NS + 2 * SECOND_NS},
        ],
        ids=str,
    )
    def test_another_message_is_none_of_it(self, other: dict[str, Any]) -> None:
        drawn = rows([seen(START_NS, "from_guest"), {**seen(START_NS + 9, "to_wire"), **other}])
        assert len(drawn) == 2
        assert not any("┼" in row for row in drawn)

    def test_one_that_leaves_by_two_uplinks(self) -> None:
        drawn = rows([*asked(START_NS), seen(START_NS + MS_NS, "to_wire", device="bond1")])
        assert ["┼" in row for row in drawn] == [True, False]

    def test_two_servers_that_answer_at_once(self) -> None:
        first = answered(START_NS, "DHCPOFFER", server="10.0.0.1")
        second = answered(START_NS + 50_000, "DHCPOFFER", server="10.0.0.2")
        drawn = rows([first[0], second[0], first[1], second[1]])
        assert [row.count("┼") for row in drawn] == [1, 1]

    def test_what_was_dropped_did_not_go_on(self) -> None:
        drawn = rows([seen(START_NS, "from_guest", passed=False), seen(START_NS + 9, "to_wire")])
        assert len(drawn) == 2


class TestAgain:
    def test_retransmissions_are_one_row(self) -> None:
        exchange = [
            sighting
            for number in range(4)
            for sighting in asked(START_NS + number * 4 * SECOND_NS, "DHCPDISCOVER", address=None)
        ]
        end_ns = START_NS + 13 * SECOND_NS
        drawn = ladder_lines(
            [*exchange, *answered(end_ns, "DHCPOFFER")], PORT, PLAIN, paper_for(100, "utf-8")
        )
        assert (
            drawn[1].endswith(
                "│─── DHCPDISCOVER ×4 ───┼─────────────────────▶│  the last at 02:13:19.450"
            )
            or "DHCPDISCOVER ×4" in drawn[1]
        )
        assert "the last at 02:13:19.450" in drawn[1]
        assert " +1.000 s " in drawn[2]
        assert len(drawn) == 3

    def test_what_a_daemon_has_folded_already(self) -> None:
        exchange = with_gaps(
            [
                seen(START_NS, "from_guest", count=3, last_wall_ns=START_NS + 8 * SECOND_NS),
                seen(START_NS + 4 * SECOND_NS, "to_wire", count=2),
            ]
        )
        (row,) = rows(exchange)
        assert "DHCPREQUEST ×3" in row
        assert row.endswith("│  ×2 at bond0; 10.0.0.7; the last at 02:13:15.450")

    def test_the_gap_behind_several_is_the_daemon_s(self) -> None:
        """When the last of them was seen is not known here."""
        folded = seen(START_NS, "from_guest", count=3, last_wall_ns=None)
        answer = seen(START_NS + 9 * SECOND_NS, "to_guest", "DHCPACK", gap_ns=5 * MS_NS)
        lines = ladder_lines([folded, answer], PORT, PLAIN, WIDE)
        assert "  +5.0 ms  " in lines[2]

    def test_what_stands_between_keeps_them_apart(self) -> None:
        exchange = [*asked(START_NS), *answered(START_NS + MS_NS), *asked(START_NS + SECOND_NS)]
        assert ["×" in row for row in rows(exchange)] == [False] * 3

    def test_a_renewal_is_no_rebinding(self) -> None:
        exchange = [
            *asked(START_NS, act="renew", server=None),
            *asked(START_NS + SECOND_NS, act="rebind", server=None),
        ]
        assert [row.split("│  ")[1] for row in rows(exchange)] == [
            "renews 10.0.0.7",
            "rebinds 10.0.0.7",
        ]


def test_the_next_day_is_said() -> None:
    midnight_ns = 1_760_054_400 * SECOND_NS
    lines = ladder_lines(
        [*asked(midnight_ns - MS_NS), *asked(midnight_ns, xid=2)], PORT, PLAIN, WIDE
    )
    assert lines[0].startswith("  2025-10-09 +0000 ")
    assert lines[2] == "  2025-10-10"


def test_a_refusal_is_quoted_and_wrapped() -> None:
    note = "requested address not available on this segment; " * 3
    came = answered(START_NS, "DHCPNAK", address=None, note=note)
    for paper in (WIDE, NARROW):
        lines = ladder_lines(came, PORT, PLAIN, paper)
        assert all(columns(line) <= paper.width for line in lines)
        said = " ".join(line.strip() for line in lines[2:])
        assert said == f'from 10.0.0.1; "{note}"'


def test_a_long_note_is_cut() -> None:
    lines = ladder_lines(answered(START_NS, note="no " * 5000), PORT, PLAIN, NARROW)
    assert len(lines) < 8
    assert "…" in lines[-1]


def test_a_server_behind_another_port() -> None:
    (row,) = rows([seen(START_NS, "from_guest", "DHCPOFFER", device="tap9")])
    assert row == "│── DHCPOFFER ───▶│                 │  10.0.0.7; seen at tap9"


@pytest.mark.parametrize(
    "name",
    ["DHCPACK", "Information-request", "DHCPLEASEQUERYSTATUS", "東京東京東京東京東京", "x" * 90],
)
@pytest.mark.parametrize("paper", [WIDE, NARROW])
def test_every_name_fits(name: str, paper: Any) -> None:
    exchange = [*asked(START_NS, name, count=12_345_678), *answered(START_NS + MS_NS, name)]
    lines = ladder_lines(exchange, "tap3f2a9c1e-777", PLAIN, paper)
    assert all(columns(line) <= paper.width for line in lines)
    ends = {columns(line[: line.rindex("│")]) for line in lines if "│" in line}
    assert len(ends) == 1
    assert " ×12M ─" in lines[1]


@pytest.mark.parametrize(
    ("terminal", "encoding", "width", "line"),
    [
        (None, "utf-8", 100, "─"),
        (120, "UTF-8", 120, "─"),
        (300, "utf-8", 120, "─"),
        (40, "utf-8", 80, "─"),
        (0, "utf-8", 80, "─"),
        (100, "ascii", 100, "-"),
        (100, "iso8859-15", 100, "-"),
        (100, None, 100, "-"),
    ],
)
def test_what_it_is_drawn_on(
    terminal: int | None, encoding: str | None, width: int, line: str
) -> None:
    paper = paper_for(terminal, encoding)
    assert (paper.width, paper.signs.line) == (width, line)
