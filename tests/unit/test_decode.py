# SPDX-License-Identifier: Apache-2.0
"""Bytes of maps and of the ring into records and back; bytes a guest wrote are not believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import abi
from sentinel.decode import (
    BPDU_KINDS,
    CHECKS,
    COUNTER_WORDS,
    DHCP6_TYPES,
    DHCP_TYPES,
    DROPS,
    NO_COUNTERS,
    CheckSetting,
    Cut,
    KernelConfig,
    Order,
    Talk,
    check_bits,
    decode_counters,
    decode_cut,
    decode_event,
    decode_order,
    decode_port,
    decode_ports,
    decode_talk,
    latch_cause,
    latch_value,
)

TICK_NS = 4_000_000
FRAME = bytes(range(200))


def record(
    *,
    check: int = 0,
    kind: int = 0,
    role: int = 1,
    verdict: int = 0,
    head_bytes: int = 128,
    outer: tuple[int, int] = (0, 0),
    head: bytes = FRAME[:128],
) -> bytes:
    tpid = int.from_bytes(outer[0].to_bytes(2, "big"), "little")  # a __be16 in memory
    return abi.TAP_EVENT.pack(
        10**9, 7, 8, 64, 60, check, kind, 1, role, verdict, 2, head_bytes, tpid, outer[1], 0, head
    )


def test_counters_by_name() -> None:
    """Every word has one place and none has two."""
    counters = decode_counters(range(1, COUNTER_WORDS + 1))
    shown = counters.to_dict()
    assert (shown["frames"], shown["bytes"], shown["oversized"]) == (1, 2, 3)
    assert (shown["oversized_by_tags"], shown["vlan_tagged"], shown["vlan_nested"]) == (4, 5, 6)
    assert shown["bpdu"] == {**dict(zip(BPDU_KINDS, range(7, 12), strict=True)), "total": 45}
    assert shown["bpdu_host"] == 12
    first = 13
    assert [shown["dhcp"][name] for name in DHCP_TYPES] == list(range(first, first + 9))
    assert shown["dhcp"]["total"] == sum(range(first, first + 9))
    assert [shown["dhcp6"][name] for name in DHCP6_TYPES] == list(range(22, 36))
    assert shown["dhcp6"]["total"] == sum(range(22, 36))
    assert shown["dhcp_server"] == 36
    drops = [shown["dropped"][name] for name in DROPS]
    assert drops == list(range(37, 43))
    assert shown["dropped"]["total"] == sum(drops)
    assert shown["events"] == {"told": 43, "suppressed": 44, "lost": 45, "total": 132}
    assert shown["messages"] == {"told": 46, "suppressed": 47, "lost": 48, "total": 141}
    assert COUNTER_WORDS == 48


def test_counters_in_the_order_they_are_shown() -> None:
    """What is counted last is what has no name of its own."""
    shown = NO_COUNTERS.to_dict()
    assert list(shown["dhcp"]) == [*DHCP_TYPES[1:], "other", "total"]
    assert list(shown["dhcp6"]) == [*DHCP6_TYPES[1:], "other", "total"]
    assert list(shown["bpdu"]) == [*BPDU_KINDS, "total"]


def test_no_counters_are_all_zero() -> None:
    assert decode_counters([0] * COUNTER_WORDS) == NO_COUNTERS
    assert NO_COUNTERS.to_dict()["dropped"]["total"] == 0


@pytest.mark.parametrize("words", [COUNTER_WORDS - 1, COUNTER_WORDS + 1, 0])
def test_counters_of_another_length_are_none(words: int) -> None:
    with pytest.raises((TypeError, ValueError, IndexError)):
        decode_counters([0] * words)


def test_offences() -> None:
    counters = decode_counters(range(1, COUNTER_WORDS + 1))
    assert [counters.offences(check) for check in CHECKS] == [
        45, 6, 3, 36, sum(range(13, 36)),
    ]  # fmt: skip


def test_latches() -> None:
    assert latch_cause(abi.TAP_LATCH_OPEN) is None
    assert latch_cause(abi.TAP_LATCH_ORDER) == "order"
    for cause in (*CHECKS, "order"):
        assert latch_cause(latch_value(cause)) == cause
    assert latch_cause(40) == "unknown-39"
    with pytest.raises(ValueError, match="not in tuple"):
        latch_value("nothing")


def test_check_bits() -> None:
    assert check_bits(frozenset()) == 0
    assert check_bits(frozenset(CHECKS)) == (1 << len(CHECKS)) - 1
    assert check_bits(frozenset({"vlan"})) == 1 << abi.TAP_CHECK_VLAN


def test_ports() -> None:
    values = [(0,) * 12, (5, 1, 99, 1, 1500, 3, 0, 0, 0, 0, 0), (6, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0)]
    memory = b"".join(abi.TAP_PORT.pack(*value[:11]) for value in values)
    first, second = decode_ports(memory)
    assert (first.slot, first.ifindex, first.cause, first.latched_at_ns) == (1, 5, "bpdu", 99)
    assert (first.role, first.mtu_bytes, first.trusted_checks) == (abi.TAP_ROLE_PORT, 1500, 3)
    assert (second.slot, second.ifindex, second.cause) == (2, 6, None)
    assert (first.sent_ns, first.received_ns) == (0, 0)
    assert decode_port(9, memory[64:128]).slot == 9
    assert decode_port(0, memory[:64]).ifindex == 0


def test_clocks_of_a_port() -> None:
    """The kernel's notes of the tick are not shown."""
    value = abi.TAP_PORT.pack(5, 0, 0, 1, 1500, 0, 0, 10**9, 2 * 10**9, 77, 78)
    port = decode_port(3, value)
    assert (port.sent_ns, port.received_ns) == (10**9, 2 * 10**9)
    assert decode_ports(value) == [decode_port(0, value)]


def test_talk() -> None:
    value = abi.TAP_TALK.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert decode_talk(value) == Talk(missed=5, quiet_sent_ns=7, quiet_received_ns=8)


@pytest.mark.parametrize("check", range(len(CHECKS)))
@pytest.mark.parametrize("verdict", range(4))
def test_events(check: int, verdict: int) -> None:
    event = decode_event(record(check=check, verdict=verdict, kind=2))
    assert (event.time_ns, event.ifindex, event.offender_ifindex) == (10**9, 7, 8)
    assert (event.frame_bytes, event.wire_bytes, event.tags) == (64, 60, 2)
    assert event.check == CHECKS[check]
    assert event.verdict == ("passed", "dropped", "latched", "fused")[verdict]
    assert event.kind == ("mstp", "2 tags", "2 tags", "offer", "offer")[check]
    assert (event.direction, event.role) == (abi.TAP_OUT, "port")
    assert event.source_mac == "06:07:08:09:0a:0b"


def test_one_tag_is_one() -> None:
    assert decode_event(record(check=abi.TAP_CHECK_SIZE, kind=1)).kind == "1 tag"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (abi.TAP_DHCP_OTHER, "other"),
        (abi.TAP_DHCP_NAK, "nak"),
        (abi.TAP_DHCP_TYPES, "unknown-9"),
        (abi.TAP_MESSAGE_DHCP6 + abi.TAP_DHCP6_OTHER, "dhcpv6 other"),
        (abi.TAP_MESSAGE_DHCP6 + abi.TAP_DHCP6_ADVERTISE, "dhcpv6 advertise"),
        (
            abi.TAP_MESSAGE_DHCP6 + abi.TAP_DHCP6_INFORMATION_REQUEST,
            "dhcpv6 information-request",
        ),
        (abi.TAP_MESSAGE_DHCP6 + abi.TAP_DHCP6_TYPES, "dhcpv6 unknown-14"),
        (abi.TAP_MESSAGE_NONE, "unknown-255"),
    ],
)
def test_messages_by_name(kind: int, name: str) -> None:
    for check in (abi.TAP_CHECK_ROGUE_DHCP, abi.TAP_CHECK_DHCP_FLOOD):
        assert decode_event(record(check=check, kind=kind)).kind == name


@pytest.mark.parametrize("outer", [(0x8100, 0x6005), (0x88A8, 0x0FFF)])
def test_a_tag_in_metadata_goes_back_in_wire_order(outer: tuple[int, int]) -> None:
    event = decode_event(record(outer=outer))
    tag = outer[0].to_bytes(2, "big") + outer[1].to_bytes(2, "big")
    assert event.head == FRAME[:12] + tag + FRAME[12:128]


@pytest.mark.parametrize("head_bytes", [0, 5, 11, 12, 14, 128])
def test_heads_of_runts(head_bytes: int) -> None:
    event = decode_event(record(head_bytes=head_bytes, outer=(0x8100, 5)))
    tag_bytes = 4 if head_bytes >= 12 else 0
    assert len(event.head) == head_bytes + tag_bytes
    assert (event.source_mac is None) == (head_bytes < 12)


def test_what_no_program_writes_is_named_unknown() -> None:
    event = decode_event(record(check=200, kind=201, role=202, verdict=203, head_bytes=65535))
    assert (event.check, event.role, event.verdict) == ("unknown-200", "unknown-202", "unknown-203")
    assert len(event.head) == abi.TAP_HEAD_BYTES
    assert decode_event(record(check=0, kind=99)).kind == "unknown-99"


@given(st.binary(min_size=abi.TAP_EVENT.size, max_size=abi.TAP_EVENT.size + 8))
def test_any_bytes_are_some_event(raw: bytes) -> None:
    event = decode_event(raw)
    assert len(event.head) <= abi.TAP_HEAD_BYTES + 4


@given(st.binary(max_size=abi.TAP_EVENT.size - 1))
def test_fewer_bytes_are_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=f"{abi.TAP_EVENT.size} are one"):
        decode_event(raw)


TEXT = st.text(max_size=200).filter(lambda text: "\0" not in text)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(TEXT, U32, U64)
def test_cuts_come_back(reason: str, number: int, time_ns: int) -> None:
    """A reason that is too long is cut between two characters."""
    cut = Cut(number, number, number, number, time_ns, time_ns, reason)
    found = decode_cut(cut.encode())
    assert len(cut.encode()) == abi.TAP_CUT.size
    assert found.reason == reason.encode()[: abi.TAP_REASON_BYTES].decode("utf-8", "ignore")
    assert (found.latch, found.uid, found.since_wall_ns, found.hold_ns) == (
        number, number, time_ns, time_ns,
    )  # fmt: skip


@given(TEXT, st.booleans())
def test_orders_come_back(text: str, changed: bool) -> None:
    order = Order(abi.TAP_ORDER_RELEASE, 7, 1000, changed, 10**18, 0, text, text)
    found = decode_order(order.encode())
    assert found.changed == changed
    assert found.name == text.encode()[: abi.TAP_NAME_BYTES].decode("utf-8", "ignore")
    assert (found.kind, found.ifindex, found.uid) == (abi.TAP_ORDER_RELEASE, 7, 1000)


def test_surrogates_and_broken_text_do_no_harm() -> None:
    cut = Cut(1, 1, 0, 0, 0, 0, "bad \udcff reason")
    assert decode_cut(cut.encode()).reason == "bad ? reason"
    raw = abi.TAP_CUT.pack(1, 1, 0, 0, 0, 0, b"\xff\xfe torn \xc3")
    assert decode_cut(raw).reason == "\ufffd\ufffd torn \ufffd"


def test_config() -> None:
    checks = tuple(
        CheckSetting(("count", "drop", "quarantine")[at % 3], at + 1, at * 10**9 + 1)
        for at in range(len(CHECKS))
    )
    value = KernelConfig(checks, "drop", 10, 10**9, 12, 33).encode(TICK_NS)
    assert len(value) == abi.TAP_CONFIG.size
    for at in range(len(CHECKS)):
        policy = abi.TAP_CHECK_POLICY.unpack_from(value, at * abi.TAP_CHECK_POLICY.size)
        assert policy == (at % 3, at + 1, at * 250 + 1)
    _, host, per_window, window_ticks, fuse, messages = abi.TAP_CONFIG.unpack(value)
    assert (host, per_window, window_ticks) == (abi.TAP_ACTION_DROP, 10, 250)
    assert (fuse, messages) == (12, 33)


@given(st.integers(1, 3_600_000_000_000), st.sampled_from((1_000_000, 4_000_000, 10_000_000)))
def test_a_window_is_never_shorter_than_asked(window_ns: int, tick_ns: int) -> None:
    checks = tuple(CheckSetting("count", 1, window_ns) for _ in CHECKS)
    value = KernelConfig(checks, "count", 1, window_ns, 1).encode(tick_ns)
    ticks = abi.TAP_CHECK_POLICY.unpack_from(value)[2]
    assert window_ns <= ticks * tick_ns < window_ns + tick_ns
