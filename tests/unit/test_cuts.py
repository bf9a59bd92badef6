# SPDX-License-Identifier: Apache-2.0
"""Who is cut, why and until when, as a function of what was seen and ordered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from sentinel import abi
from sentinel.config import HoldConfig
from sentinel.cuts import CutBook, cut_of
from sentinel.decode import Order
from sentinel.effect import EndCut, KeepCut, Log, Open, Shut
from sentinel.event import Kind, Quarantine
from sentinel.same_vm import is_same_vm
from sentinel.vm import VmIdentity
from tests.harness.cut_facts import NOW, SECOND, VM, device, latch_seen

HOUR = 3600 * SECOND


def book(**hold: object) -> CutBook:
    return CutBook(HoldConfig(**hold))  # type: ignore[arg-type]


def kinds(effects: Iterable[object]) -> list[str]:
    return [type(one).__name__ for one in effects]


def active(cuts: CutBook, ifindex: int = 7) -> Quarantine:
    found = cuts.active(ifindex)
    assert found is not None
    return found


def order(kind: int, name: str = "tap0", at: int = NOW, **changes: object) -> Order:
    facts: dict[str, object] = {
        "ifindex": 7,
        "uid": 1000,
        "changed": True,
        "hold_ns": 0,
        "reason": "why",
    }
    return Order(kind=kind, name=name, at_wall_ns=at, **{**facts, **changes})  # type: ignore[arg-type]


def test_a_fresh_latch_is_held_written_beside_it_and_told() -> None:
    cuts = book()
    effects = list(cuts.see_latch(device(), latch_seen(relapses=2)))
    assert kinds(effects) == ["Shut", "KeepCut", "Log"]
    held = active(cuts)
    assert (held.cause, held.uid, held.relapses) == ("bpdu", None, 2)
    assert held.hold_ns == 4 * 300 * SECOND
    assert held.until_wall_ns == NOW + 1200 * SECOND
    told = effects[-1]
    assert isinstance(told, Log)
    assert told.event.kind == Kind.QUARANTINE_SET


@pytest.mark.parametrize("is_remembered", [True, False])
def test_a_latch_with_its_cut_beside_is_taken_up_as_it_is(is_remembered: bool) -> None:
    first = book()
    list(first.see_latch(device(), latch_seen()))
    held = active(first)
    then = book()
    if is_remembered:
        then.remember([held])
    effects = list(then.see_latch(device(), latch_seen(cut=cut_of(held), at=NOW + HOUR)))
    assert active(then) == held
    # The journal that knows it is told nothing.
    assert kinds(effects) == ([] if is_remembered else ["KeepCut", "Log"])
    assert then.all_away() == []


def test_a_latch_without_its_cut_beside_is_what_the_journal_remembers() -> None:
    first = book()
    list(first.see_latch(device(vm=VM), latch_seen()))
    held = active(first)
    then = book()
    then.remember([held])
    assert list(then.device_known(device(), NOW + SECOND, True)) == []
    effects = list(then.see_latch(device(), latch_seen(relapses=1)))
    assert kinds(effects) == ["Shut", "KeepCut"]
    assert (active(then).since_wall_ns, active(then).until_wall_ns) == (
        held.since_wall_ns,
        held.until_wall_ns,
    )
    assert active(then).relapses == 0


@pytest.mark.parametrize(
    ("latch", "at"),
    [(abi.TAP_LATCH_CHECK, NOW + HOUR), (abi.TAP_LATCH_CHECK + abi.TAP_CHECK_VLAN, NOW)],
    ids=["shut after its end", "of another cause"],
)
def test_a_latch_that_is_another_cuts_is_a_new_one(latch: int, at: int) -> None:
    first = book()
    list(first.see_latch(device(), latch_seen()))
    then = book()
    then.remember([active(first)])
    effects = list(then.see_latch(device(), latch_seen(latch=latch, at=at)))
    assert kinds(effects) == ["EndCut", "Shut", "KeepCut", "Log"]
    assert active(then).since_wall_ns == at


def test_a_repeated_order_counts_from_the_first_cut() -> None:
    cuts = book()
    (_, _, told) = cuts.order(device(), HOUR, "one", 1000, NOW)
    assert isinstance(told, Log)
    assert told.event.body["changed"] is True
    (_, _, again) = cuts.order(device(), 2 * HOUR, "two", 1001, NOW + SECOND)
    assert isinstance(again, Log)
    assert again.event.body["changed"] is False
    assert again.event.time_ns == NOW + SECOND
    held = active(cuts)
    assert (held.since_wall_ns, held.until_wall_ns) == (NOW, NOW + SECOND + 2 * HOUR)
    assert (held.reason, held.uid) == ("two", 1001)
    list(cuts.order(device(), None, "", 0, NOW + 2 * SECOND))
    assert active(cuts).until_wall_ns == NOW + SECOND + 2 * HOUR
    assert active(cuts).reason == "two"


def test_an_order_without_an_end_outlasts_a_checks_hold() -> None:
    cuts = book()
    list(cuts.see_latch(device(), latch_seen()))
    list(cuts.order(device(), None, "stay", 0, NOW + SECOND))
    assert active(cuts).until_wall_ns is None
    assert cuts.due(NOW + 1000 * HOUR) == []


def test_a_release_opens_and_one_of_an_open_port_is_told_too() -> None:
    cuts = book()
    list(cuts.order(device(), None, "x", 0, NOW))
    assert kinds(list(cuts.release(device(), "order", 1, "y", NOW + 1))) == [
        "Open",
        "EndCut",
        "Log",
    ]
    assert cuts.active(7) is None
    effects = list(cuts.release(device(), "order", 1, "y", NOW + 2))
    assert kinds(effects) == ["Open", "Log"]


def test_what_is_due_is_due() -> None:
    cuts = book(initial_ns=SECOND)
    list(cuts.see_latch(device(), latch_seen()))
    assert cuts.due(NOW + SECOND - 1) == []
    assert cuts.due(NOW + SECOND) == [7]


def test_a_vm_that_comes_back_is_cut_for_what_is_left() -> None:
    cuts = book()
    list(cuts.see_latch(device(vm=VM), latch_seen()))
    held = active(cuts)
    cuts.device_gone(7)
    assert cuts.away("tap0") == held
    new = device(9, "tap1", vm=VM)
    assert list(cuts.device_known(replace(new, vm=device().vm), NOW + SECOND)) == []
    other = VmIdentity(uuid="2" * 36, name="db-1", source="libvirt")
    assert list(cuts.device_known(device(8, "tap0", vm=other), NOW + SECOND)) == []
    # Of several ports of a VM the same one: by its name, where no MAC says better.
    back = device(9, "tap0", vm=VM)
    effects = list(cuts.device_known(back, NOW + SECOND))
    assert kinds(effects) == ["EndCut", "Shut", "KeepCut", "Log"]
    assert active(cuts, 9) == replace(held, ifindex=9)


def test_a_vm_whose_hold_is_over_comes_back_free() -> None:
    cuts = book(initial_ns=SECOND)
    list(cuts.see_latch(device(), latch_seen()))
    cuts.device_gone(7)
    assert kinds(list(cuts.device_known(device(9), NOW + HOUR))) == ["EndCut", "Log"]
    assert cuts.active(9) is None


def test_holds_run_out_while_the_port_is_away() -> None:
    cuts = book(initial_ns=SECOND)
    list(cuts.see_latch(device(), latch_seen()))
    cuts.device_gone(7)
    assert list(cuts.expire_away(NOW)) == []
    assert kinds(list(cuts.expire_away(NOW + SECOND))) == ["EndCut", "Log"]
    assert cuts.all_away() == []


@pytest.mark.parametrize("hold", [None, 10 * HOUR, SECOND])
def test_a_guest_cannot_swap_an_order_for_a_shorter_cut(hold: int | None) -> None:
    cuts = book()
    list(cuts.order(device(vm=VM), hold, "an order", 0, NOW))
    ordered = active(cuts)
    cuts.device_gone(7)
    # It offends on a new tap before anybody knows whose that is.
    list(cuts.see_latch(device(9, "tap0"), latch_seen(9, at=NOW)))
    fresh = active(cuts, 9)
    list(cuts.device_known(device(9, "tap0", vm=VM), NOW + 1))
    longer = fresh if hold == SECOND else ordered
    assert active(cuts, 9).until_wall_ns == longer.until_wall_ns
    assert active(cuts, 9).cause == longer.cause
    assert cuts.all_away() == []


def test_orders_of_the_time_without_a_daemon_are_journaled_in_their_order() -> None:
    cuts = book()
    told = []
    for number, kind in enumerate((abi.TAP_ORDER_QUARANTINE, abi.TAP_ORDER_RELEASE) * 2):
        told += list(cuts.told_offline(order(kind, at=NOW + number), None))
    assert not any(isinstance(one, Shut | Open) for one in told)
    events = [one.event for one in told if isinstance(one, Log)]
    assert [one.time_ns for one in events] == [NOW, NOW + 1, NOW + 2, NOW + 3]
    assert [one.body["uid" if one.kind == Kind.QUARANTINE_SET else "by_uid"] for one in events] == [
        1000
    ] * 4
    assert cuts.all_away() == []
    assert cuts.count() == 0


def test_an_order_without_a_daemon_ends_what_the_journal_remembers() -> None:
    cuts = book()
    list(cuts.order(device(), None, "x", 0, NOW))
    then = book()
    then.remember([active(cuts)])
    effects = list(then.told_offline(order(abi.TAP_ORDER_RELEASE), None))
    assert effects[0] == EndCut(7, NOW, NOW, "order")
    assert then.all_away() == []


def test_a_latch_opened_by_other_means_is_over() -> None:
    cuts = book()
    list(cuts.order(device(), None, "x", 0, NOW))
    effects = list(cuts.opened_elsewhere(active(cuts), NOW + 1))
    assert kinds(effects) == ["EndCut", "Log"]
    assert cuts.active(7) is None


def test_a_quarantine_follows_a_name() -> None:
    cuts = book()
    list(cuts.order(device(), None, "x", 0, NOW))
    (kept,) = cuts.renamed(device(name="tapnew", vm=VM))
    assert isinstance(kept, KeepCut)
    assert (kept.quarantine.port, kept.quarantine.vm) == ("tapnew", VM)
    assert list(cuts.renamed(device(name="tapnew", vm=VM))) == []


@pytest.mark.parametrize(
    ("then", "now", "is_same"),
    [
        ({"uuid": "u", "mac": "m"}, {"uuid": "u", "mac": "m"}, True),
        ({"uuid": "u", "mac": "m"}, {"uuid": "u", "mac": "n"}, False),
        ({"uuid": "u"}, {"uuid": "v"}, False),
        ({"port_id": "12345678-9abc"}, {"port_id": "12345678-9a"}, True),
        ({"port_id": "12345678-9abc"}, {"port_id": "12345678-9d"}, False),
        ({"uuid": "u"}, None, False),
        (None, None, True),
    ],
)
def test_whose_port_it_is(
    then: dict[str, str] | None, now: dict[str, str] | None, is_same: bool
) -> None:
    def vm(facts: dict[str, str] | None) -> VmIdentity:
        if facts is None:
            return VmIdentity(uuid=None, name=None, source="unknown")
        return VmIdentity(
            uuid=facts.get("uuid"),
            name=None,
            source="libvirt",
            port_id=facts.get("port_id"),
            mac=facts.get("mac"),
        )

    cuts = book()
    list(cuts.order(device(vm=vm(then)), None, "x", 0, NOW))
    assert is_same_vm(active(cuts), device(9, vm=vm(now))) is is_same
