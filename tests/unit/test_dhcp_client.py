# SPDX-License-Identifier: Apache-2.0
"""A client's states, and what it holds: RFC 2131 figure 5, RFC 8415 section 18.2."""

from __future__ import annotations

from typing import Any

import pytest

from sentinel.dhcp.client import GIVEN_UP_NS, KEPT_NS, NAK_QUIET_NS, Client
from sentinel.dhcp.heard import LATE_NS
from sentinel.dhcp.lease import MOST_ADDRESSES, Lease, lease_of
from sentinel.dhcp.step import INFINITE_NS, Act, Step
from tests.harness.dhcp_steps import LEASE_S, MAC, PORT, SECOND, client, leased, step

# States.


@pytest.mark.parametrize(
    ("acts", "state"),
    [
        ([Act.FIND], "selecting"),
        ([Act.FIND, Act.OFFER], "selecting"),
        ([Act.FIND, Act.OFFER, Act.TAKE], "requesting"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK], "bound"),
        ([Act.FIND, Act.ACK], "bound"),
        ([Act.REBOOT], "rebooting"),
        ([Act.REBOOT, Act.ACK], "bound"),
        ([Act.REBOOT, Act.NAK], "refused"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.NAK], "refused"),
        ([Act.RENEW], "renewing"),
        ([Act.RENEW, Act.ACK], "bound"),
        ([Act.RENEW, Act.REBIND], "rebinding"),
        ([Act.RENEW, Act.REBIND, Act.ACK], "bound"),
        ([Act.INFORM], "informed"),
        ([Act.INFORM, Act.ACK], "informed"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK, Act.INFORM, Act.ACK], "bound"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK, Act.RELEASE], "released"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK, Act.DECLINE], "declined"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK, Act.RELEASE, Act.FIND], "selecting"),
        ([Act.FIND, Act.OFFER, Act.TAKE, Act.ACK, Act.FIND, Act.OFFER], "selecting"),
        ([Act.OTHER], "unknown"),
        ([Act.WAKE], "unknown"),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_states(acts: list[Act], state: str, family: int) -> None:
    granting = {Act.OFFER, Act.ACK}
    steps: list[Step] = []
    for at_s, act in enumerate(acts):
        informs = act is Act.ACK and acts[at_s - 1] is Act.INFORM
        lease_s = LEASE_S if act in granting and not informs else None
        steps.append(step(act, at_s, lease_s=lease_s, family=family))
    found = client(*steps, family=family)
    assert found.state == state
    assert (found.lease is not None) == (
        state == "bound" or acts[-2:] in ([Act.FIND, Act.OFFER], [Act.INFORM, Act.ACK])
    ) & (Act.ACK in acts and acts[0] is not Act.INFORM)


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_cut_changes_nothing(family: int) -> None:
    found = client(*leased(family=family), family=family)
    before = found.lease
    for act in (Act.RELEASE, Act.DECLINE, Act.RENEW, Act.FIND):
        found.take(step(act, 10, passed=False, family=family))
    found.take(step(Act.NAK, 11, passed=False, family=family))
    assert found.lease is before
    assert found.state == "bound"
    assert found.has_asked(before)  # type: ignore[arg-type]


def test_a_refused_dhcpv6_renewal_leaves_the_lease_until_it_ends() -> None:
    found = client(*leased(family=6), family=6)
    found.take(step(Act.RENEW, 30, xid=2, family=6))
    found.take(step(Act.NAK, 30.1, xid=2, family=6))
    assert (found.state, found.lease is None) == ("renewing", False)
    found.take(step(Act.REBOOT, 40, xid=3, family=6))
    found.take(step(Act.NAK, 40.1, xid=3, family=6))
    assert (found.state, found.lease is None) == ("refused", True)


def test_a_confirmed_lease_goes_on() -> None:
    found = client(*leased(family=6), family=6)
    lease = found.lease
    found.take(step(Act.REBOOT, 20, xid=3, family=6))
    found.take(step(Act.ACK, 20.1, xid=3, family=6, addresses=()))
    assert (found.state, found.lease) == ("bound", lease)
    stranger = client(step(Act.REBOOT, family=6), step(Act.ACK, 1, family=6, addresses=()))
    assert (stranger.state, stranger.lease) == ("unknown", None)


def test_an_acknowledgement_that_grants_no_time_is_no_lease() -> None:
    for lease_s in (None, 0):
        found = client(*leased()[:3], step(Act.ACK, 1, lease_s=lease_s))
        assert (found.state, found.lease) == ("unknown", None)


def test_two_servers_answer_and_the_chosen_one_counts() -> None:
    other: dict[str, Any] = {
        "server": "10.0.0.2",
        "server_mac": "52:54:00:00:00:02",
        "server_address": "10.0.0.2",
    }
    found = client(
        step(Act.FIND),
        step(Act.OFFER, 0.1, lease_s=60),
        step(Act.OFFER, 0.2, lease_s=90, addresses=("10.0.0.9",), **other),
        step(Act.TAKE, 0.3, **other),
        step(Act.ACK, 0.4, lease_s=90, addresses=("10.0.0.9",), **other),
        step(Act.NAK, 0.5),
    )
    assert found.state == "bound"
    assert found.lease is not None
    assert (found.lease.addresses, found.lease.server) == (("10.0.0.9",), "10.0.0.2")
    assert found.naks == []


def test_a_boot_loader_and_then_its_system() -> None:
    found = client(*leased(xid=1), *leased(xid=9, at_s=20, client_id="ff01"))
    assert found.state == "bound"
    assert found.lease is not None
    assert found.lease.acked_ns == round(21.3 * SECOND)
    assert found.client_id == "ff01"
    assert found.exchange is not None
    assert found.exchange.questions == 2


# Time.


@pytest.mark.parametrize(
    ("family", "lease_s", "t1_s", "t2_s", "expected"),
    [
        (4, 60, None, None, (30, 52.5)),
        (6, 60, None, None, (30, 48)),
        (4, 60, 20, 40, (20, 40)),
        (4, 60, None, 40, (30, 40)),
        (4, 60, 50, None, (50, 52.5)),
        (4, 60, 58, None, (58, 58)),
        (4, 60, 100, 200, (52.5, 52.5)),
        (4, 60, 50, 20, (20, 20)),
        (6, 60, 0, 0, (30, 48)),
        (6, 60, INFINITE_NS / SECOND, INFINITE_NS / SECOND, (60, 60)),
        (4, 0.001, None, None, (0.0005, 0.000875)),
    ],
)
def test_t1_and_t2(
    family: int,
    lease_s: float,
    t1_s: float | None,
    t2_s: float | None,
    expected: tuple[float, float],
) -> None:
    lease = lease_of(
        step(
            Act.ACK, family=family, lease_s=lease_s,
            t1_ns=None if t1_s is None else round(t1_s * SECOND),
            t2_ns=None if t2_s is None else round(t2_s * SECOND),
        )
    )  # fmt: skip
    assert lease is not None
    assert (lease.t1_ns, lease.t2_ns) == tuple(round(each * SECOND) for each in expected)
    assert lease.t1_ns <= lease.t2_ns <= lease.lease_ns


def test_a_lease_remembers_a_few_addresses() -> None:
    many = tuple(f"fd00::{number:x}" for number in range(100))
    lease = lease_of(step(Act.ACK, lease_s=60, family=6, addresses=many))
    assert lease is not None
    assert lease.addresses == many[:MOST_ADDRESSES]


def test_overdue_and_expired() -> None:
    found = client(*leased())
    lease = found.lease
    assert lease is not None
    overdue_ns, expired_ns = lease.rebind_ns + LATE_NS, lease.expires_ns + LATE_NS
    assert not found.is_overdue(overdue_ns - 1)
    assert found.is_overdue(overdue_ns)
    assert not found.is_expired(expired_ns - 1)
    assert found.is_expired(expired_ns)
    assert found.due_ns() == overdue_ns
    found.take(step(Act.RENEW, 40))
    assert not found.is_overdue(expired_ns)
    assert found.due_ns() == expired_ns


@pytest.mark.parametrize("act", [Act.INFORM, Act.REBOOT])
def test_who_asks_for_anything_is_not_silent(act: Act) -> None:
    found = client(*leased(), step(act, 40, xid=7))
    assert found.lease is not None
    assert not found.is_overdue(found.lease.expires_ns)


def test_one_with_times_of_its_own_is_overdue_by_the_latest_of_them() -> None:
    found = client(*leased()[:3], step(Act.ACK, 1, lease_s=60, t1_ns=6 * SECOND, t2_ns=13 * SECOND))
    assert found.lease is not None
    assert not found.is_overdue(found.lease.acked_ns + round(39.4 * SECOND))
    assert found.is_overdue(found.lease.acked_ns + round(39.5 * SECOND))


def test_an_infinite_lease_never_ends() -> None:
    found = client(*leased(lease_s=INFINITE_NS / SECOND))
    assert found.lease is not None
    assert found.lease.is_infinite
    far_ns = 10**18
    assert not found.is_overdue(far_ns)
    assert not found.is_expired(far_ns)
    assert found.due_ns() is None


@pytest.mark.parametrize(
    ("tried", "find_at_s", "is_lost"),
    [(True, 57.5, True), (True, 56, False), (False, 59, False), (True, 70, True)],
)
def test_who_tried_to_renew_and_begins_anew_has_lost_it(
    tried: bool, find_at_s: float, is_lost: bool
) -> None:
    """Its clock began when it asked, and ours when it was answered."""
    found = client(*leased(), *([step(Act.RENEW, 30, xid=2)] * tried))
    found.take(step(Act.FIND, find_at_s, xid=3))
    assert (found.loss is not None) is is_lost
    assert (found.lease is None) is is_lost
    assert found.state == "selecting"


def test_who_begins_anew_in_a_very_short_lease_lost_it_only_at_its_end() -> None:
    steps = [*leased(lease_s=4), step(Act.RENEW, 2, xid=2)]
    assert client(*steps, step(Act.FIND, 2.5, xid=3)).loss is None
    assert client(*steps, step(Act.FIND, 3.5, xid=3)).loss is not None


def test_a_question_that_was_cut_gives_nothing_up() -> None:
    found = client(*leased(), step(Act.RENEW, 30, xid=2), step(Act.FIND, 60, xid=3, passed=False))
    assert found.loss is None


def test_a_loss_keeps_the_conversation_as_it_was() -> None:
    found = client(*leased(), step(Act.RENEW, 30, xid=2), step(Act.RENEW, 40, xid=2))
    found.lose(70 * SECOND)
    assert found.state == "lost"
    assert found.loss is not None
    assert found.loss.exchange is not None
    found.take(step(Act.FIND, 75, xid=3))
    assert found.loss.exchange.questions == 2
    assert [one.count for one in found.loss.exchange.sights] == [2]
    assert found.exchange is not None
    assert found.exchange.questions == 3
    for one in leased(xid=4, at_s=80):
        found.take(one)
    assert found.loss is None


def test_a_refusal_does_not_undo_a_loss_and_a_release_does() -> None:
    found = client(*leased(), step(Act.RENEW, 30, xid=2))
    found.lose(70 * SECOND)
    found.take(step(Act.REBOOT, 80, xid=3))
    found.take(step(Act.NAK, 80.1, xid=3))
    assert found.loss is not None
    found.take(step(Act.RELEASE, 81, xid=4))
    assert found.loss is None


def test_a_loss_without_a_question() -> None:
    found = client(*leased(), step(Act.INFORM, 30, xid=9))
    found.lose(70 * SECOND)
    assert found.loss is not None
    assert found.loss.exchange is None


@pytest.mark.parametrize("missed", [3, 0])
def test_where_messages_went_untold_nothing_is_lost(missed: int) -> None:
    """A count that begins anew is as good as one that rose."""
    found = Client(PORT, 4, MAC, MAC, missed=2)
    for one in leased(missed=2):
        found.take(one)
    found.see_missed(missed)
    found.lose(70 * SECOND)
    assert (found.loss, found.lease, found.state) == (None, None, "unknown")


def test_an_old_loss_is_history() -> None:
    found = client(*leased(), step(Act.RENEW, 30))
    found.lose(70 * SECOND)
    found.forget_old_loss(70 * SECOND + KEPT_NS - 1)
    assert found.loss is not None
    late_s = 70 + KEPT_NS / SECOND
    found.take(step(Act.FIND, late_s, xid=5))
    assert found.loss is None


def test_a_client_that_begins_after_a_long_time_begins_anew() -> None:
    found = client(step(Act.FIND), step(Act.FIND, 10))
    first = found.exchange
    found.take(step(Act.FIND, 3000))
    assert found.exchange is first
    found.take(step(Act.FIND, 3000 + GIVEN_UP_NS / SECOND))
    assert found.exchange is not first


# Refusals and declines.


def test_refusals_close_to_each_other_are_one_loop() -> None:
    found = client()
    for count in range(40):
        found.take(step(Act.TAKE, 10 * count, xid=count))
        found.take(step(Act.NAK, 10 * count + 0.1, xid=count))
    assert found.nak_count == 40
    assert len(found.naks) == 16
    late_s = 400 + NAK_QUIET_NS / SECOND
    found.take(step(Act.TAKE, late_s, xid=99))
    found.take(step(Act.NAK, late_s + 0.1, xid=99))
    assert (found.nak_count, len(found.naks)) == (1, 1)


def test_declines_are_counted_until_they_are_old() -> None:
    found = client()
    for at_s in (0, 20, 40):
        found.take(step(Act.DECLINE, at_s, xid=at_s))
    assert (found.declines, found.declined) == (3, "10.0.0.7")
    found.take(step(Act.DECLINE, 1000, xid=9, addresses=()))
    assert (found.declines, found.declined) == (1, None)


def test_a_superseded_client_asks_for_nothing() -> None:
    found = client(*leased(), step(Act.RENEW, 30, xid=2))
    found.supersede()
    assert (found.state, found.lease) == ("superseded", None)
    assert found.exchange is not None
    assert found.exchange.unanswered == 0


def test_names_are_cut() -> None:
    found = client(step(Act.FIND, host_name="h" * 4000))
    assert found.host_name == "h" * 255


def test_lease_times() -> None:
    lease = Lease(("10.0.0.7",), 4, None, None, None, None, 100, 60, 30, 50, 0)
    assert (lease.renew_ns, lease.rebind_ns, lease.expires_ns) == (130, 150, 160)
    assert not lease.is_infinite
