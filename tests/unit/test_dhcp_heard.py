# SPDX-License-Identifier: Apache-2.0
"""Whether a client heard the acknowledgement that passed: by what it asks next, and when."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.dhcp.step import Act
from tests.harness.dhcp_steps import SECOND, client, leased, renewed, step


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("keeps_xid", [True, False])
def test_a_renewal_that_is_asked_for_again_was_not_heard(family: int, keeps_xid: bool) -> None:
    """With a transaction id for each renewal, and with one for life."""
    if family == 6 and keeps_xid:
        pytest.skip("RFC 8415 section 16.1: an id for each exchange")
    more: dict[str, Any] = {"family": family}
    xids = [1] * 4 if keeps_xid else [1, 2, 3, 3]
    found = client(*leased(xid=xids[0], **more), family=family)
    found.take(step(Act.RENEW, 30, xid=xids[1], **more))
    found.take(step(Act.ACK, 30.1, xid=xids[1], lease_s=60, **more))
    held = found.lease
    for at_s in (59, 67):
        found.take(step(Act.RENEW, at_s, xid=xids[2], **more))
        found.take(step(Act.ACK, at_s + 0.1, xid=xids[2], lease_s=60, **more))
    assert found.exchange is not None
    assert found.exchange.ignored == 1
    assert found.lease == held
    assert found.granted is not None
    assert found.granted.acked_ns == round(68.1 * SECOND)


@pytest.mark.parametrize("every_s", [5, 12, 18, 22, 29, 35])
def test_a_client_that_renews_early_of_its_own_will(every_s: int) -> None:
    """However often, and with one transaction id for life."""
    found = client(*leased())
    for count in range(1, 60):
        for one in renewed(every_s * count, xid=1):
            found.take(one)
            assert found.exchange is not None
            assert found.exchange.ignored == 0
    assert found.lease is not None
    assert found.lease.acked_ns == round((every_s * 59 + 1.01) * SECOND)


def test_every_minute_with_a_lease_of_half_a_day() -> None:
    found = client(*leased(lease_s=43_200))
    for minute in range(1, 1000):
        for one in renewed(60 * minute, xid=1, lease_s=43_200):
            found.take(one)
        assert found.exchange is not None
        assert found.exchange.ignored == 0
        assert found.exchange.questions == 1


def test_a_lease_that_the_server_makes_shorter_is_renewed_sooner() -> None:
    found = client(*leased(lease_s=86_400))
    found.take(step(Act.RENEW, 43_200, xid=1))
    found.take(step(Act.ACK, 43_200.1, xid=1, lease_s=60))
    for count in range(1, 5):
        for one in renewed(43_200 + 30 * count, xid=1):
            found.take(one)
        assert found.exchange is not None
        assert found.exchange.ignored == 0


def test_a_rebinding_right_after_an_answered_renewal_was_not_heard() -> None:
    """By a client whose times are its own: it asks rarely, with the same id always."""
    found = client(*leased(lease_s=120))
    found.take(step(Act.RENEW, 60, xid=1))
    found.take(step(Act.ACK, 60.1, xid=1, lease_s=120))
    found.take(step(Act.RENEW, 120, xid=1))
    found.take(step(Act.ACK, 120.1, xid=1, lease_s=120))
    found.take(step(Act.REBIND, 165, xid=1))
    assert found.exchange is not None
    assert found.exchange.ignored == 1


def test_a_request_that_is_repeated_leaves_the_client_without() -> None:
    found = client(*leased(), step(Act.TAKE, 4), step(Act.ACK, 4.1, lease_s=60))
    assert found.lease is None
    assert found.granted is not None
    assert found.shown is found.granted
    assert found.state == "requesting"
    assert found.has_settled()
    found.settle()
    assert found.state == "bound"
    assert found.lease is not None


def test_silence_settles_it_and_a_stalled_queue_does_not() -> None:
    found = client(*leased(), *renewed(30), *renewed(60, 3), *renewed(72, 3))
    settle_ns = found.settle_ns()
    assert settle_ns is not None
    assert found.granted is not None
    # Two and a half times what it waited before it asked again.
    assert settle_ns == found.granted.acked_ns + 30 * SECOND
    assert found.has_settled()
    assert found.exchange is not None
    found.exchange.is_stalled = True
    assert not found.has_settled()
    found.exchange.is_stalled = False
    found.take(step(Act.RENEW, 80, xid=3))
    assert not found.has_settled()


def test_the_next_renewal_in_time_says_that_it_had_heard() -> None:
    found = client(*leased(), *renewed(30), *renewed(34, 2), *renewed(64, 4))
    assert found.exchange is not None
    assert found.exchange.ignored == 0
    assert found.granted is None
    assert found.lease is not None
    assert found.lease.acked_ns == round(65.01 * SECOND)


def test_one_that_never_heard_goes_on_with_the_same_conversation() -> None:
    found = client(*leased(), *renewed(30), *renewed(60, 3), *renewed(68, 3), *renewed(76, 3))
    assert found.exchange is not None
    conversation = found.exchange
    found.take(step(Act.FIND, 91, xid=4))
    assert found.exchange is conversation
    assert found.loss is not None
    assert conversation.ignored == 2
    found.take(step(Act.OFFER, 91.1, xid=4, lease_s=60))
    found.take(step(Act.TAKE, 91.2, xid=4))
    assert conversation.ignored == 0


@pytest.mark.parametrize("family", [4, 6])
def test_an_id_that_stays_says_it_whatever_the_time(family: int) -> None:
    """T1 is a third of the lease and the client asks again later than T1 after the answer."""
    more: dict[str, Any] = {"family": family, "t1_ns": 6 * SECOND, "t2_ns": 13 * SECOND}
    steps = [*leased(lease_s=20, **more), *renewed(5, 2, lease_s=20, **more)]
    found = client(*steps, *renewed(11, 3, lease_s=20, **more), family=family)
    assert found.renews_with_new_xid
    if family == 6:
        found.renews_with_new_xid = False
    found.take(step(Act.RENEW, 17.5, xid=3, **more))
    assert found.exchange is not None
    assert found.exchange.ignored == 1


def test_what_is_known_of_its_ids_is_forgotten_when_messages_went_untold() -> None:
    found = client(*leased(), *renewed(30), *renewed(60, 3))
    before = found.renews_with_new_xid
    found.see_missed(5)
    assert [before, found.renews_with_new_xid] == [True, False]


def test_a_dhcpv6_renewal_with_a_new_id_is_a_new_one() -> None:
    found = client(*leased(family=6), *renewed(30, family=6), family=6)
    found.take(step(Act.RENEW, 36, xid=3, family=6))
    assert found.exchange is not None
    assert (found.exchange.ignored, found.exchange.questions) == (0, 1)


def test_twice_in_a_row_before_it_is_due_is_its_own_will() -> None:
    found = client(*leased(), *renewed(15, 1), *renewed(19, 1), *renewed(24, 1))
    assert found.exchange is not None
    assert (found.exchange.ignored, found.exchange.questions) == (0, 1)


def test_a_renewal_after_the_lease_of_before_would_be_rebound_was_heard() -> None:
    """Though the id is the one of before, against all that was known of it."""
    found = client(*leased(), *renewed(30, 2), *renewed(57, 2))
    assert found.renews_with_new_xid is False
    assert found.exchange is not None
    assert (found.exchange.ignored, found.exchange.questions) == (0, 1)


def test_who_repeats_its_request_after_a_reboot_holds_nothing() -> None:
    found = client(*leased(), *leased(xid=2, at_s=20), step(Act.TAKE, 25, xid=2))
    assert found.lease is None
    assert found.granted is not None


@pytest.mark.parametrize(("find_at_s", "heard"), [(45, True), (60.5, False)])
def test_who_begins_anew_just_when_the_lease_of_before_ends_had_not_heard(
    find_at_s: float, heard: bool
) -> None:
    """Some clients ask once at T1, and then no more."""
    found = client(*leased(), *renewed(30))
    conversation = found.exchange
    found.take(step(Act.FIND, find_at_s, xid=3))
    assert (found.granted is None) is heard
    assert (found.exchange is not conversation) is heard
    for one in leased(xid=4, at_s=find_at_s + 1):
        found.take(one)
    assert (found.state, found.granted) == ("bound", None)
    assert found.lease is not None
    assert found.lease.acked_ns == round((find_at_s + 2.3) * SECOND)
