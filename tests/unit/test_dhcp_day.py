# SPDX-License-Identifier: Apache-2.0
"""A day of renewals raises nothing; a day with one fault raises that, once, and it ends."""

from __future__ import annotations

from typing import Final, Literal, get_args

import pytest

from sentinel.event import Kind as EventKind
from tests.harness.dhcp_day import Day, Fault, Guest, Kind

MINUTE_S, HOUR_S = 60, 3600
DAY_S = 24 * HOUR_S
KINDS: Final = get_args(Kind)
LEASES_S: Final = (MINUTE_S, 2 * MINUTE_S, HOUR_S, 12 * HOUR_S, DAY_S)
FAMILIES: Final = (4, 6)
EXPECTED: Final[dict[Fault, set[str]]] = {
    "server_stopped": {"unanswered", "lease_lost"},
    "replies_lost": {"reply_lost", "lease_lost"},
    "deaf": {"ignored", "lease_lost"},
    "stalled": {"queue_stalled", "lease_lost"},
    "frozen": {"guest_silent", "lease_lost"},
}
WITH_TICKS_OF_S: Final = 4.0
"""For days on end: a tick of each second changes nothing but the time it takes."""


def describe(day: Day) -> list[str]:
    """What was told, for a failure's message."""
    return [
        f"{kind} {one.detail} {one.opened_wall_ns} {one.summary}" for kind, one in day.play.told
    ]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_day_of_normal_renewals(family: Literal[4, 6], seed: int) -> None:
    day = Day(seed)
    for kind in KINDS:
        for lease_s in LEASES_S:
            guest = day.add(kind, lease_s, family)
            for _ in range(4):
                day.after(day.random.uniform(HOUR_S, DAY_S), guest.reboot)
    day.run(DAY_S)
    assert day.play.told == [], describe(day)
    for guest in day.guests:
        assert guest.acks >= DAY_S // guest.lease_s
        assert day.play.document(guest.mac, guest.ifindex)["state"] == "bound"
    # Doubts are rare, and readings with them.
    asked = sum(guest.acks for guest in day.guests)
    assert day.play.readings < asked / 4


def befall(day: Day, guest: Guest, fault: Fault, after_s: float) -> None:
    """Let a fault begin, and end it some minutes after it has cost the guest its lease."""

    def end_when_lost() -> None:
        lost = "lease_lost" in day.play.opened_at(guest.ifindex)
        day.after(200, guest.end if lost else end_when_lost)

    day.after(after_s, lambda: guest.begin(fault))
    day.after(after_s, end_when_lost)


@pytest.mark.parametrize("lease_s", LEASES_S)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_day_with_one_fault_each(family: Literal[4, 6], lease_s: int) -> None:
    day = Day(lease_s + family, tick_s=1 if lease_s <= HOUR_S else WITH_TICKS_OF_S)
    day_s = max(4 * HOUR_S, 4 * lease_s)
    befallen: dict[int, Fault] = {}
    for kind in KINDS:
        for fault in EXPECTED:
            guest = day.add(kind, lease_s, family)
            befallen[guest.ifindex] = fault
            befall(day, guest, fault, day.random.uniform(0.2, 0.4) * day_s)
        bystander = day.add(kind, lease_s, family)
        befallen[bystander.ifindex] = ""
    day.run(day_s)
    assert day.play.open() == {}
    for ifindex, fault in befallen.items():
        opened = day.play.opened_at(ifindex)
        guest = next(one for one in day.guests if one.ifindex == ifindex)
        assert sorted(opened) == sorted(EXPECTED.get(fault, ())), (guest.kind, fault, describe(day))
        assert day.play.document(guest.mac, ifindex)["state"] == "bound"
        assert day.play.document(guest.mac, ifindex)["trouble"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_fault_that_the_lease_outlives_loses_nothing(kind: Kind) -> None:
    day = Day(9)
    guest = day.add(kind, HOUR_S, 4)
    day.run(HOUR_S * 0.3)
    guest.begin("server_stopped")
    day.run(HOUR_S * 0.55)
    # It asks by itself: no reboot.
    guest.begin("")
    day.run(HOUR_S)
    assert day.play.opened() == ["unanswered"]
    assert day.play.open() == {}
    assert day.play.document(guest.mac, guest.ifindex)["state"] == "bound"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_refuses_all(kind: Kind, family: Literal[4, 6]) -> None:
    day = Day(10)
    guest = day.add(kind, 2 * MINUTE_S, family)
    day.run(10 * MINUTE_S)
    guest.begin("refused")
    day.run(20 * MINUTE_S)
    # A DHCPv6 client that is refused a renewal has its lease until it ends.
    expected = ["nak_loop"] if family == 4 else ["nak_loop", "lease_lost"]
    assert day.play.opened() == expected
    if family == 6:
        assert "refused" in day.play.summary("lease_lost")
    guest.begin("")
    day.run(10 * MINUTE_S)
    assert day.play.opened() == expected
    assert day.play.open() == {}


def test_an_address_that_is_anothers() -> None:
    day = Day(11)
    guest = day.add("dhcpcd", MINUTE_S, 4)
    day.run(300)
    guest.decline()
    day.run(900)
    kinds = [kind for kind, _ in day.play.told]
    assert day.play.opened() == ["address_conflict"]
    assert kinds == [EventKind.INCIDENT_OPENED, EventKind.INCIDENT_CLOSED]
