# SPDX-License-Identifier: Apache-2.0
"""Actions, thresholds, windows, latches, trust and the fuse."""

from __future__ import annotations

import pytest

from sentinel import abi
from sentinel.decode import CHECKS
from sentinel.loader import syscall
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_S,
    Bpdu,
    bpdu,
    ethernet,
    not_bpdus,
)
from tests.harness.packets import arp, tcp_frame
from tests.harness.programs import (
    FROM_GUEST,
    HOUR_NS,
    OTHER_PORT,
    PORT,
    TO_GUEST,
    Programs,
    config,
    within,
)

MTU = 1500
TWO_TAGS = ((TPID_S, 5, 0), (TPID_C, 6, 0))
ORDINARY = arp(GUEST_MAC, "192.0.2.9", "192.0.2.1")
OFFENDERS = {
    "bpdu": bpdu(Bpdu.RSTP),
    "vlan": ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x0806, TWO_TAGS),
    "size": ethernet(BROADCAST, GUEST_MAC, bytes(MTU + 1), 0x86DD),
    "rogue_dhcp": dhcp(DhcpType.OFFER),
}
EVERY_KIND = {
    "arp": ORDINARY,
    "tcp": tcp_frame(GUEST_MAC, BROADCAST, "192.0.2.9", "192.0.2.1"),
    "ipv6": ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x86DD),
    "unknown": ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x88B5),
    "tagged": ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x0806, TWO_TAGS[1:]),
    "dhcp": dhcp(DhcpType.DISCOVER),
    "runt": ORDINARY[:14],
    **not_bpdus(),
    **OFFENDERS,
}


def move_window(programs: Programs, check: str, by_ticks: int, port: int = PORT) -> None:
    """Make a running window begin earlier than it did."""
    key = (programs.slot(port) * abi.TAP_CHECKS + CHECKS.index(check)).to_bytes(4, "little")
    fd = programs.maps.fd("tap_windows")
    value = syscall.map_lookup(fd, key, abi.TAP_WINDOW.size, "tap_windows")
    start_ticks, offences, reserved = abi.TAP_WINDOW.unpack(value)
    moved = abi.TAP_WINDOW.pack(start_ticks - by_ticks, offences, reserved)
    syscall.map_update(fd, key, moved, "tap_windows")


def hour_ticks(programs: Programs) -> int:
    """An hour in the kernel's ticks, as the programs were told."""
    fd = programs.maps.fd("tap_config")
    value = syscall.map_lookup(fd, bytes(4), abi.TAP_CONFIG.size, "tap_config")
    ticks: int = abi.TAP_CHECK_POLICY.unpack_from(value)[2]
    return ticks


@pytest.mark.parametrize("check", OFFENDERS)
def test_count_passes_and_counts(programs: Programs, check: str) -> None:
    programs.add(mtu_bytes=MTU)
    for _ in range(3):
        assert not programs.check(FROM_GUEST, OFFENDERS[check])
    assert programs.counts()[0]["events_told"] == 3


@pytest.mark.parametrize("check", OFFENDERS)
def test_drop_drops_that_frame_alone(programs: Programs, check: str) -> None:
    programs.configure({check: "drop"})
    programs.add(mtu_bytes=MTU)
    for _ in range(3):
        assert programs.check(FROM_GUEST, OFFENDERS[check])
        assert not programs.check(FROM_GUEST, ORDINARY)
    assert programs.counts()[0][f"dropped.{check}"] == 3
    assert programs.cause() is None


@pytest.mark.parametrize("check", OFFENDERS)
def test_quarantine_at_once(programs: Programs, check: str) -> None:
    """Threshold 1: the frame that offends and every later one, both ways, whatever it is."""
    programs.configure({check: "quarantine"})
    programs.add(mtu_bytes=MTU)
    programs.add(OTHER_PORT)
    assert not programs.check(FROM_GUEST, ORDINARY)
    assert programs.check(FROM_GUEST, OFFENDERS[check])
    assert programs.cause() == check
    for name, frame in EVERY_KIND.items():
        assert programs.check(FROM_GUEST, frame), name
        assert programs.check(TO_GUEST, frame), name
        assert not programs.check(FROM_GUEST, ORDINARY, OTHER_PORT), name
    inward, outward = programs.counts()
    assert inward["dropped.quarantine"] == outward["dropped.quarantine"] == len(EVERY_KIND)
    assert inward[f"dropped.{check}"] == 1
    assert inward["events_told"] <= 2  # a latched port offends nobody any more


@pytest.mark.parametrize("check", OFFENDERS)
@pytest.mark.parametrize("threshold", [2, 3, 7])
def test_threshold(programs: Programs, check: str, threshold: int) -> None:
    """Offences below the threshold are dropped, the one that reaches it shuts the port."""
    programs.configure({check: within(threshold)})
    programs.add(mtu_bytes=MTU)
    for _ in range(threshold - 1):
        assert programs.check(FROM_GUEST, OFFENDERS[check])
        assert programs.cause() is None
        assert not programs.check(FROM_GUEST, ORDINARY)
    assert programs.check(FROM_GUEST, OFFENDERS[check])
    assert programs.cause() == check
    assert programs.check(FROM_GUEST, ORDINARY)


@pytest.mark.parametrize(("aged", "shuts"), [(-1000, True), (0, False), (1000, False)])
def test_window(programs: Programs, aged: int, shuts: bool) -> None:
    """An offence when the window is as old as it gets begins a new one."""
    programs.configure(bpdu=within(2))
    programs.add()
    programs.check(FROM_GUEST, OFFENDERS["bpdu"])
    move_window(programs, "bpdu", hour_ticks(programs) + aged)
    assert programs.run(FROM_GUEST, OFFENDERS["bpdu"])
    assert (programs.cause() == "bpdu") == shuts
    if not shuts:
        assert programs.run(FROM_GUEST, OFFENDERS["bpdu"])
        assert programs.cause() == "bpdu"


def test_windows_are_of_one_port_and_one_check(programs: Programs) -> None:
    programs.configure(bpdu=within(2), vlan=within(2), size=within(2), rogue_dhcp=within(2))
    for port in (PORT, OTHER_PORT):
        programs.add(port, mtu_bytes=MTU)
        for frame in OFFENDERS.values():
            programs.check(FROM_GUEST, frame, port)
        assert programs.cause(port) is None
    programs.check(FROM_GUEST, OFFENDERS["size"], OTHER_PORT)
    assert (programs.cause(PORT), programs.cause(OTHER_PORT)) == (None, "size")


@pytest.mark.parametrize("check", OFFENDERS)
def test_trusted_is_counted_and_passes(programs: Programs, check: str) -> None:
    programs.configure(dict.fromkeys(OFFENDERS, "quarantine"))
    programs.add(mtu_bytes=MTU, trusted=[check])
    assert not programs.check(FROM_GUEST, OFFENDERS[check])
    assert "events_told" not in programs.counts()[0]
    for other, frame in OFFENDERS.items():
        if other != check:
            assert programs.check(FROM_GUEST, frame), f"{check} is trusted, {other} is not"
            programs.add(mtu_bytes=MTU, trusted=[check])


def test_one_frame_may_offend_several(programs: Programs) -> None:
    """In the order of the checks; the first that drops ends it."""
    frame = bpdu(Bpdu.STP, tags=TWO_TAGS).ljust(1600, b"\0")
    programs.add(mtu_bytes=MTU)
    assert not programs.check(FROM_GUEST, frame)
    assert [event.check for event in programs.drain()] == ["bpdu", "vlan", "size"]
    for checks, cause in (
        ({"size": "drop"}, "size"),
        ({"size": "drop", "vlan": "drop"}, "vlan"),
        ({"size": "quarantine", "bpdu": "drop"}, "bpdu"),
    ):
        programs.configure(checks)
        programs.add(mtu_bytes=MTU)
        assert programs.check(FROM_GUEST, frame)
        assert programs.counts()[0][f"dropped.{cause}"] == 1


@pytest.mark.parametrize("action", ["drop", "quarantine"])
@pytest.mark.parametrize("threshold", [1, 3])
def test_flood(programs: Programs, action: str, threshold: int) -> None:
    """As many messages as the threshold are free in a window; the next one offends."""
    programs.configure(dhcp_flood=within(threshold, action))
    programs.add()
    types = list(DhcpType)
    for at in range(threshold):
        assert not programs.check(FROM_GUEST, dhcp(types[at]))
    assert programs.check(FROM_GUEST, dhcp(DhcpType.REQUEST))
    assert programs.cause() == ("dhcp_flood" if action == "quarantine" else None)
    assert programs.check(FROM_GUEST, ORDINARY) == (action == "quarantine")
    move_window(programs, "dhcp_flood", hour_ticks(programs))
    if action == "drop":
        assert not programs.run(FROM_GUEST, dhcp(DhcpType.REQUEST))


def test_flood_is_nothing_towards_the_guest(programs: Programs) -> None:
    programs.configure(dhcp_flood=within(1, "drop"))
    programs.add()
    for _ in range(5):
        assert not programs.check(TO_GUEST, dhcp(DhcpType.ACK))


def test_fuse(programs: Programs) -> None:
    """With the fuse full a frame is dropped as before, and its port stays open."""
    programs.configure(bpdu="quarantine", max_quarantined=1)
    programs.add(PORT)
    programs.add(OTHER_PORT)
    refusals = programs.maps.state().fuse_refusals
    assert programs.check(FROM_GUEST, OFFENDERS["bpdu"], PORT)
    for _ in range(2):
        assert programs.check(FROM_GUEST, OFFENDERS["bpdu"], OTHER_PORT)
        assert not programs.check(FROM_GUEST, ORDINARY, OTHER_PORT)
    assert (programs.cause(PORT), programs.cause(OTHER_PORT)) == ("bpdu", None)
    assert programs.maps.state().fuse_refusals - refusals == 2
    assert [e.verdict for e in programs.drain()] == ["latched", "fused", "fused"]
    programs.maps.open_latch(programs.slot(PORT))
    assert programs.run(FROM_GUEST, OFFENDERS["bpdu"], OTHER_PORT)
    assert programs.cause(OTHER_PORT) == "bpdu"


def test_a_fuse_of_none_shuts_nothing(programs: Programs) -> None:
    programs.configure(bpdu="quarantine", max_quarantined=0)
    programs.add()
    assert programs.check(FROM_GUEST, OFFENDERS["bpdu"])
    assert programs.cause() is None


def test_an_order_s_latch_holds_like_any(programs: Programs) -> None:
    programs.add()
    assert programs.maps.shut_latch(programs.slot(), abi.TAP_LATCH_ORDER)
    assert programs.run(FROM_GUEST, ORDINARY)
    assert programs.run(TO_GUEST, ORDINARY)
    assert programs.cause() == "order"
    assert programs.maps.open_latch(programs.slot())
    assert not programs.run(FROM_GUEST, ORDINARY)


def test_a_released_port_is_judged_afresh(programs: Programs) -> None:
    programs.configure(bpdu="quarantine")
    programs.add()
    for _ in range(3):
        assert programs.run(FROM_GUEST, OFFENDERS["bpdu"])
        assert programs.cause() == "bpdu"
        assert programs.maps.open_latch(programs.slot())
        assert not programs.run(FROM_GUEST, ORDINARY)
    assert programs.counts()[0]["dropped.bpdu"] == 3


def test_windows_are_in_ticks_that_never_round_down(programs: Programs) -> None:
    programs.maps.write_config(config())
    ticks = hour_ticks(programs)
    assert ticks * (HOUR_NS // ticks) <= HOUR_NS
    assert HOUR_NS / ticks in (1e6, 4e6, 1e7, pytest.approx(1e9 / 300, rel=1e-3))
