# SPDX-License-Identifier: Apache-2.0
"""Whose answers are expected, where they are told, and that no flood takes another's room."""

from __future__ import annotations

import pytest

from sentinel import abi
from sentinel.decode_message import KernelMessage
from tests.harness.dhcp import DhcpType, dhcp, option
from tests.harness.dhcp6 import Dhcp6Type, dhcp6
from tests.harness.dhcp_families import FAMILIES, Family
from tests.harness.frames import GUEST_MAC, TPID_C
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    STRAYS,
    TO_GUEST,
    TO_WIRE,
    UNWATCHED,
    UPLINK,
    IngressRefusedError,
    Programs,
    within,
)

NEIGHBOUR_MAC = "52:54:00:0b:0b:0b"
HALF = abi.TAP_MAX_ANSWERS // 2
SETS, WAYS = abi.TAP_MAX_EXCHANGES // 4, 4


each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(autouse=True)
def host(programs: Programs) -> None:
    programs.add(PORT)
    programs.add(OTHER_PORT)
    programs.add(UPLINK, role="uplink")


def places(messages: list[KernelMessage]) -> list[tuple[int, int, int]]:
    """(where it was seen, which way it went, whose it is)."""
    return [(one.ifindex, one.direction, one.port_ifindex) for one in messages]


def told(programs: Programs) -> list[tuple[int, int, int]]:
    return places(programs.drain_messages())


def from_port(programs: Programs, frame: bytes, ingress_ifindex: int) -> None:
    """To the wire, from a device."""
    try:
        programs.check(TO_WIRE, frame, UPLINK, ingress_ifindex=ingress_ifindex)
    except IngressRefusedError:
        pytest.skip("this kernel's test run cannot say where a frame came in (5.14 can)")


@each_family
def test_an_exchange_is_followed_at_all_four_hooks(programs: Programs, family: Family) -> None:
    programs.check(FROM_GUEST, family.ask())
    programs.check(TO_WIRE, family.ask(), UPLINK)
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    programs.check(TO_GUEST, family.answer())
    assert told(programs) == [
        (PORT, abi.TAP_IN, PORT),
        (UPLINK, abi.TAP_OUT, PORT),
        (UPLINK, abi.TAP_IN, PORT),
        (PORT, abi.TAP_OUT, PORT),
    ]


@each_family
def test_the_port_s_clocks_go_with_it_wherever_it_is_seen(
    programs: Programs, family: Family
) -> None:
    programs.run(FROM_GUEST, bytes(12) + b"\x88\xb5" + bytes(46))
    programs.run(TO_GUEST, bytes(12) + b"\x88\xb5" + bytes(46))
    programs.run(FROM_WIRE, bytes(12) + b"\x88\xb5" + bytes(46), UPLINK)
    clocks = programs.memory.clocks(programs.slot(PORT))
    programs.run(FROM_GUEST, family.ask())
    programs.run(TO_WIRE, family.ask(), UPLINK)
    programs.run(FROM_WIRE, family.answer(), UPLINK)
    programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC), UPLINK)
    *known, unknown = programs.drain_messages()
    expected = (clocks.seen_in_ns, clocks.seen_out_ns)
    assert [(one.sent_ns, one.received_ns) for one in known] == [expected] * 3
    assert all(expected)
    assert (unknown.port_ifindex, unknown.sent_ns, unknown.received_ns) == (0, 0, 0)


@each_family
def test_missed_goes_with_it_too(programs: Programs, family: Family) -> None:
    programs.configure(messages_per_window=2)
    for xid in range(5):
        programs.check(FROM_GUEST, family.ask(xid=xid))
    programs.drain_messages()
    programs.check(FROM_WIRE, family.answer(xid=1), UPLINK)
    programs.check(TO_GUEST, family.answer(xid=1))
    assert [one.missed for one in programs.drain_messages()] == [3, 3]


@each_family
def test_answers_of_others_are_not_told_here(programs: Programs, family: Family) -> None:
    """A bridge floods them: they are told at the port that asked."""
    programs.check(FROM_GUEST, family.ask(NEIGHBOUR_MAC), OTHER_PORT)
    programs.drain_messages()
    programs.check(TO_GUEST, family.answer(NEIGHBOUR_MAC), PORT)
    programs.check(TO_GUEST, family.answer(NEIGHBOUR_MAC), OTHER_PORT)
    assert told(programs) == [(OTHER_PORT, abi.TAP_OUT, OTHER_PORT)]
    assert "messages_suppressed" not in programs.counts(PORT)[1]


@each_family
def test_what_others_ask_is_not_told_on_its_way_to_a_guest(
    programs: Programs, family: Family
) -> None:
    programs.check(FROM_GUEST, family.ask())
    programs.check(TO_GUEST, family.ask())
    programs.check(TO_GUEST, family.ask(NEIGHBOUR_MAC))
    programs.check(FROM_WIRE, family.ask(), UPLINK)
    programs.check(TO_WIRE, family.answer(), UPLINK)
    programs.check(TO_WIRE, family.ask(NEIGHBOUR_MAC), UPLINK)
    assert told(programs) == [(PORT, abi.TAP_IN, PORT)]
    assert programs.counts(PORT)[1]["dhcp.request" if family.name == "v4" else "dhcp6.request"] == 2


@each_family
def test_answers_that_nobody_waits_for_are_on_the_rate(programs: Programs, family: Family) -> None:
    programs.configure(messages_per_window=3)
    for xid in range(10):
        programs.check(TO_GUEST, family.answer(xid=xid))
        programs.check(FROM_WIRE, family.answer(xid=xid), UPLINK)
    seen = told(programs)
    assert seen.count((PORT, abi.TAP_OUT, PORT)) == 3
    assert seen.count((UPLINK, abi.TAP_IN, 0)) == 3
    assert programs.counts(PORT)[1]["messages_suppressed"] == 7
    assert programs.counts(UPLINK)[0]["messages_suppressed"] == 7
    assert programs.maps.talk(programs.slot(PORT)).missed == 0


def test_answers_that_nobody_waits_for_are_bounded_in_all(programs: Programs) -> None:
    """However many ports a flood of answers goes to: 16 times one device's rate."""
    programs.configure(messages_per_window=3)
    gate = abi.TAP_GATE.unpack(programs.memory.read("tap_strangers", 0, abi.TAP_GATE.size))
    assert gate[1] == 0
    programs.check(TO_GUEST, FAMILIES[0].answer())
    start, one, _ = abi.TAP_GATE.unpack(programs.memory.read("tap_strangers", 0, abi.TAP_GATE.size))
    assert one == 1
    programs.memory.write("tap_strangers", 0, abi.TAP_GATE.pack(start, 16 * 3 - 1, 0))
    programs.model.messages.strangers = 16 * 3 - 1
    for _ in range(3):
        programs.check(TO_GUEST, FAMILIES[0].answer(), OTHER_PORT)
        programs.check(FROM_WIRE, FAMILIES[0].answer(), UPLINK)
    assert told(programs) == [(PORT, abi.TAP_OUT, PORT), (OTHER_PORT, abi.TAP_OUT, OTHER_PORT)]
    programs.check(FROM_GUEST, FAMILIES[0].ask())
    programs.check(TO_GUEST, FAMILIES[0].answer())
    assert len(told(programs)) == 2


@each_family
def test_a_flood_of_others_takes_nothing_from_a_port(programs: Programs, family: Family) -> None:
    """Nor does a flood of answers to it: what one asked is told in full, whatever passes."""
    programs.configure(messages_per_window=5)
    programs.check(FROM_GUEST, family.ask())
    for xid in range(1000, 1300):
        programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, xid), OTHER_PORT)
        programs.run(TO_WIRE, family.ask(NEIGHBOUR_MAC, xid), UPLINK)
        programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC, xid), UPLINK)
        for place in (PORT, OTHER_PORT):
            programs.run(TO_GUEST, family.answer(NEIGHBOUR_MAC, xid), place)
    programs.drain_messages()
    programs.run(TO_WIRE, family.ask(), UPLINK)
    programs.run(FROM_WIRE, family.answer(), UPLINK)
    programs.run(TO_GUEST, family.answer())
    assert told(programs) == [
        (UPLINK, abi.TAP_OUT, PORT),
        (UPLINK, abi.TAP_IN, PORT),
        (PORT, abi.TAP_OUT, PORT),
    ]
    assert programs.maps.talk(programs.slot(PORT)).missed == 0


@each_family
def test_answers_to_one_message_are_bounded(programs: Programs, family: Family) -> None:
    """Half at the port and half at the uplink; asking again begins anew."""
    for _ in range(2):
        programs.check(FROM_GUEST, family.ask())
        programs.drain_messages()
        for _ in range(HALF + 3):
            programs.check(FROM_WIRE, family.answer(), UPLINK)
        assert told(programs) == [(UPLINK, abi.TAP_IN, PORT)] * HALF
        programs.check(TO_WIRE, family.ask(), UPLINK)
        assert told(programs) == []
        for _ in range(HALF + 3):
            programs.check(TO_GUEST, family.answer())
        assert told(programs) == [(PORT, abi.TAP_OUT, PORT)] * HALF
    assert programs.counts(PORT)[1]["messages_suppressed"] == 2 * 3
    assert programs.counts(UPLINK)[0]["messages_suppressed"] == 2 * 3
    assert programs.counts(UPLINK)[1]["messages_suppressed"] == 2


@each_family
def test_a_neighbour_that_repeats_it_takes_nothing(programs: Programs, family: Family) -> None:
    """Not the answers, nor their number, nor the way over the uplink."""
    programs.check(FROM_GUEST, family.ask(), PORT)
    programs.check(FROM_GUEST, family.ask(), OTHER_PORT)
    programs.drain_messages()
    from_port(programs, family.ask(), OTHER_PORT)
    assert told(programs) == []
    for origin in (PORT, UNWATCHED, 0):
        from_port(programs, family.ask(), origin)
        assert told(programs) == [(UPLINK, abi.TAP_OUT, PORT)], origin
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    for place in (PORT, OTHER_PORT):
        programs.check(TO_GUEST, family.answer(), place)
    assert told(programs) == [(UPLINK, abi.TAP_IN, PORT), (PORT, abi.TAP_OUT, PORT)]


@each_family
def test_an_exchange_ends_with_its_port(programs: Programs, family: Family) -> None:
    """Its answers are nobody's then, and who asks next may have it."""
    programs.check(FROM_GUEST, family.ask(), PORT)
    programs.remove(PORT)
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    programs.check(FROM_GUEST, family.ask(), OTHER_PORT)
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    assert told(programs)[1:] == [
        (UPLINK, abi.TAP_IN, 0),
        (OTHER_PORT, abi.TAP_IN, OTHER_PORT),
        (UPLINK, abi.TAP_IN, OTHER_PORT),
    ]


@each_family
def test_another_port_in_its_slot_waits_for_nothing(programs: Programs, family: Family) -> None:
    programs.check(FROM_GUEST, family.ask(), PORT)
    slot = programs.slot(PORT)
    programs.remove(PORT)
    programs.add(STRAYS[0])
    assert programs.slot(STRAYS[0]) == slot
    programs.check(TO_GUEST, family.answer(), STRAYS[0])
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    assert programs.memory.exchanges()
    assert told(programs)[1:] == [(STRAYS[0], abi.TAP_OUT, STRAYS[0]), (UPLINK, abi.TAP_IN, 0)]
    programs.check(FROM_GUEST, family.ask(), STRAYS[0])
    programs.check(FROM_WIRE, family.answer(), UPLINK)
    assert told(programs)[1:] == [(UPLINK, abi.TAP_IN, STRAYS[0])]


@each_family
def test_what_was_dropped_or_suppressed_has_no_answers(programs: Programs, family: Family) -> None:
    programs.configure(dhcp_flood=within(1, "drop"), messages_per_window=2)
    for xid in range(3):
        programs.check(FROM_GUEST, family.ask(xid=xid))
    assert len(programs.memory.exchanges()) == 1
    programs.configure(messages_per_window=2)
    programs.check(FROM_GUEST, family.ask(xid=3))
    assert len(programs.memory.exchanges()) == 1


def test_what_opens_no_exchange(programs: Programs) -> None:
    """A server's message, a relay's, and one whose client is cut off."""
    for frame in (
        dhcp(DhcpType.OFFER),
        dhcp6(Dhcp6Type.ADVERTISE),
        dhcp6(Dhcp6Type.RELAY_FORW),
        dhcp6(Dhcp6Type.RELAY_REPL),
        dhcp(DhcpType.DISCOVER)[: 42 + 43],
        dhcp6(Dhcp6Type.SOLICIT)[: 62 + 3],
    ):
        programs.check(FROM_GUEST, frame)
    assert programs.memory.exchanges() == []
    assert len(told(programs)) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"xid": 8}, {"xid": 7 << 24}, {"mac": "fa:16:3e:00:00:98"}, {"mac": "fb:16:3e:00:00:99"},
        {"mac": "fa:16:3e:00:01:99"},
    ],
    ids=str,
)  # fmt: skip
def test_transaction_and_client_must_both_be_the_same(
    programs: Programs, changed: dict[str, int | str]
) -> None:
    for family in FAMILIES:
        if family.name == "v6" and changed.get("xid", 0) == 7 << 24:
            continue
        programs.check(FROM_GUEST, family.ask())
        programs.check(FROM_WIRE, family.answer(**changed), UPLINK)  # type: ignore[arg-type]
        assert told(programs)[1] == (UPLINK, abi.TAP_IN, 0)
        programs.check(FROM_WIRE, family.answer(), UPLINK)
        assert told(programs) == [(UPLINK, abi.TAP_IN, PORT)]


def test_the_protocols_do_not_share_exchanges(programs: Programs) -> None:
    """The same bytes of transaction and client in both."""
    v4, v6 = FAMILIES
    programs.check(FROM_GUEST, v4.ask(xid=7))
    programs.check(FROM_WIRE, v6.answer(xid=7), UPLINK)
    assert told(programs)[1] == (UPLINK, abi.TAP_IN, 0)


def test_behind_tags_and_whatever_the_sender_s_address(programs: Programs) -> None:
    """DHCPv4's client is whom the message names: a relay's answers come to the relay."""
    tags = ((TPID_C, 5, 0),)
    ask = dhcp(DhcpType.DISCOVER, client_mac=GUEST_MAC, src_mac=NEIGHBOUR_MAC, tags=tags)
    hidden = dhcp(DhcpType.OFFER, client_mac=GUEST_MAC, before=option(43, bytes(60)), tags=tags)
    programs.check(FROM_GUEST, ask)
    programs.check(TO_GUEST, hidden)
    assert told(programs) == [(PORT, abi.TAP_IN, PORT), (PORT, abi.TAP_OUT, PORT)]
