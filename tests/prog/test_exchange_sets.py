# SPDX-License-Identifier: Apache-2.0
"""Room for exchanges: what makes way for what, where keys have the same hash."""

from __future__ import annotations

from itertools import count

import pytest

from sentinel import abi
from tests.harness.dhcp_families import FAMILIES
from tests.harness.frames import GUEST_MAC, mac_bytes
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    TO_GUEST,
    UPLINK,
    Programs,
)

NEIGHBOUR_MAC = "52:54:00:0b:0b:0b"
SETS, WAYS = abi.TAP_MAX_EXCHANGES // 4, 4


@pytest.fixture(autouse=True)
def host(programs: Programs) -> None:
    programs.configure(messages_per_window=10_000)
    programs.add(PORT)
    programs.add(OTHER_PORT)
    programs.add(UPLINK, role="uplink")


def told(programs: Programs) -> list[tuple[int, int, int]]:
    """(where it was seen, which way it went, whose it is)."""
    messages = programs.drain_messages()
    return [(one.ifindex, one.direction, one.port_ifindex) for one in messages]


def set_of(mac: str, xid: int) -> int:
    """Where exchange_kern.h puts a client's exchange (DHCPv4)."""
    factor, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    client = mac_bytes(mac)
    first, last = (int.from_bytes(part, "little") for part in (client[:4], client[4:]))
    found = ((first << 32 | int.from_bytes(xid.to_bytes(4, "big"), "little")) * factor) & mask
    found = ((found ^ found >> 32 ^ last ^ 4 << 16) * factor) & mask
    return (found >> 48) % SETS


def beside(mac: str, xid: int, wanted: int) -> list[int]:
    """Transactions of another client that have the same hash."""
    own = set_of(mac, xid)
    found: list[int] = []
    for other in count(1):
        if len(found) == wanted:
            break
        if set_of(NEIGHBOUR_MAC, other) == own:
            found.append(other)
    return found


def test_keys_of_the_same_hash_drive_out_none_but_the_guest_s_own(programs: Programs) -> None:
    """The first of a guest may take an empty place; then its own make room for its next."""
    family = FAMILIES[0]
    others = beside(GUEST_MAC, 7, 12)
    programs.run(FROM_GUEST, family.ask(), PORT)
    for xid in others:
        programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, xid), OTHER_PORT)
    assert len(programs.memory.exchanges()) == WAYS
    programs.drain_messages()
    programs.run(TO_GUEST, family.answer(), PORT)
    programs.run(FROM_WIRE, family.answer(), UPLINK)
    programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC, others[-1]), UPLINK)
    assert told(programs) == [
        (PORT, abi.TAP_OUT, PORT),
        (UPLINK, abi.TAP_IN, PORT),
        (UPLINK, abi.TAP_IN, OTHER_PORT),
    ]
    for xid in others[:-1]:
        programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC, xid), UPLINK)
    owners = [owner for _, _, owner in told(programs)]
    assert sorted(owners) == [0] * (len(others) - WAYS + 1) + [OTHER_PORT] * (WAYS - 2)


def test_the_oldest_makes_room_where_all_are_others(programs: Programs) -> None:
    family = FAMILIES[0]
    first, *others = 7, *beside(GUEST_MAC, 7, WAYS)
    programs.run(FROM_GUEST, family.ask(xid=first), PORT)
    programs.memory.age_exchanges(1000)
    for xid in others[:-1]:
        programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, xid), PORT)
    programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, others[-1]), OTHER_PORT)
    programs.drain_messages()
    for xid in others:
        programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC, xid), UPLINK)
    programs.run(FROM_WIRE, family.answer(xid=first), UPLINK)
    owners = [owner for _, _, owner in told(programs)]
    assert owners == [*[PORT] * (WAYS - 1), OTHER_PORT, 0]


@pytest.mark.parametrize("windows", [59, 60])
def test_after_sixty_windows_others_make_room_first(programs: Programs, windows: int) -> None:
    """Before that they are waited for, and a guest's newcomer takes the place of its own."""
    family = FAMILIES[0]
    first, *others = 7, *beside(GUEST_MAC, 7, WAYS)
    programs.run(FROM_GUEST, family.ask(xid=first), PORT)
    for xid in others[: WAYS - 2]:
        programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, xid), PORT)
    programs.memory.age_exchanges(windows * hour_ticks(programs))
    for xid in others[WAYS - 2 :]:
        programs.run(FROM_GUEST, family.ask(NEIGHBOUR_MAC, xid), OTHER_PORT)
    programs.drain_messages()
    programs.run(FROM_WIRE, family.answer(NEIGHBOUR_MAC, others[WAYS - 2]), UPLINK)
    ((_, _, owner),) = told(programs)
    assert owner == (OTHER_PORT if windows == 60 else 0)


def hour_ticks(programs: Programs) -> int:
    """The window in the kernel's ticks, as the programs were told."""
    value = programs.memory.read("tap_config", 0, abi.TAP_CONFIG.size)
    ticks: int = abi.TAP_CONFIG.unpack(value)[abi.TAP_CONFIG_FIELDS.index("event_window_ticks")]
    return ticks


def test_thousands_of_exchanges_are_open_at_once(programs: Programs) -> None:
    asked = range(2000)
    for xid in asked:
        programs.run(FROM_GUEST, FAMILIES[0].ask(xid=xid))
        if xid % 500 == 499:
            programs.drain_messages()
    for xid in asked:
        programs.run(TO_GUEST, FAMILIES[0].answer(xid=xid))
        if xid % 500 == 499:
            programs.drain_messages()
    assert programs.counts(PORT)[1]["messages_told"] == len(asked)
    assert talk_told_out(programs) == 0


def talk_told_out(programs: Programs) -> int:
    """Answers told at the port that nobody waited for."""
    value = programs.memory.read("tap_talks", programs.slot(), abi.TAP_TALK.size)
    found: int = abi.TAP_TALK.unpack(value)[3]
    return found


def test_every_part_of_a_key_is_compared(programs: Programs) -> None:
    """Clients and transactions that have the same hash, and one part that differs."""
    family, own = FAMILIES[0], set_of(GUEST_MAC, 7)
    start, end = GUEST_MAC[:12], GUEST_MAC[11:]
    pairs = [(number >> 8, number & 0xFF) for number in range(1 << 16)]
    others = [
        *((f"{start}{high:02x}:{low:02x}", 7) for high, low in pairs),
        *((f"52:{high:02x}:{low:02x}:00{end}", 7) for high, low in pairs),
        *((GUEST_MAC, 1000 + number) for number in range(1 << 16)),
    ]
    alike = [(mac, xid) for mac, xid in others if set_of(mac, xid) == own and mac != GUEST_MAC]
    alike += [(mac, xid) for mac, xid in others if set_of(mac, xid) == own and xid != 7]
    assert len(alike) > 20
    programs.run(FROM_GUEST, family.ask(), PORT)
    programs.drain_messages()
    for mac, xid in alike:
        programs.run(FROM_WIRE, family.answer(mac, xid), UPLINK)
        assert told(programs) == [(UPLINK, abi.TAP_IN, 0)], (mac, xid)
    programs.run(FROM_WIRE, family.answer(), UPLINK)
    assert told(programs) == [(UPLINK, abi.TAP_IN, PORT)]
