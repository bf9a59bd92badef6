# SPDX-License-Identifier: Apache-2.0
"""What is said of whom: every verdict, what makes it sure, and what only keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.dhcp.client import CONFLICT_KEPT_NS, GIVEN_UP_NS, Client
from sentinel.dhcp.drain import Draining
from sentinel.dhcp.exchange import PASSING_NS
from sentinel.dhcp.heard import LATE_NS
from sentinel.dhcp.step import Act, Step
from sentinel.dhcp.verdict import (
    NAK_OVER_NS,
    UNDECIDED_NS,
    Cause,
    Look,
    Rival,
    find_troubles,
    is_doubtful,
)
from tests.harness.dhcp_steps import PORT, SECOND, step

MAC = "fa:16:3e:00:00:07"
FRESH = Look(Draining.UNKNOWN, read_ns=1 << 62)
DRAINED = Look(Draining.DRAINED, read_ns=1 << 62)
STALLED = Look(Draining.STALLED, read_ns=1 << 62)


def client(*steps: Step) -> Client:
    found = Client(PORT, 4, MAC, MAC)
    for one in steps:
        found.take(one)
    return found


def bound(lease_s: float = 60) -> Client:
    return client(step(Act.FIND), step(Act.TAKE, 0.1), step(Act.ACK, 0.2, lease_s=lease_s))


def held(found: Client, at_s: float, look: Look = FRESH, **more: Any) -> list[tuple[Cause, bool]]:
    """Causes and whether they are sure, at a time of `step`."""
    now_ns = round((at_s + 1) * SECOND)
    return [(one.cause, one.is_sure) for one in find_troubles(found, look, now_ns, **more)]


@pytest.mark.parametrize(
    ("asked_at_s", "now_s", "expected"),
    [
        ([0], 3600, []),
        ([0, 5], 9, [False]),
        ([0, 5], 64, [True]),
        ([0, 55], 64, [False]),
        ([0, 55], 65, [True]),
        ([0, 1, 3], 4, [False]),
        ([0, 1, 3], 5.9, [False]),
        ([0, 1, 3], 6, [True]),
        ([0, 8, 16], 17.9, [False]),
        ([0, 8, 16], 18, [True]),
        ([0, 8, 16, 24], 25, [False]),
        ([0, 8, 16, 24], 26, [True]),
    ],
)
@pytest.mark.parametrize("act", [Act.FIND, Act.TAKE, Act.RENEW, Act.REBIND])
def test_unanswered(act: Act, asked_at_s: list[float], now_s: float, expected: list[bool]) -> None:
    found = client(*(step(act, at_s) for at_s in asked_at_s))
    assert held(found, now_s) == [(Cause.UNANSWERED, is_sure) for is_sure in expected]
    found.take(step(Act.OFFER if act is Act.FIND else Act.ACK, now_s))
    assert held(found, now_s) == []


@pytest.mark.parametrize("act", [Act.REBOOT, Act.INFORM, Act.RELEASE, Act.DECLINE])
def test_what_needs_no_answer(act: Act) -> None:
    found = client(*(step(act, at_s, addresses=()) for at_s in (0, 8, 16, 24)))
    causes = [cause for cause, _ in held(found, 100)]
    assert Cause.UNANSWERED not in causes


def test_offers_do_not_end_that_nothing_is_acknowledged() -> None:
    found = client(*(step(Act.TAKE, at_s) for at_s in (0, 4, 8)))
    for at_s in (20, 40, 60):
        assert held(found, at_s - 1) == [(Cause.UNANSWERED, True)]
        found.take(step(Act.FIND, at_s, xid=at_s))
        found.take(step(Act.OFFER, at_s + 0.1, xid=at_s, lease_s=60))
        found.take(step(Act.TAKE, at_s + 0.2, xid=at_s))


def test_it_needs_a_reading_after_the_last_question() -> None:
    found = client(*(step(Act.RENEW, at_s) for at_s in (0, 4, 8)))
    asked_ns = 9 * SECOND
    assert held(found, 20, Look(read_ns=asked_ns - 1)) == [(Cause.UNANSWERED, False)]
    assert held(found, 20, Look(read_ns=asked_ns)) == [(Cause.UNANSWERED, True)]
    # Or to have been waited for in vain.
    vain_ns = 21 * SECOND - UNDECIDED_NS
    assert held(found, 20, Look(doubt_ns=vain_ns + 1)) == [(Cause.UNANSWERED, False)]
    assert held(found, 20, Look(doubt_ns=vain_ns)) == [(Cause.UNANSWERED, True)]


@pytest.mark.parametrize("how", ["missed", "cut"])
def test_what_could_refute_it_keeps_it_from_being_said_but_not_from_lasting(how: str) -> None:
    found = client(*(step(Act.RENEW, at_s) for at_s in (0, 4, 8)))
    if how == "missed":
        found.see_missed(1)
    else:
        found.take(step(Act.RENEW, 9, passed=False))
    assert held(found, 30) == [(Cause.UNANSWERED, False)]
    for at_s in (40, 44, 48):
        found.take(step(Act.RENEW, at_s))
    assert held(found, 51) == [(Cause.UNANSWERED, True)]


def test_who_asks_no_more_is_in_trouble_no_more() -> None:
    found = client(*(step(Act.FIND, at_s) for at_s in (0, 4, 8)))
    given_up_s = 8 + GIVEN_UP_NS / SECOND
    assert held(found, given_up_s - 0.1) == [(Cause.UNANSWERED, True)]
    assert held(found, given_up_s) == []
    assert not is_doubtful(found, round((given_up_s + 1) * SECOND))


def test_who_has_a_lease_still_may_ask_rarely() -> None:
    found = bound(86_400)
    for at_s in (43_200, 60_000):
        found.take(step(Act.RENEW, at_s, xid=2))
    assert held(found, 60_000 + 3 * GIVEN_UP_NS / SECOND) == [(Cause.UNANSWERED, True)]


def lost_reply(found: Client, at_s: float) -> None:
    found.take(step(Act.RENEW, at_s, xid=2))
    found.take(step(Act.ACK, at_s + 0.1, xid=2, role="uplink"))
    assert found.exchange is not None
    found.exchange.give_up_arrivals(round((at_s + 1.1) * SECOND) + PASSING_NS)


def test_reply_lost() -> None:
    found = bound()
    lost_reply(found, 30)
    assert held(found, 33) == []
    lost_reply(found, 38)
    assert held(found, 41) == [(Cause.REPLY_LOST, True)]
    found.see_missed(1)
    assert held(found, 41) == [(Cause.REPLY_LOST, False)]
    found.take(step(Act.ACK, 42, xid=2, lease_s=60))
    assert held(found, 42) == []


def test_one_lost_reply_and_then_none_is_not_sure() -> None:
    found = bound()
    lost_reply(found, 30)
    for at_s in (34, 38, 42):
        found.take(step(Act.RENEW, at_s, xid=2))
    assert held(found, 60) == [(Cause.REPLY_LOST, False)]


def ignoring(times: int) -> Client:
    steps = []
    for count in range(times + 1):
        steps += [step(Act.FIND, 8 * count), step(Act.OFFER, 8 * count + 0.1, lease_s=60)]
    return client(*steps)


@pytest.mark.parametrize(
    ("times", "look", "after_s", "expected"),
    [
        (1, DRAINED, 0.2, []),
        (2, DRAINED, 0.2, [(Cause.IGNORED, True)]),
        (2, FRESH, 0.2, [(Cause.IGNORED, False)]),
        (2, FRESH, 5, [(Cause.IGNORED, True)]),
        (5, DRAINED, 0.2, [(Cause.IGNORED, True)]),
    ],
)
def test_ignored(
    times: int, look: Look, after_s: float, expected: list[tuple[Cause, bool]]
) -> None:
    assert held(ignoring(times), 8 * times + after_s, look) == expected


def test_a_stalled_queue_is_why_it_ignores() -> None:
    found = ignoring(1)
    assert found.exchange is not None
    found.exchange.is_stalled = True
    assert held(found, 9, STALLED) == [(Cause.QUEUE_STALLED, True)]
    # Also where nothing more is read of it, as after a restart.
    assert held(found, 9, FRESH) == [(Cause.QUEUE_STALLED, True)]
    found.see_missed(1)
    assert held(found, 9, STALLED) == [(Cause.QUEUE_STALLED, False)]


def test_what_was_ignored_once_does_not_hide_that_nobody_answers() -> None:
    found = bound()
    for at_s in (30, 38):
        found.take(step(Act.RENEW, at_s, xid=2))
        found.take(step(Act.ACK, at_s + 0.1, xid=2, lease_s=60))
    for at_s in (60, 64):
        found.take(step(Act.RENEW, at_s, xid=3))
        if at_s == 60:
            found.take(step(Act.ACK, at_s + 0.1, xid=3, lease_s=60))
    for at_s in (70, 78):
        found.take(step(Act.RENEW, at_s, xid=3))
    assert found.exchange is not None
    assert found.exchange.ignored == 1
    assert held(found, 81) == [(Cause.UNANSWERED, True)]


def test_guest_silent() -> None:
    found = bound()
    assert found.lease is not None
    due_s = (found.lease.rebind_ns + LATE_NS) / SECOND - 1
    assert held(found, due_s - 0.001) == []
    assert held(found, due_s) == [(Cause.GUEST_SILENT, True)]
    assert held(found, due_s, Look()) == [(Cause.GUEST_SILENT, False)]
    assert held(found, due_s, FRESH._replace(is_cut=True)) == [(Cause.GUEST_SILENT, False)]
    found.see_missed(1)
    assert held(found, due_s) == [(Cause.GUEST_SILENT, False)]
    found.take(step(Act.RENEW, 55, passed=False))
    assert held(found, due_s) == []


def test_lease_lost() -> None:
    found = bound()
    found.lose(65 * SECOND)
    assert held(found, 70) == [(Cause.LEASE_LOST, True)]
    for one in (step(Act.REBOOT, 80, xid=5), step(Act.ACK, 81, xid=5, lease_s=60)):
        found.take(one)
    assert held(found, 82) == []


def naks(*at_s: float) -> Client:
    found = client()
    for one in at_s:
        found.take(step(Act.TAKE, one, xid=round(one)))
        found.take(step(Act.NAK, one + 0.1, xid=round(one)))
    return found


@pytest.mark.parametrize(
    ("at_s", "now_s", "expected"),
    [
        ([0, 10], 11, []),
        ([0, 10, 20], 21, [True]),
        ([0, 60, 119], 120, [True]),
        ([0, 60, 120], 121, [False]),
        # A client waits longer and longer, and the loop is the same.
        ([0, 10, 20, 80, 200, 400], 690, [False]),
        ([0, 10, 20, 80, 200, 400], 700.1, []),
    ],
)
def test_nak_loop(at_s: list[float], now_s: float, expected: list[bool]) -> None:
    assert held(naks(*at_s), now_s) == [(Cause.NAK_LOOP, is_sure) for is_sure in expected]


def test_a_nak_loop_ends_soon_after_a_lease() -> None:
    found = naks(0, 10, 20)
    found.take(step(Act.TAKE, 30, xid=30))
    found.take(step(Act.ACK, 31, xid=30, lease_s=3600))
    over_s = 20.1 + NAK_OVER_NS / SECOND
    assert held(found, over_s - 0.01) == [(Cause.NAK_LOOP, True)]
    assert held(found, over_s) == []


def test_address_conflict() -> None:
    found = client(*[step(Act.FIND), step(Act.DECLINE, 5)])
    kept_s = 5 + CONFLICT_KEPT_NS / SECOND
    assert held(found, kept_s - 0.01) == [(Cause.ADDRESS_CONFLICT, True)]
    assert held(found, kept_s) == []
    rival = Rival("tap9", "fa:16:3e:00:00:09")
    assert held(bound(), 5, rival=rival) == [(Cause.ADDRESS_CONFLICT, True)]
    assert held(client(step(Act.FIND)), 5, rival=rival) == []


@pytest.mark.parametrize(
    ("found", "at_s", "expected"),
    [
        (client(), 10, False),
        (client(step(Act.FIND)), 10, False),
        (client(step(Act.FIND), step(Act.FIND, 4)), 10, True),
        (ignoring(1), 10, True),
        (bound(), 10, False),
        (bound(), 56, True),
        (bound(), 100, True),
        (naks(0, 10, 20), 21, False),
    ],
)
def test_when_a_port_is_worth_a_reading(found: Client, at_s: float, expected: bool) -> None:
    assert is_doubtful(found, round((at_s + 1) * SECOND)) is expected


def test_a_trouble_stands_for_its_messages() -> None:
    found = client(*(step(Act.FIND, at_s) for at_s in (0, 4, 8, 12)))
    (trouble,) = find_troubles(found, FRESH, 20 * SECOND)
    assert (trouble.count, trouble.since_ns) == (4, SECOND)
    (silent,) = find_troubles(bound(), FRESH, 57 * SECOND)
    assert silent.count == 1
