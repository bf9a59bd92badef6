# SPDX-License-Identifier: Apache-2.0
"""Evidence of tags and sizes: a row for each pair of tags, and what finds no row.

Every frame here is also held against the model: `check` compares all rows.
"""

from __future__ import annotations

import time
from itertools import product

import pytest

from sentinel import abi
from sentinel.loader.maps import CLOCK_MONOTONIC_COARSE
from sentinel.tag import Tag as SeenTag
from sentinel.traffic import PairSeen
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, TPID_OLD, TPID_S, Tag, ethernet
from tests.harness.packets import ETHERTYPE_IPV4, PROTO_TCP, ipv4, tcp
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    TO_GUEST,
    TO_WIRE,
    UPLINK,
    FrameRefusedError,
    Programs,
)
from tests.harness.waiting import wait_until

MTU = 1500
TPIDS = (TPID_C, TPID_S, TPID_OLD)
V4 = ("192.0.2.9", "192.0.2.1")
WHERE = {FROM_GUEST: PORT, TO_GUEST: PORT, FROM_WIRE: UPLINK, TO_WIRE: UPLINK}
DIRECTIONS = {
    FROM_GUEST: abi.TAP_IN, TO_GUEST: abi.TAP_OUT, FROM_WIRE: abi.TAP_IN, TO_WIRE: abi.TAP_OUT,
}  # fmt: skip
STORY = ((TPID_C, 20, 0), (TPID_C, 100, 0))


def frame_of(*tags: Tag, packet_bytes: int = 100) -> bytes:
    return ethernet(BROADCAST, GUEST_MAC, bytes(packet_bytes), 0x0806, tags)


def watch(programs: Programs, program: str, mtu_bytes: int = MTU) -> int:
    """The device that the program is run for, watched afresh."""
    ifindex = WHERE[program]
    programs.add(ifindex, role="uplink" if ifindex == UPLINK else "port", mtu_bytes=mtu_bytes)
    return ifindex


def rows(programs: Programs, ifindex: int = PORT) -> list[PairSeen]:
    return [row for row in programs.pairs.read() if row.ifindex == ifindex]


def only(programs: Programs, ifindex: int = PORT) -> PairSeen:
    (row,) = rows(programs, ifindex)
    return row


def counted(programs: Programs, ifindex: int = PORT) -> list[int]:
    """Of each direction the frames that belong into some row, as the counters have it."""
    found = []
    for counts in programs.counts(ifindex):
        # The frames of these tests that are oversized are untagged or counted as tagged.
        assert not (counts["oversized"] and counts["vlan_tagged"]), "not told apart"
        found.append(counts["vlan_tagged"] + counts["oversized"])
    return found


@pytest.mark.parametrize("program", WHERE)
@pytest.mark.parametrize("outer", TPIDS, ids=hex)
@pytest.mark.parametrize("inner", [0, *TPIDS], ids=hex)
def test_every_hook_names_the_tags(
    programs: Programs, program: str, outer: int, inner: int
) -> None:
    ifindex = watch(programs, program)
    tags = ((outer, 20, 0), (inner, 100, 0))[: 2 if inner else 1]
    started_ns = time.monotonic_ns()
    for _ in range(3):
        programs.check(program, frame_of(*tags), ifindex)
    row = only(programs, ifindex)
    assert (row.direction, row.is_rest) == (DIRECTIONS[program], False)
    assert row.outer == SeenTag(outer, 20)
    assert row.inner == (SeenTag(inner, 100) if inner else None)
    assert (row.frames, row.bytes, row.oversized) == (3, 3 * (114 + 4 * len(tags)), 0)
    assert row.largest_wire_bytes == 114 + 4 * len(tags)
    assert started_ns - 10**9 < row.first_seen_ns <= row.last_seen_ns <= time.monotonic_ns()
    assert row.last_oversized_ns == row.smallest_excess_bytes == row.largest_excess_bytes == 0


@pytest.mark.parametrize("program", WHERE)
def test_what_has_no_row(programs: Programs, program: str) -> None:
    """No tag, or only what looks like one, and no larger than the path."""
    ifindex = watch(programs, program)
    programs.check(program, frame_of(), ifindex)
    programs.check(program, frame_of(packet_bytes=MTU), ifindex)
    programs.check(program, ethernet(BROADCAST, GUEST_MAC, bytes(60), 0x88E7), ifindex)
    programs.check(program, ethernet(BROADCAST, GUEST_MAC, bytes(60)), ifindex)
    cut = ethernet(BROADCAST, GUEST_MAC, b"", TPID_C, pad=False) + b"\0\x14\x08"
    programs.check(program, cut, ifindex)
    assert rows(programs, ifindex) == []
    programs.check(program, frame_of((TPID_C, 5, 0)), ifindex)
    assert len(rows(programs, ifindex)) == 1


@pytest.mark.parametrize("program", WHERE)
def test_untagged_and_oversized(programs: Programs, program: str) -> None:
    ifindex = watch(programs, program)
    programs.check(program, frame_of(packet_bytes=MTU + 1), ifindex)
    row = only(programs, ifindex)
    assert (row.outer, row.inner, row.is_rest) == (None, None, False)
    assert (row.oversized, row.excess, row.frames) == (1, (1, 0, 0, 0), 1)
    assert row.last_oversized_ns == row.last_seen_ns


def test_a_device_that_is_not_watched(programs: Programs) -> None:
    programs.add()
    programs.check(FROM_GUEST, frame_of(*STORY), OTHER_PORT)
    assert programs.pairs.read() == []


@pytest.mark.parametrize("priority", range(8))
@pytest.mark.parametrize("dei", [0, 1])
def test_priority_is_no_part_of_a_tag(programs: Programs, priority: int, dei: int) -> None:
    programs.add(mtu_bytes=MTU)
    frame = bytearray(frame_of(*STORY))
    for at, vid in ((14, 20), (18, 100)):
        frame[at : at + 2] = (priority << 13 | dei << 12 | vid).to_bytes(2, "big")
    programs.check(FROM_GUEST, bytes(frame))
    programs.check(FROM_GUEST, frame_of(*STORY))
    row = only(programs)
    assert (row.outer, row.inner, row.frames) == (SeenTag(TPID_C, 20), SeenTag(TPID_C, 100), 2)


def test_vids_at_the_edges(programs: Programs) -> None:
    """VID 0 is a tag with a priority alone, 4095 is reserved: both are on the wire."""
    programs.add()
    for outer, inner in product((0, 1, 4094, 4095), repeat=2):
        programs.check(FROM_GUEST, frame_of((TPID_C, outer, 7), (TPID_C, inner, 7)))
    assert {(r.outer, r.inner) for r in rows(programs)} == {
        (SeenTag(TPID_C, outer), SeenTag(TPID_C, inner))
        for outer, inner in product((0, 1, 4094, 4095), repeat=2)
    }


def test_behind_the_second_tag_no_tag_matters(programs: Programs) -> None:
    programs.add(mtu_bytes=MTU)
    for depth in range(1, 7):
        tags = (*STORY, *((TPID_C, 101 + at, 0) for at in range(5)))[:depth]
        programs.check(FROM_GUEST, frame_of(*tags))
    by_inner = {row.inner: row.frames for row in rows(programs)}
    assert by_inner == {None: 1, SeenTag(TPID_C, 100): 5}


def test_directions_and_devices_are_apart(programs: Programs) -> None:
    programs.add(PORT)
    programs.add(OTHER_PORT)
    programs.add(UPLINK, role="uplink")
    for times, (program, ifindex) in enumerate(
        [(FROM_GUEST, PORT), (TO_GUEST, PORT), (FROM_GUEST, OTHER_PORT), (TO_WIRE, UPLINK)], 1
    ):
        for _ in range(times):
            programs.check(program, frame_of(*STORY), ifindex)
    found = {(row.ifindex, row.direction): row.frames for row in programs.pairs.read()}
    assert found == {
        (PORT, abi.TAP_IN): 1, (PORT, abi.TAP_OUT): 2, (OTHER_PORT, abi.TAP_IN): 3,
        (UPLINK, abi.TAP_OUT): 4,
    }  # fmt: skip


EXCESSES = {
    1: (1, 0, 0, 0), 4: (1, 0, 0, 0), 5: (0, 1, 0, 0), 8: (0, 1, 0, 0),
    9: (0, 0, 1, 0), 50: (0, 0, 1, 0), 51: (0, 0, 0, 1), 500: (0, 0, 0, 1),
}  # fmt: skip


@pytest.mark.parametrize("excess", EXCESSES)
@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("program", [FROM_GUEST, TO_WIRE])
def test_excess(programs: Programs, program: str, depth: int, excess: int) -> None:
    """Above the path's MTU, with one tag free."""
    ifindex = watch(programs, program)
    tags = ((TPID_S, 20, 0), (TPID_C, 100, 0), (TPID_C, 7, 0))[:depth]
    packet_bytes = MTU - 4 * max(depth - 1, 0) + excess
    programs.check(program, frame_of(*tags, packet_bytes=packet_bytes), ifindex)
    row = only(programs, ifindex)
    assert (row.oversized, row.excess) == (1, EXCESSES[excess])
    assert row.smallest_excess_bytes == row.largest_excess_bytes == excess
    assert row.largest_wire_bytes == 14 + 4 * depth + packet_bytes


def test_story_1(programs: Programs) -> None:
    """Full packets of a tenant's VLAN on the data centre's own: by exactly four bytes."""
    ifindex = watch(programs, TO_WIRE)
    for packet_bytes in (MTU, 60, MTU, MTU - 4, MTU):
        programs.check(TO_WIRE, frame_of(*STORY, packet_bytes=packet_bytes), ifindex)
    row = only(programs, ifindex)
    assert (row.frames, row.oversized, row.excess) == (5, 3, (3, 0, 0, 0))
    assert row.smallest_excess_bytes == row.largest_excess_bytes == 4
    assert row.first_seen_ns <= row.last_oversized_ns <= row.last_seen_ns


def later_tick() -> int:
    """A moment of a later tick than all frames so far, and of an earlier one than all to come."""

    def coarse_ns() -> int:
        return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)

    before_ns = coarse_ns()
    wait_until(lambda: coarse_ns() > before_ns, 5, "a tick", every_s=0.001)
    moment_ns, at_ns = time.monotonic_ns(), coarse_ns()
    wait_until(lambda: coarse_ns() > at_ns, 5, "a tick", every_s=0.001)
    return moment_ns


def test_first_and_last(programs: Programs) -> None:
    """And of these the last that was oversized."""
    programs.add(mtu_bytes=MTU)
    moments = [time.monotonic_ns()]
    for packet_bytes in (100, MTU, MTU, 100):
        programs.check(FROM_GUEST, frame_of(*STORY, packet_bytes=packet_bytes))
        moments.append(later_tick())
    row = only(programs)
    # A clock is read once in a tick, on each CPU: that may be a tick early.
    tick_ns = round(2e9 * time.clock_getres(CLOCK_MONOTONIC_COARSE))
    assert row.first_seen_ns <= moments[1]
    assert moments[2] - tick_ns < row.last_oversized_ns <= moments[3]
    assert moments[3] - tick_ns < row.last_seen_ns <= moments[4]


def test_smallest_and_largest_of_many(programs: Programs) -> None:
    programs.add(mtu_bytes=MTU)
    for excess in (30, 7, -20, 90, 8, 60):
        programs.check(FROM_GUEST, frame_of((TPID_C, 5, 0), packet_bytes=MTU + excess))
    row = only(programs)
    assert (row.smallest_excess_bytes, row.largest_excess_bytes) == (7, 90)
    assert (row.frames, row.oversized, row.excess) == (6, 5, (0, 2, 1, 2))
    assert row.largest_wire_bytes == 14 + 4 + MTU + 90


def test_without_an_mtu_nothing_is_oversized(programs: Programs) -> None:
    programs.add(mtu_bytes=0)
    programs.check(FROM_GUEST, frame_of(packet_bytes=3000))
    programs.check(FROM_GUEST, frame_of(*STORY, packet_bytes=3000))
    row = only(programs)
    assert (row.outer, row.oversized, row.frames) == (SeenTag(TPID_C, 20), 0, 1)


@pytest.mark.parametrize("depth", range(3))
def test_super_frames_by_their_segments(programs: Programs, depth: int) -> None:
    """One with segments that fit is evidence of its tags alone, without them of nothing."""
    packet = ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, bytes(3000)))
    frame = ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4, STORY[:depth])
    fits = MTU - 40 - 4 * max(depth - 1, 0)
    programs.add(mtu_bytes=MTU)
    try:
        programs.check(FROM_GUEST, frame, segment_bytes=fits)
    except FrameRefusedError:
        pytest.skip("this kernel's test run refuses such a super-frame")
    assert [(r.frames, r.oversized) for r in rows(programs)] == ([(1, 0)] if depth else [])
    programs.check(FROM_GUEST, frame, segment_bytes=fits + 9)
    row = only(programs)
    assert (row.oversized, row.excess, row.smallest_excess_bytes) == (1, (0, 0, 1, 0), 9)
    assert row.bytes == len(frame) * row.frames
    assert row.largest_wire_bytes == 14 + 4 * depth + 40 + fits + 9


def test_what_is_dropped_was_seen(programs: Programs) -> None:
    programs.configure(vlan="drop", size="quarantine")
    programs.add(mtu_bytes=MTU)
    assert programs.check(FROM_GUEST, frame_of(*STORY))
    assert programs.check(FROM_GUEST, frame_of(packet_bytes=MTU + 1))
    assert programs.check(FROM_GUEST, frame_of((TPID_C, 7, 0)))
    assert programs.cause() == "size"
    assert sorted(row.frames for row in rows(programs)) == [1, 1, 1]
