# SPDX-License-Identifier: Apache-2.0
"""Tags: which are counted, how deep they are followed, and what two of them offend."""

from __future__ import annotations

import pytest

from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Bpdu,
    Tag,
    bpdu,
    ethernet,
    vlan_tags,
)
from tests.harness.packets import arp
from tests.harness.programs import FROM_GUEST, FROM_WIRE, PORT, TO_GUEST, TO_WIRE, Programs

TPIDS = (TPID_C, TPID_S, TPID_OLD)
PAYLOAD = arp(GUEST_MAC, "192.0.2.9", "192.0.2.1")[14:]


def tagged(*tpids: int) -> bytes:
    tags = tuple((tpid, 20 + at, 0) for at, tpid in enumerate(tpids))
    return ethernet(BROADCAST, GUEST_MAC, PAYLOAD, 0x0806, tags)


@pytest.mark.parametrize("program", [FROM_GUEST, TO_GUEST, FROM_WIRE, TO_WIRE])
@pytest.mark.parametrize("tpid", TPIDS, ids=hex)
def test_counted_in_both_directions(programs: Programs, program: str, tpid: int) -> None:
    programs.add(PORT, role="port" if "guest" in program else "uplink")
    for depth in range(4):
        assert not programs.check(program, tagged(*(tpid,) * depth))
    counts = programs.counts()[program in (TO_GUEST, TO_WIRE)]
    assert (counts["frames"], counts["vlan_tagged"], counts["vlan_nested"]) == (4, 3, 2)


@pytest.mark.parametrize("outer", TPIDS, ids=hex)
@pytest.mark.parametrize("inner", TPIDS, ids=hex)
def test_any_two_are_nested(programs: Programs, outer: int, inner: int) -> None:
    programs.add()
    programs.check(FROM_GUEST, tagged(outer, inner))
    assert programs.counts()[0]["vlan_nested"] == 1


@pytest.mark.parametrize("action", ["drop", "quarantine"])
def test_the_second_tag_offends(programs: Programs, action: str) -> None:
    programs.configure(vlan=action)
    programs.add()
    assert not programs.check(FROM_GUEST, tagged())
    assert not programs.check(FROM_GUEST, tagged(TPID_C))
    assert programs.check(FROM_GUEST, tagged(TPID_S, TPID_C))
    assert programs.counts()[0]["dropped.vlan"] == 1
    assert programs.cause() == ("vlan" if action == "quarantine" else None)


@pytest.mark.parametrize("ethertype", [0x9200, 0x9300, 0x88E7, 0x88B5, 0x8847, 0x8864], ids=hex)
def test_what_is_no_tag(programs: Programs, ethertype: int) -> None:
    programs.add()
    frame = ethernet(BROADCAST, GUEST_MAC, bytes(50), ethertype)
    assert not programs.check(FROM_GUEST, frame)
    assert "vlan_tagged" not in programs.counts()[0]


@pytest.mark.parametrize("tci", [0x0000, 0x0FFF, 0x1000, 0xE000, 0xFFFF], ids=hex)
def test_priority_and_vid_make_no_difference(programs: Programs, tci: int) -> None:
    """A priority tag (VID 0) is a tag: its four bytes are on the wire."""
    programs.add()
    tag: Tag = (TPID_C, tci & 0xFFF, tci >> 13)
    programs.check(FROM_GUEST, ethernet(BROADCAST, GUEST_MAC, PAYLOAD, 0x0806, (tag,)))
    assert programs.counts()[0]["vlan_tagged"] == 1


def test_four_tags_are_followed_and_no_more(programs: Programs) -> None:
    programs.configure(bpdu="drop")
    programs.add()
    for depth in range(8):
        tags = tuple((TPID_C, 1 + at, 0) for at in range(depth))
        assert programs.check(FROM_GUEST, bpdu(Bpdu.RSTP, tags=tags)) == (depth <= 4)
    counts = programs.counts()[0]
    assert (counts["bpdu.rstp"], counts["vlan_nested"]) == (5, 6)


@pytest.mark.parametrize("tpid", TPIDS, ids=hex)
def test_a_tag_counts_where_its_four_bytes_are_there(programs: Programs, tpid: int) -> None:
    whole = bytes.fromhex("ffffffffffff") + bytes(6) + vlan_tags(((tpid, 5, 0),) * 3) + b"\x08\x06"
    programs.add()
    for length in range(14, len(whole) + 1):
        before = programs.counts()[0]
        programs.check(FROM_GUEST, whole[:length])
        counted = programs.counts()[0] - before
        assert counted["vlan_tagged"] == (length >= 18), length
        assert counted["vlan_nested"] == (length >= 22), length
