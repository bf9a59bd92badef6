# SPDX-License-Identifier: Apache-2.0
"""DHCP messages out of the kernel: whole, in order, and there for the next daemon."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sentinel import abi
from sentinel.decode import PortSlot, Talk
from sentinel.decode_message import KernelMessage, decode_message
from sentinel.loader.guard import Guard
from sentinel.loader.ring import BATCH_RECORDS, MessageRing
from tests.harness.compiled import COMPILED
from tests.harness.dhcp import PAD, DhcpType, dhcp
from tests.harness.frames import GUEST_MAC, TPID_C
from tests.harness.guarded_tap import GuardedTap
from tests.harness.packets import arp, udp_frame
from tests.harness.programs import config, loader_under_test, objects_under_test

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, taps and BPF need root")

PLENTY = 10_000
LONGEST_FRAME_BYTES = 1514


def discover(number: int, pads: int = 0) -> bytes:
    """A message of its own; the pads make it longer."""
    return dhcp(DhcpType.DISCOVER, xid=number, after=PAD * pads)


def tell_all(tap: GuardedTap) -> None:
    """Lets no rate suppress anything."""
    tap.guard.maps.write_config(replace(config(), messages_per_window=PLENTY))


def restart(tap: GuardedTap) -> None:
    """Another daemon on the same pins."""
    tap.guard.close()
    tap.guard = Guard(tap.root, "auto", objects_under_test(), loader_under_test(), COMPILED)
    assert tap.guard.arm().adopted
    with tap.netns.enter():
        assert tap.guard.attach(tap.ifindex, abi.TAP_ROLE_PORT, 0, 0)


@contextlib.contextmanager
def opened(tap: GuardedTap) -> Iterator[MessageRing]:
    ring = MessageRing(tap.guard.maps.fd("tap_messages"))
    try:
        yield ring
    finally:
        ring.close()


def read_all(ring: MessageRing) -> list[KernelMessage]:
    found: list[KernelMessage] = []
    while batch := ring.drain():
        assert len(batch) <= BATCH_RECORDS
        found += map(decode_message, batch)
    return found


def noted(tap: GuardedTap) -> tuple[PortSlot, Talk]:
    """What the maps keep of the tap."""
    slot = tap.guard.maps.find(tap.ifindex)
    assert slot is not None
    return slot, tap.guard.maps.talk(slot.slot)


@pytest.fixture
def tap() -> Iterator[GuardedTap]:
    with GuardedTap() as made:
        tell_all(made)
        yield made


def test_messages_of_every_length(tap: GuardedTap) -> None:
    """Records are as long as their frames, and stand one behind the other."""
    shortest = len(discover(0))
    frames = [discover(pads, pads) for pads in range(LONGEST_FRAME_BYTES - shortest + 1)]
    before_ns = time.monotonic_ns()
    with opened(tap) as ring:
        for frame in frames:
            tap.write(frame)
        messages = read_all(ring)
    assert [message.frame for message in messages] == frames
    assert [message.frame_bytes for message in messages] == [len(frame) for frame in frames]
    times = [message.time_ns for message in messages]
    assert times == sorted(times)
    assert before_ns < times[0]
    assert times[-1] < time.monotonic_ns()
    assert {(one.ifindex, one.port_ifindex, one.role, one.direction) for one in messages} == {
        (tap.ifindex, tap.ifindex, "port", abi.TAP_IN)
    }
    assert {(one.verdict, one.missed, one.sent_ns) for one in messages} == {("passed", 0, 0)}


def test_what_is_longer_than_a_record_is_cut(tap: GuardedTap) -> None:
    tap.netns.ip("link set tap0 mtu 3000")
    frame = dhcp(DhcpType.DISCOVER, before=PAD * 2000)
    with opened(tap) as ring:
        tap.write(frame)
        (message,) = read_all(ring)
    assert message.frame == frame[: abi.TAP_MESSAGE_BYTES]
    assert message.frame_bytes == len(frame)


@pytest.mark.parametrize("tags", [[(TPID_C, 7, 0)], [(TPID_C, 7, 0), (TPID_C, 9, 1)]])
def test_a_tag_is_where_it_was(tap: GuardedTap, tags: list[tuple[int, int, int]]) -> None:
    frame = dhcp(DhcpType.DISCOVER, tags=tags)
    with opened(tap) as ring:
        tap.write(frame)
        (message,) = read_all(ring)
    assert message.frame == frame


def test_a_drain_is_bounded_and_the_rest_waits(tap: GuardedTap) -> None:
    count = 2 * BATCH_RECORDS + 3
    with opened(tap) as ring:
        assert not select.select([ring.fd], [], [], 0)[0]
        for number in range(count):
            tap.write(discover(number))
        found = []
        for expected in (BATCH_RECORDS, BATCH_RECORDS, 3):
            assert select.select([ring.fd], [], [], 1)[0]
            batch = ring.drain()
            assert len(batch) == expected
            found += [decode_message(record).frame for record in batch]
        assert ring.drain() == []
        assert not select.select([ring.fd], [], [], 0)[0]
    assert found == [discover(number) for number in range(count)]


def test_what_waits_is_there_for_the_next_daemon(tap: GuardedTap) -> None:
    """Nothing is read twice, nothing is left out, whoever was away."""
    count = BATCH_RECORDS + 40
    with opened(tap) as ring:
        for number in range(count):
            tap.write(discover(number))
        before = [decode_message(record).frame for record in ring.drain()]
    restart(tap)
    tap.write(discover(count))
    with opened(tap) as ring:
        assert select.select([ring.fd], [], [], 1)[0]
        after = [message.frame for message in read_all(ring)]
    assert len(before) == BATCH_RECORDS
    assert before + after == [discover(number) for number in range(count + 1)]


def test_a_full_ring_loses_the_newest_and_says_so(tap: GuardedTap) -> None:
    sent = 3000
    frames = [discover(number, pads=900) for number in range(sent)]
    for frame in frames:
        tap.write(frame)
    tap.settled()
    ((counters, _),) = tap.guard.maps.counters([noted(tap)[0].slot])
    told, lost = counters.messages_told, counters.messages_lost
    assert lost > 0
    assert told + lost == sent
    assert noted(tap)[1].missed == lost
    with opened(tap) as ring:
        assert [message.frame for message in read_all(ring)] == frames[:told]
        tap.write(discover(1))
        (next_one,) = read_all(ring)
    assert next_one.missed == lost


def test_clocks_go_on_over_a_restart_and_begin_anew_with_a_port(tap: GuardedTap) -> None:
    assert (noted(tap)[0].sent_ns, noted(tap)[1]) == (0, Talk(0, 0, 0))
    before_ns = time.monotonic_ns()
    tap.write(arp(GUEST_MAC, "192.0.2.9", "192.0.2.1"))
    assert noted(tap)[0].sent_ns == 0
    assert before_ns < noted(tap)[1].quiet_sent_ns < time.monotonic_ns()
    before_ns = time.monotonic_ns()
    tap.write(udp_frame(GUEST_MAC, "02:00:00:00:00:01", "192.0.2.9", "192.0.2.1"))
    assert before_ns < noted(tap)[0].sent_ns < time.monotonic_ns()
    slot, talk = noted(tap)
    restart(tap)
    assert noted(tap) == (slot, talk)
    tap.attach(tap.ifindex)
    assert noted(tap)[0].sent_ns == 0
    assert noted(tap)[1] == Talk(0, 0, 0)
    tap.write(udp_frame(GUEST_MAC, "02:00:00:00:00:01", "192.0.2.9", "192.0.2.1"))
    assert noted(tap)[0].sent_ns > slot.sent_ns
