# SPDX-License-Identifier: Apache-2.0
"""DHCP messages in their ring: what a record says, at which rate, and what is not told."""

from __future__ import annotations

import time

import pytest

from sentinel import abi
from sentinel.decode_message import KernelMessage
from tests.harness.dhcp import FROM_SERVER, PAD, DhcpType, dhcp
from tests.harness.dhcp6 import FROM_SERVER6, Dhcp6Type, dhcp6
from tests.harness.frames import GUEST_MAC, TPID_C, TPID_S, Bpdu, bpdu
from tests.harness.packets import arp, tcp_frame
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    PROGRAMS,
    TO_GUEST,
    TO_WIRE,
    UPLINK,
    IngressRefusedError,
    Programs,
    within,
)

V4 = ("192.0.2.9", "192.0.2.1")
NEIGHBOUR_MAC = "52:54:00:0b:0b:0b"
DISCOVER, OFFER = dhcp(DhcpType.DISCOVER), dhcp(DhcpType.OFFER, client_mac=GUEST_MAC)
TYPE_AT = abi.TAP_MESSAGE__TYPE
MESSAGES = {
    **{kind.value: dhcp(kind) for kind in DhcpType},
    **{abi.TAP_MESSAGE_DHCP6 + kind.value: dhcp6(kind) for kind in Dhcp6Type},
    abi.TAP_DHCP_OTHER: dhcp(1, where="nowhere"),
    abi.TAP_MESSAGE_DHCP6: dhcp6(200),
}


def only(messages: list[KernelMessage]) -> KernelMessage:
    assert len(messages) == 1
    return messages[0]


def talk_of(programs: Programs, ifindex: int = PORT) -> tuple[int, ...]:
    value: tuple[int, ...] = abi.TAP_TALK.unpack(
        programs.memory.read("tap_talks", programs.slot(ifindex), abi.TAP_TALK.size)
    )
    return value


def move_window(programs: Programs, by_ticks: int) -> None:
    """Make the running window of what the guest sends begin earlier than it did."""
    start, *rest = talk_of(programs)
    programs.memory.write("tap_talks", programs.slot(), abi.TAP_TALK.pack(start - by_ticks, *rest))


def window_ticks(programs: Programs) -> int:
    config = abi.TAP_CONFIG.unpack(programs.memory.read("tap_config", 0, abi.TAP_CONFIG.size))
    ticks: int = config[abi.TAP_CONFIG_FIELDS.index("event_window_ticks")]
    return ticks


@pytest.mark.parametrize("kind", MESSAGES)
def test_everything_that_a_guest_sends(programs: Programs, kind: int) -> None:
    frame = MESSAGES[kind]
    programs.add()
    before_ns = time.monotonic_ns()
    programs.check(FROM_GUEST, frame)
    after_ns = time.monotonic_ns()
    (record,) = programs.message_records()
    assert record[TYPE_AT] == kind
    assert len(record) == abi.TAP_MESSAGE__FRAME + len(frame)
    programs.check(FROM_GUEST, frame)
    message = only(programs.drain_messages())
    assert before_ns < int.from_bytes(record[:8], "little") < after_ns < message.time_ns
    assert (message.ifindex, message.port_ifindex) == (PORT, PORT)
    assert (message.role, message.direction) == ("port", abi.TAP_IN)
    assert (message.verdict, message.missed) == ("passed", 0)
    assert (message.frame, message.frame_bytes) == (frame, len(frame))


def test_nothing_else_is_told(programs: Programs) -> None:
    programs.add(PORT)
    programs.add(UPLINK, role="uplink")
    for program in PROGRAMS:
        place = PORT if "guest" in program else UPLINK
        for frame in (arp(GUEST_MAC, *V4), tcp_frame(GUEST_MAC, GUEST_MAC, *V4), bpdu(Bpdu.STP)):
            programs.check(program, frame, place)
    assert programs.drain_messages() == []


@pytest.mark.parametrize("depth", range(4))
def test_tags_are_in_the_frame(programs: Programs, depth: int) -> None:
    """Those in its bytes; tests/kernel has those in metadata."""
    frame = dhcp(DhcpType.REQUEST, tags=((TPID_S, 5, 0), (TPID_C, 6, 1), (TPID_C, 7, 2))[:depth])
    programs.add()
    programs.check(FROM_GUEST, frame)
    assert only(programs.drain_messages()).frame == frame


LENGTHS = (43, 44, 60, 255, 256, 282, 1599, 1600, 1601, 3000)


@pytest.mark.parametrize("length", LENGTHS)
def test_length(programs: Programs, length: int) -> None:
    """As much as a record holds, and nothing of an earlier frame."""
    filled = dhcp(DhcpType.DISCOVER, after=b"\xff" * 2000)
    frame = dhcp(DhcpType.DISCOVER, after=PAD * 2800)[:length]
    programs.add()
    programs.check(FROM_GUEST, filled)
    programs.check(FROM_GUEST, frame)
    record = programs.message_records()[-1]
    head = frame[: abi.TAP_MESSAGE_BYTES]
    assert record == record[: abi.TAP_MESSAGE__FRAME] + head
    assert record[40:42] == len(head).to_bytes(2, "little")
    assert record[36:40] == len(frame).to_bytes(4, "little")
    assert record[abi.TAP_MESSAGE__RESERVED : abi.TAP_MESSAGE__FRAME] == bytes(6)


def test_the_port_s_clocks(programs: Programs) -> None:
    """Of what is more than housekeeping, as they stood when the message passed."""
    programs.add()
    for frame in (tcp_frame(GUEST_MAC, GUEST_MAC, *V4), arp(GUEST_MAC, *V4)):
        programs.run(FROM_GUEST, frame)
        programs.run(TO_GUEST, frame)
    clocks = programs.memory.clocks(programs.slot())
    programs.run(FROM_GUEST, DISCOVER)
    message = only(programs.drain_messages())
    assert (message.sent_ns, message.received_ns) == (clocks.seen_in_ns, clocks.seen_out_ns)
    assert message.time_ns > clocks.quiet_in_ns > message.sent_ns > 0
    assert message.received_ns > message.sent_ns


@pytest.mark.parametrize(
    ("checks", "frame"),
    [
        ({"rogue_dhcp": "drop"}, OFFER),
        ({"rogue_dhcp": "quarantine"}, OFFER),
        ({"rogue_dhcp": "drop"}, dhcp6(Dhcp6Type.ADVERTISE)),
        ({"size": "drop"}, DISCOVER.ljust(200, b"\0")),
        ({"vlan": "drop"}, dhcp(DhcpType.REQUEST, tags=((TPID_S, 5, 0), (TPID_C, 6, 0)))),
        ({"dhcp_flood": within(0, "drop")}, DISCOVER),
    ],
    ids=["rogue", "rogue, latched", "rogue 6", "size", "vlan", "flood"],
)
def test_what_is_dropped_is_told_as_that(
    programs: Programs, checks: dict[str, str], frame: bytes
) -> None:
    programs.configure(checks)
    programs.add(mtu_bytes=100)
    assert programs.check(FROM_GUEST, frame)
    verdict = only(programs.drain_messages()).verdict
    assert verdict == ("latched" if checks.get("rogue_dhcp") == "quarantine" else "dropped")


def test_what_the_fuse_drops(programs: Programs) -> None:
    programs.configure(rogue_dhcp="quarantine", max_quarantined=0)
    programs.add()
    assert programs.check(FROM_GUEST, OFFER)
    assert only(programs.drain_messages()).verdict == "fused"


def test_behind_a_latch(programs: Programs) -> None:
    """A guest that is cut goes on asking, and what it is answered does not reach it."""
    programs.configure(bpdu="quarantine")
    programs.add(PORT)
    programs.add(UPLINK, role="uplink")
    programs.check(FROM_GUEST, DISCOVER)
    programs.check(FROM_GUEST, bpdu(Bpdu.STP))
    for program, frame in ((FROM_GUEST, DISCOVER), (TO_GUEST, OFFER)):
        assert programs.check(program, frame)
    try:
        assert programs.check(TO_WIRE, DISCOVER, UPLINK, ingress_ifindex=PORT)
    except IngressRefusedError:
        pytest.skip("this kernel's test run cannot say where a frame came in (5.14 can)")
    verdicts = [(message.role, message.verdict) for message in programs.drain_messages()]
    dropped = [("port", "dropped"), ("port", "dropped"), ("uplink", "dropped")]
    assert verdicts == [("port", "passed"), *dropped]


def test_rate(programs: Programs) -> None:
    """So many in a window for each port; the rest is counted, and the port has missed it."""
    programs.configure(messages_per_window=3)
    programs.add(PORT)
    programs.add(OTHER_PORT)
    for number in range(10):
        programs.check(FROM_GUEST, dhcp(DhcpType.DISCOVER, xid=number))
    programs.check(FROM_GUEST, dhcp6(Dhcp6Type.SOLICIT))
    programs.check(FROM_GUEST, DISCOVER, OTHER_PORT)
    counts = programs.counts()[0]
    assert (counts["messages_told"], counts["messages_suppressed"]) == (3, 8)
    assert [programs.maps.talk(programs.slot(port)).missed for port in (PORT, OTHER_PORT)] == [8, 0]
    assert [message.ifindex for message in programs.drain_messages()] == [PORT] * 3 + [OTHER_PORT]


def test_rate_window(programs: Programs) -> None:
    """A message when the window is as old as it gets begins a new one, and says what was missed."""
    programs.configure(messages_per_window=2)
    programs.add()
    for _ in range(3):
        programs.run(FROM_GUEST, DISCOVER)
    move_window(programs, window_ticks(programs) - 1000)
    programs.run(FROM_GUEST, DISCOVER)
    assert programs.counts()[0]["messages_told"] == 2
    move_window(programs, 1000)
    for _ in range(3):
        programs.run(FROM_GUEST, DISCOVER)
    assert programs.counts()[0]["messages_told"] == 4
    assert [message.missed for message in programs.drain_messages()] == [0, 0, 2, 2]


def test_a_rate_of_none(programs: Programs) -> None:
    programs.configure(messages_per_window=0)
    programs.add(PORT)
    programs.add(UPLINK, role="uplink")
    programs.check(FROM_GUEST, DISCOVER)
    programs.check(TO_GUEST, OFFER)
    programs.check(TO_WIRE, DISCOVER, UPLINK)
    programs.check(FROM_WIRE, OFFER, UPLINK)
    assert programs.drain_messages() == []
    assert [counts["messages_suppressed"] for counts in programs.counts()] == [1, 1]
    assert [counts["messages_suppressed"] for counts in programs.counts(UPLINK)] == [1, 0]


def test_answers_do_not_count_on_the_guest_s_own_rate(programs: Programs) -> None:
    programs.configure(messages_per_window=2)
    programs.add()
    for _ in range(3):
        programs.check(TO_GUEST, dhcp(DhcpType.OFFER, client_mac=NEIGHBOUR_MAC))
    programs.check(FROM_GUEST, DISCOVER)
    directions = [message.direction for message in programs.drain_messages()]
    assert directions == [abi.TAP_OUT] * 2 + [abi.TAP_IN]
    assert talk_of(programs)[4] == 0


LARGE, SMALL = dhcp(DhcpType.RELEASE, after=PAD * 1200), dhcp6(Dhcp6Type.RELEASE)


def fill(programs: Programs) -> int:
    """Fill the ring of messages from another port; how many it took."""
    programs.add(OTHER_PORT)
    # The small ones into what room is left.
    for frame in (LARGE, SMALL):
        for _ in range(abi.TAP_MESSAGE_RING_BYTES // len(LARGE) + 100):
            programs.run(FROM_GUEST, frame, OTHER_PORT)
    return programs.counts(OTHER_PORT)[0]["messages_told"]


def test_a_full_ring(programs: Programs) -> None:
    """Told and lost are all that there were; who depends on what was lost learns of it."""
    programs.configure(messages_per_window=1 << 30)
    programs.add(PORT)
    programs.add(UPLINK, role="uplink")
    programs.check(FROM_GUEST, DISCOVER)
    expected = 1 + fill(programs)
    others = programs.counts(OTHER_PORT)[0]
    assert talk_of(programs, OTHER_PORT)[4] == others["messages_lost"] > 100
    assert (
        others["dhcp.release"] + others["dhcp6.release"]
        == expected - 1 + talk_of(programs, OTHER_PORT)[4]
    )
    for program, frame, place in (
        (FROM_GUEST, dhcp(DhcpType.REQUEST, xid=1), PORT),
        (TO_GUEST, OFFER, PORT),
        (TO_GUEST, dhcp(DhcpType.OFFER, client_mac=NEIGHBOUR_MAC, xid=5), PORT),
        (TO_WIRE, DISCOVER, UPLINK),
        (FROM_WIRE, OFFER, UPLINK),
        (FROM_WIRE, dhcp(DhcpType.OFFER, client_mac=NEIGHBOUR_MAC, xid=5), UPLINK),
    ):
        programs.run(program, frame, place)
    assert [counts["messages_lost"] for counts in programs.counts(PORT)] == [1, 2]
    assert [counts["messages_lost"] for counts in programs.counts(UPLINK)] == [2, 1]
    assert [talk_of(programs, place)[4] for place in (PORT, UPLINK)] == [5, 1]
    assert len(programs.message_records()) == expected
    programs.run(TO_GUEST, dhcp(DhcpType.ACK, xid=1))
    message = only(programs.drain_messages())
    assert message.missed == 5
    # What was lost made no answer expected.
    assert talk_of(programs)[3] == 2


def test_a_server_s_types_are_told_from_a_guest_too(programs: Programs) -> None:
    """A rogue server is seen at its own port, whatever is done about it."""
    programs.add()
    for kind in FROM_SERVER:
        programs.check(FROM_GUEST, dhcp(kind))
    for kind6 in FROM_SERVER6:
        programs.check(FROM_GUEST, dhcp6(kind6))
    assert len(programs.drain_messages()) == len(FROM_SERVER) + len(FROM_SERVER6)


def test_a_new_port_begins_anew(programs: Programs) -> None:
    programs.configure(messages_per_window=1)
    programs.add()
    for _ in range(3):
        programs.check(FROM_GUEST, DISCOVER)
        programs.check(TO_GUEST, dhcp(DhcpType.OFFER, client_mac=NEIGHBOUR_MAC))
    programs.add()
    assert talk_of(programs) == (0,) * len(talk_of(programs))
    programs.check(FROM_GUEST, DISCOVER)
    assert programs.drain_messages()[-1].missed == 0
