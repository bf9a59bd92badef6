# SPDX-License-Identifier: Apache-2.0
"""However often somebody is refused, it is told once a minute, with how often."""

from __future__ import annotations

from sentinel.durations import SECOND_NS
from sentinel.refusals import MOST_NAMES, WINDOW_NS, Refusal, Refusals


def refusal(by: str = "", problem: str = "no") -> Refusal:
    return Refusal("order", by, "", "", "broker", None, problem)


def test_one_is_told_at_once_and_the_rest_with_their_number() -> None:
    gate = Refusals()
    assert gate.note(refusal(), 0) == [refusal()]
    for number in range(1000):
        assert gate.note(refusal(problem=str(number)), SECOND_NS) == []
    assert gate.due(WINDOW_NS - 1) == []
    (told,) = gate.due(WINDOW_NS)
    assert (told.times, told.problem) == (1000, "999")
    assert gate.due(2 * WINDOW_NS) == []
    assert gate.note(refusal(), 2 * WINDOW_NS) == [refusal()]
    assert gate.count == 1002


def test_signers_are_told_apart_up_to_a_bound() -> None:
    gate = Refusals()
    told = [one for n in range(1000) for one in gate.note(refusal(f"p{n}"), 0)]
    assert len(told) == MOST_NAMES + 1, "those beyond are one"
    assert sum(one.times for one in gate.due(WINDOW_NS)) == 1000 - MOST_NAMES - 1
