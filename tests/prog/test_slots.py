# SPDX-License-Identifier: Apache-2.0
"""Slots: ports whose ifindexes collide, and what a new port finds of an old one."""

from __future__ import annotations

from itertools import permutations

import pytest

from sentinel import abi
from sentinel.loader import syscall
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.packets import arp
from tests.harness.programs import FROM_GUEST, PORT, STRAYS, TO_GUEST, UNWATCHED, Programs, within

COLLIDING = (PORT, *STRAYS)
ORDINARY = arp(GUEST_MAC, "192.0.2.9", "192.0.2.1")


@pytest.mark.parametrize("order", list(permutations(COLLIDING)))
def test_colliding_ports_are_counted_apart(programs: Programs, order: tuple[int, ...]) -> None:
    assert len({ifindex % abi.TAP_MAX_PORTS for ifindex in COLLIDING}) == 1
    programs.configure(bpdu="quarantine")
    for ifindex in order:
        programs.add(ifindex)
    assert programs.slot(order[0]) == PORT % abi.TAP_MAX_PORTS
    assert len({programs.slot(ifindex) for ifindex in order}) == 3
    for times, ifindex in enumerate(order, 1):
        for _ in range(times):
            assert not programs.check(FROM_GUEST, ORDINARY, ifindex)
    assert [programs.counts(ifindex)[0]["frames"] for ifindex in order] == [1, 2, 3]
    assert programs.check(FROM_GUEST, bpdu(Bpdu.STP), order[1])
    assert [programs.cause(ifindex) for ifindex in order] == [None, "bpdu", None]
    for ifindex in (order[0], order[2]):
        assert not programs.check(FROM_GUEST, ORDINARY, ifindex)


def test_strays_outlive_the_port_at_home(programs: Programs) -> None:
    for ifindex in COLLIDING:
        programs.add(ifindex)
    programs.check(FROM_GUEST, ORDINARY, STRAYS[1])
    programs.maps.release_slot(PORT)
    assert not programs.run(FROM_GUEST, bpdu(Bpdu.STP), PORT)
    assert not programs.run(FROM_GUEST, ORDINARY, STRAYS[1])
    assert programs.counts(STRAYS[1])[0]["frames"] == 2
    programs.maps.release_slot(STRAYS[0])
    assert programs.maps.find(STRAYS[0]) is None
    assert programs.counts(STRAYS[1])[0]["frames"] == 2


def test_a_port_that_comes_back_has_one_slot(programs: Programs) -> None:
    """Its home was taken when it left, and is free when it returns."""
    programs.add(PORT)
    programs.add(STRAYS[0])
    stray = programs.slot(STRAYS[0])
    programs.maps.release_slot(PORT)
    programs.maps.release_slot(STRAYS[0])
    programs.add(STRAYS[0])
    assert programs.slot(STRAYS[0]) == PORT % abi.TAP_MAX_PORTS != stray
    programs.add(PORT)
    programs.run(FROM_GUEST, ORDINARY, PORT)
    assert programs.counts(STRAYS[0])[0] == {}
    assert programs.counts(PORT)[0]["frames"] == 1


def test_a_new_port_finds_nothing_of_the_old_one(programs: Programs) -> None:
    """Counters, latch, windows, rate and trust begin anew; the fuse is given back."""
    programs.configure(bpdu=within(2), dhcp_flood=within(1, "drop"), events_per_window=1)
    programs.add(trusted=["vlan"], mtu_bytes=100)
    for frame in (ORDINARY, bpdu(Bpdu.STP), dhcp(DhcpType.REQUEST), bpdu(Bpdu.STP)):
        programs.check(FROM_GUEST, frame)
        programs.check(TO_GUEST, frame)
    assert programs.cause() == "bpdu"
    programs.remove(PORT)
    assert programs.maps.state().quarantined == 0
    programs.drain()
    programs.add()
    assert programs.counts() == ({}, {})
    assert programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    assert programs.cause() is None
    assert not programs.check(FROM_GUEST, dhcp(DhcpType.REQUEST))
    assert len(programs.drain()) == 1


def test_claiming_again_keeps_what_was_counted(programs: Programs) -> None:
    programs.configure(bpdu="quarantine")
    programs.add()
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    programs.maps.claim(PORT, abi.TAP_ROLE_PORT, 9000, 1)
    found = programs.maps.find(PORT)
    assert found is not None
    assert (found.mtu_bytes, found.trusted_checks, found.cause) == (9000, 1, "bpdu")
    assert programs.counts()[0]["frames"] == 1
    assert programs.run(FROM_GUEST, ORDINARY)


def test_a_stale_stray_leads_to_nobody_s_counters(programs: Programs) -> None:
    """The slot that it names belongs to another device by now."""
    programs.add(PORT)
    key, value = (number.to_bytes(4, "little") for number in (UNWATCHED, programs.slot(PORT)))
    syscall.map_update(programs.maps.fd("tap_strays"), key, value, "tap_strays")
    try:
        assert not programs.run(FROM_GUEST, bpdu(Bpdu.STP), UNWATCHED)
        assert programs.counts(PORT) == ({}, {})
    finally:
        syscall.map_delete(programs.maps.fd("tap_strays"), key, "tap_strays")
