# SPDX-License-Identifier: Apache-2.0
"""Rows of lost frames: names of reasons and functions, sums, and what may make room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import abi
from sentinel.decode_losses import (
    IDLE_NS,
    Row,
    decode_losses,
    idle_keys,
    keys_of,
    reason_names,
    reason_of,
    symbol_name,
)
from sentinel.traffic import LossSeen

NAMES = {2: "NOT_SPECIFIED", 80: "FULL_RING"}
TAP, MEMBER = 7, 9


def row(
    symbol: bytes = b"br_dev_queue_push_xmit",
    *,
    location: int = 1 << 63,
    way: tuple[int, int] = (TAP, MEMBER),
    reason: int = 2,
    frames: int = 3,
    seen_ns: tuple[int, int] = (100, 200),
    largest: int = 9014,
) -> Row:
    key = abi.TAP_LOSS_KEY.pack(location, *way, reason, 0)
    return key, abi.TAP_LOSS.pack(frames, frames * 1000, *seen_ns, largest, 5, symbol)


def test_a_row() -> None:
    (loss,) = decode_losses([row()], NAMES)
    assert loss == LossSeen(
        from_ifindex=TAP,
        at_ifindex=MEMBER,
        reason="NOT_SPECIFIED",
        symbol="br_dev_queue_push_xmit",
        frames=3,
        bytes=3000,
        largest_bytes=9014,
        first_seen_ns=100,
        last_seen_ns=200,
    )


def test_a_reason_without_a_name() -> None:
    (loss,) = decode_losses([row(reason=0x30001)], NAMES)
    assert loss.reason == "reason 196609"
    assert reason_of(row(reason=0x30001)[0]) == 0x30001


def test_names_of_reasons() -> None:
    kernel = [
        ("SKB_NOT_DROPPED_YET", 0),
        ("SKB_CONSUMED", 1),
        ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
        ("SKB_DROP_REASON_FULL_RING", 80),
        ("SKB_DROP_REASON_MAX", 128),
        ("SKB_DROP_REASON_SUBSYS_MASK", 0xFFFF0000),
        ("OVS_DROP_EXPLICIT", 0x30002),
    ]
    assert reason_names(kernel) == {
        0: "SKB_NOT_DROPPED_YET",
        1: "SKB_CONSUMED",
        2: "NOT_SPECIFIED",
        80: "FULL_RING",
        0x30002: "OVS_DROP_EXPLICIT",
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"tun_net_xmit", "tun_net_xmit"),
        (b"br_dev_queue_push_xmit [bridge]", "br_dev_queue_push_xmit"),
        (b"br_forward.part.0 [bridge]", "br_forward"),
        (b"ip_rcv_core.isra.0", "ip_rcv_core"),
        (b"tun_net_xmit\0[bridge]", "tun_net_xmit"),
        (b"0xffffffff81234567", ""),
        (b"", ""),
        (b"   ", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a" * abi.TAP_SYMBOL_BYTES, "a" * abi.TAP_SYMBOL_BYTES),
    ],
)
def test_names_of_functions(text: bytes, name: str) -> None:
    assert symbol_name(text) == name
    assert symbol_name(text.ljust(abi.TAP_SYMBOL_BYTES, b"\0")) == name


def test_two_places_in_one_function_are_one_loss() -> None:
    rows = [
        row(location=1, frames=3, seen_ns=(100, 200), largest=60),
        row(b"br_dev_queue_push_xmit.cold", location=2, frames=4, seen_ns=(50, 150), largest=90),
        row(b"tun_net_xmit", location=3, reason=80, frames=9),
        row(location=1, way=(TAP, TAP), frames=1),
        row(location=1, way=(0, MEMBER), frames=2),
    ]
    found = decode_losses(rows, NAMES)
    assert [one.frames for one in found] == [9, 7, 2, 1]
    both = found[1]
    assert (both.from_ifindex, both.at_ifindex, both.bytes) == (TAP, MEMBER, 7000)
    assert (both.first_seen_ns, both.last_seen_ns, both.largest_bytes) == (50, 200, 90)


def table(count: int, last_ns: int = 1000) -> list[Row]:
    return [row(location=at, seen_ns=(1, last_ns)) for at in range(count)]


def test_room_is_made_only_where_there_is_little() -> None:
    late_ns = 1000 + IDLE_NS + 1
    most = abi.TAP_MAX_LOSSES * 3 // 4
    assert idle_keys(table(most), late_ns) == []
    assert len(idle_keys(table(most + 1), late_ns)) == most + 1
    assert idle_keys(table(most + 1), late_ns - 1) == []
    busy = [*table(most), row(location=1 << 40, seen_ns=(1, late_ns))]
    assert busy[-1][0] not in idle_keys(busy, late_ns)


def test_rows_of_devices() -> None:
    rows = [row(way=way) for way in ((7, 9), (9, 7), (0, 9), (7, 7), (8, 8))]
    assert keys_of(rows, {7}) == [rows[0][0], rows[1][0], rows[3][0]]
    assert keys_of(rows, {0}) == [rows[2][0]]
    assert keys_of(rows, set()) == []


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=abi.TAP_LOSS_KEY.size, max_size=abi.TAP_LOSS_KEY.size),
            st.binary(min_size=abi.TAP_LOSS.size, max_size=abi.TAP_LOSS.size),
        ),
        max_size=20,
    )
)
def test_anything_is_decoded_and_no_frame_gets_lost(rows: list[Row]) -> None:
    found = decode_losses(rows, NAMES)
    frames = [abi.TAP_LOSS.unpack(value)[0] for _, value in rows]
    assert sum(one.frames for one in found) == sum(frames)
    assert len({(o.from_ifindex, o.at_ifindex, o.reason, o.symbol) for o in found}) == len(found)
