# SPDX-License-Identifier: Apache-2.0
"""One conversation: what answers what, what is ignored, what is lost between uplink and port."""

from __future__ import annotations

import pytest

from sentinel.dhcp.exchange import CROSSING_NS, PASSING_NS, Exchange
from sentinel.dhcp.sight import KEPT_FIRST, MOST_OF_LOSS, MOST_SIGHTS
from sentinel.dhcp.step import OF_SERVER, Act, Step
from tests.harness.dhcp_steps import SECOND, UPLINK, step

LEG = 4


def talk(*steps: Step) -> Exchange:
    exchange = Exchange(SECOND, 0, 0)
    for one in steps:
        if one.role == "uplink":
            exchange.pass_uplink(one)
        elif one.act in OF_SERVER:
            exchange.answer(one)
        else:
            exchange.ask(one)
    return exchange


@pytest.mark.parametrize(
    ("asked", "answered", "settles", "left"),
    [
        (Act.FIND, Act.OFFER, False, 0),
        (Act.FIND, Act.ACK, True, 0),  # rapid commit
        (Act.TAKE, Act.ACK, True, 0),
        (Act.TAKE, Act.NAK, True, 0),
        (Act.TAKE, Act.OFFER, False, 1),  # another server's, late
        (Act.RENEW, Act.ACK, True, 0),
        (Act.REBIND, Act.NAK, True, 0),
        (Act.REBOOT, Act.ACK, True, 0),
        (Act.RENEW, Act.WAKE, False, 1),
        (Act.INFORM, Act.ACK, False, 0),
        (Act.RELEASE, Act.ACK, False, 0),
    ],
)
def test_what_settles_what(asked: Act, answered: Act, settles: bool, left: int) -> None:
    exchange = talk(step(asked), step(answered, 1))
    assert exchange.is_done is settles
    assert exchange.unanswered == left


def test_a_late_offer_is_no_answer_to_a_request() -> None:
    exchange = talk(step(Act.FIND), step(Act.OFFER, 1), step(Act.TAKE, 2), step(Act.OFFER, 3))
    assert (exchange.answers, exchange.last_answer_ns) == (1, 2 * SECOND)


def test_a_settled_conversation_goes_on_with_a_reboot() -> None:
    exchange = talk(step(Act.TAKE), step(Act.ACK, 1), step(Act.REBOOT, 2), step(Act.ACK, 3))
    assert exchange.answers == 2


def test_an_answer_to_another_question_is_none() -> None:
    exchange = talk(step(Act.RENEW, xid=5), step(Act.ACK, 1, xid=6))
    assert (exchange.unanswered, exchange.answers, exchange.is_done) == (1, 0, False)
    assert len(exchange.sights.kept) == 1


def test_the_answer_to_an_inform_does_not_answer_a_renewal() -> None:
    exchange = talk(step(Act.RENEW, xid=5), step(Act.INFORM, 1, xid=6), step(Act.ACK, 2, xid=6))
    assert exchange.unanswered == 1
    assert not exchange.is_done


def test_the_first_of_two_answers_counts() -> None:
    refused = talk(step(Act.REBOOT), step(Act.ACK, 0.1), step(Act.NAK, 0.2))
    assert refused.last_answer is Act.ACK
    accepted = talk(step(Act.REBOOT), step(Act.NAK, 0.1), step(Act.ACK, 0.2))
    assert accepted.last_answer is Act.NAK


def test_an_offer_does_not_answer_what_only_an_acknowledgement_does() -> None:
    exchange = talk(
        step(Act.TAKE, 0), step(Act.TAKE, 4), step(Act.FIND, 12, xid=2), step(Act.OFFER, 13, xid=2)
    )
    assert (exchange.taking.asked, exchange.finding.asked) == (2, 0)
    assert exchange.unanswered_since_ns == SECOND


@pytest.mark.parametrize(
    ("first", "answered", "again", "ignores"),
    [
        (Act.FIND, Act.OFFER, Act.FIND, True),
        (Act.FIND, Act.OFFER, Act.TAKE, False),
        (Act.TAKE, Act.ACK, Act.TAKE, True),
        (Act.RENEW, Act.ACK, Act.RENEW, True),
        (Act.RENEW, Act.ACK, Act.REBIND, True),
        (Act.RENEW, Act.NAK, Act.RENEW, False),
        (Act.FIND, Act.ACK, Act.FIND, True),
        (Act.RENEW, Act.ACK, Act.FIND, False),
        (Act.RENEW, Act.ACK, Act.INFORM, False),
        (Act.REBOOT, Act.ACK, Act.REBOOT, False),
    ],
)
def test_who_asks_the_same_again_ignores(
    first: Act, answered: Act, again: Act, ignores: bool
) -> None:
    late = 0.1 + CROSSING_NS / SECOND
    crossing, ignoring = (
        talk(step(first), step(answered, 0.1), step(again, at_s)) for at_s in (late - 0.01, late)
    )
    assert crossing.ignored == 0
    assert ignoring.ignored == ignores
    assert ignoring.ignored_for_sure == ignores


def test_who_names_the_server_that_offered_hears() -> None:
    exchange = talk(
        *(step(act, at_s) for at_s in range(0, 40, 8) for act in (Act.FIND, Act.OFFER)),
    )
    assert exchange.ignored == 4
    exchange.is_stalled = True
    exchange.ask(step(Act.TAKE, 41))
    assert (exchange.ignored, exchange.is_stalled) == (0, False)


def test_a_reply_that_never_comes_to_the_port() -> None:
    exchange = talk(step(Act.RENEW), step(Act.ACK, 0.1, role="uplink"))
    asked_ns = exchange.arrivals[0].time_ns
    exchange.give_up_arrivals(asked_ns + PASSING_NS - 1)
    assert exchange.taking.lost == 0
    exchange.give_up_arrivals(asked_ns + PASSING_NS)
    assert (exchange.taking.lost, exchange.taking.lost_rounds) == (1, 1)
    assert exchange.arrived_at == UPLINK
    assert exchange.taking.lost_since_ns == asked_ns


def test_a_reply_that_comes_to_the_port_is_not_lost() -> None:
    exchange = talk(step(Act.FIND), step(Act.OFFER, 0.1, role="uplink"), step(Act.OFFER, 0.2))
    exchange.give_up_arrivals(100 * SECOND)
    assert exchange.finding.lost == 0


def test_two_servers_answers_to_one_question_are_one_round() -> None:
    exchange = talk(
        step(Act.FIND),
        step(Act.OFFER, 0.1, role="uplink", server_mac="52:54:00:00:00:01"),
        step(Act.OFFER, 0.1, role="uplink", server_mac="52:54:00:00:00:02"),
    )
    exchange.give_up_arrivals(100 * SECOND)
    assert (exchange.finding.lost, exchange.finding.lost_rounds) == (2, 1)


def test_two_devices_that_see_one_reply_are_one_arrival() -> None:
    exchange = talk(
        step(Act.RENEW),
        step(Act.ACK, 0.1, role="uplink"),
        step(Act.ACK, 0.1, role="uplink", ifindex=LEG),
    )
    assert exchange.arrived == 1
    assert len(exchange.sights.kept) == 3


def test_the_second_of_two_offers_that_is_lost_is_not_missed() -> None:
    exchange = talk(
        step(Act.FIND),
        step(Act.OFFER, 0.1, role="uplink"),
        step(Act.OFFER, 0.2),
        step(Act.OFFER, 0.3, role="uplink", server_mac="52:54:00:00:00:02"),
    )
    exchange.give_up_arrivals(100 * SECOND)
    assert exchange.finding.lost == 0


def test_what_was_cut_was_not_asked_and_makes_nothing_sure() -> None:
    exchange = talk(
        *(step(Act.RENEW, at_s) for at_s in (0, 4, 8)), step(Act.RENEW, 12, passed=False)
    )
    assert (exchange.cut, exchange.questions, exchange.taking.asked) == (1, 3, 3)
    assert exchange.taking.sure == 0
    exchange.ask(step(Act.RENEW, 16))
    assert (exchange.taking.asked, exchange.taking.sure) == (4, 1)
    assert exchange.taking.sure_since_ns == 17 * SECOND
    exchange.answer(step(Act.ACK, 17, passed=False))
    assert (exchange.answers, exchange.cut, exchange.taking.asked) == (0, 2, 4)


def test_what_went_untold_makes_nothing_sure() -> None:
    exchange = talk(
        *(step(act, at_s) for at_s in (0, 8, 16) for act in (Act.FIND, Act.OFFER)),
        step(Act.FIND, 24),
        step(Act.OFFER, 24.1, role="uplink"),
    )
    assert exchange.ignored_for_sure == 3
    exchange.doubt(1)
    assert (exchange.ignored, exchange.ignored_for_sure) == (3, 0)
    exchange.give_up_arrivals(100 * SECOND)
    assert exchange.finding.lost == 0
    assert exchange.missed == 1


def test_retransmissions_are_folded_and_answers_part_them() -> None:
    exchange = talk(
        *(step(Act.RENEW, at_s) for at_s in (0, 4, 8)),
        step(Act.ACK, 9),
        step(Act.RENEW, 20),
        step(Act.RENEW, 24, passed=False),
    )
    assert [(one.act, one.count, one.passed) for one in exchange.sights] == [
        (Act.RENEW, 3, True),
        (Act.ACK, 1, True),
        (Act.RENEW, 1, True),
        (Act.RENEW, 1, False),
    ]
    assert exchange.sights.kept[0].last_ns == 9 * SECOND


def test_a_renewal_to_the_server_and_one_to_all_are_not_folded() -> None:
    exchange = talk(step(Act.RENEW), step(Act.REBIND, 4, name=Act.RENEW))
    assert [one.act for one in exchange.sights] == [Act.RENEW, Act.REBIND]


def test_the_first_and_the_latest_sights_are_kept() -> None:
    exchange = talk(*(step(Act.FIND, at_s, xid=at_s) for at_s in range(100)))
    xids = [one.xid for one in exchange.sights]
    assert len(xids) == MOST_SIGHTS
    assert xids == [*range(KEPT_FIRST), *range(100 - MOST_SIGHTS + KEPT_FIRST, 100)]
    assert exchange.sights.left_out == 100 - MOST_SIGHTS
    assert len(exchange.asked) == 8
    fewer = exchange.sights.fewer(MOST_OF_LOSS)
    assert len(fewer.kept) == MOST_OF_LOSS
    assert fewer.left_out == 100 - MOST_OF_LOSS
    assert (fewer.kept[0].xid, fewer.kept[-1].xid) == (0, 99)
    fewer.kept[0].count = 77
    assert exchange.sights.kept[0].count == 1


def test_a_note_is_cut() -> None:
    exchange = talk(step(Act.RENEW), step(Act.NAK, 1, note="no " * 500))
    note = exchange.sights.kept[-1].note
    assert note is not None
    assert len(note) == 80
