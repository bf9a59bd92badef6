# SPDX-License-Identifier: Apache-2.0
"""Events that wait go out together, and nothing else of a connection's bytes changes."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sentinel.mqtt.client import LARGEST_WRITE_BYTES, _join

EVENT, PING, STATE = 0x32, 0xC0, 0x31


def packet(command: int, size: int, sent: int = 0) -> dict[str, Any]:
    """One of paho's: `sent` bytes of it have gone already."""
    return {
        "command": command,
        "qos": command >> 1 & 3,
        "packet": bytes([command]) * size,
        "pos": sent,
        "to_process": size - sent,
    }


def unsent(waiting: deque[Any]) -> bytes:
    for one in waiting:
        assert one["to_process"] == len(one["packet"]) - one["pos"]
    return b"".join(one["packet"][one["pos"] :] for one in waiting)


def test_neighbouring_events_are_one_write_and_all_else_stays_alone() -> None:
    waiting = deque(packet(kind, 100) for kind in (EVENT, EVENT, EVENT, PING, EVENT, STATE, EVENT))
    before = unsent(waiting)
    _join(waiting)
    assert [one["command"] for one in waiting] == [EVENT, PING, EVENT, STATE, EVENT]
    assert len(waiting[0]["packet"]) == 300
    assert unsent(waiting) == before


def test_a_write_is_no_larger_than_a_record_and_one_event() -> None:
    waiting = deque(packet(EVENT, 1000) for _ in range(100))
    _join(waiting)
    assert {len(one["packet"]) for one in list(waiting)[:-1]} == {17_000}
    assert LARGEST_WRITE_BYTES <= 17_000 < LARGEST_WRITE_BYTES + 1000


@given(
    st.lists(st.tuples(st.sampled_from([EVENT, EVENT, PING, STATE]), st.integers(1, 9000))),
    st.integers(0, 10_000),
)
def test_every_byte_goes_out_in_order(kinds: list[tuple[int, int]], sent: int) -> None:
    waiting = deque(packet(kind, size) for kind, size in kinds)
    if waiting:
        first, size = kinds[0]
        waiting[0] = packet(first, size, min(sent, size - 1))
    before = unsent(waiting)
    _join(waiting)
    assert unsent(waiting) == before
