# SPDX-License-Identifier: Apache-2.0
"""What was lost lately is told from what was lost long ago."""

from __future__ import annotations

from sentinel.audit.window import LATELY_NS, STEP_NS, LossWindow
from sentinel.traffic import LossSeen

SECOND_NS = 1_000_000_000


def row(frames: int, symbol: str = "tun_net_xmit") -> LossSeen:
    return LossSeen(3, 4, "FULL_RING", symbol, frames, 64 * frames, 64, 1, 2)


def before(window: LossWindow, frames: int, at_s: float) -> int:
    (found,) = window.take([row(frames)], int(at_s * SECOND_NS))
    return found.frames_before


def test_what_a_daemon_finds_when_it_begins_is_old() -> None:
    assert before(LossWindow(), 500, 1) == 500


def test_a_row_that_appears_later_is_new() -> None:
    window = LossWindow()
    assert window.take([], SECOND_NS) == []
    assert before(window, 30, 2) == 0


def test_frames_are_old_after_a_minute() -> None:
    window = LossWindow()
    window.take([], 0)
    for at_s in range(1, LATELY_NS // SECOND_NS):
        assert before(window, 30, at_s) == 0
    grown = before(window, 40, (LATELY_NS + 2 * STEP_NS) / SECOND_NS)
    assert grown == 30


def test_a_row_that_began_anew_has_no_past() -> None:
    window = LossWindow()
    assert before(window, 500, 1) == 500
    assert before(window, 7, 2) == 0


def test_rows_are_told_apart_and_memory_is_bounded() -> None:
    window = LossWindow()
    for at_s in range(1000):
        found = window.take([row(at_s), row(5, "br_forward")], at_s * SECOND_NS)
        assert [one.symbol for one in found] == ["tun_net_xmit", "br_forward"]
    assert found[0].frames - found[0].frames_before <= (LATELY_NS + 2 * STEP_NS) / SECOND_NS
    assert found[1].frames == found[1].frames_before
    assert len(window._looks) <= LATELY_NS // STEP_NS + 2
