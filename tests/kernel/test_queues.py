# SPDX-License-Identifier: Apache-2.0
"""What a tap's counters say of a guest that reads it, and of one that does not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from sentinel.queues import TIMEOUT_S, QueueNow, Queues
from tests.harness.closing import Closing
from tests.harness.guarded_tap import GuardedTap
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.waiting import PATIENCE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")

FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x08\x00" + bytes(86)
QUEUE_FRAMES = 20
KINDS = {"plain": {}, "vnet_hdr": {"vnet_hdr": True}, "multi_queue": {"multi_queue": True}}

_T = TypeVar("_T")


class UnreadTap(Closing):
    """A tap in a namespace of its own, up, with room for QUEUE_FRAMES; nothing reads it."""

    def __init__(self, **kinds: bool) -> None:
        self.netns = Namespace("queues")
        self.tap: Tap | None = None
        try:
            self.tap = Tap("tap0", self.netns, **kinds)
            self.netns.ip(f"link set tap0 txqueuelen {QUEUE_FRAMES}")
            self.tap.up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unplug and remove; may be called again."""
        if self.tap is not None:
            self.tap.close()
        self.netns.close()

    def send(self, frames: int) -> None:
        """Send so many frames to the guest, as the host's stack does."""
        send(self.netns, frames)

    def tc(self, words: str) -> None:
        """Change the tap's qdiscs; skips where the kernel has no such one."""
        done = self.netns.run(["tc", "qdisc", *words.split()], check=False)
        if done.returncode:
            pytest.skip(f"tc qdisc {words}: {done.stderr.strip()}")

    def now(self) -> QueueNow:
        """What is read of the tap."""
        return now(self.netns)


def now(netns: Namespace) -> QueueNow:
    found = ask(netns, lambda queues, ifindex: queues.read(ifindex))
    assert found is not None
    return found


def ask(netns: Namespace, question: Callable[[Queues, int], Awaitable[_T]]) -> _T:
    """Asks within a namespace, of its tap."""

    async def asking() -> _T:
        queues = Queues()
        try:
            return await question(queues, socket.if_nametoindex("tap0"))
        finally:
            queues.close()

    with netns.enter():
        return asyncio.run(asking())


def send(netns: Namespace, frames: int) -> None:
    with netns.enter():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with link:
        link.bind(("tap0", 0))
        for _ in range(frames):
            try:
                link.send(FRAME)
            except OSError as full:
                # A qdisc that drops says so to the sender.
                if full.errno != errno.ENOBUFS:
                    raise


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated machine may take longer for a reading than a doubt is worth."""
    monkeypatch.setattr("sentinel.queues.TIMEOUT_S", TIMEOUT_S * PATIENCE)


@pytest.fixture(params=KINDS)
def unread(request: pytest.FixtureRequest) -> Iterator[UnreadTap]:
    with UnreadTap(**KINDS[request.param]) as made:
        yield made


def test_a_frame_counts_when_it_is_read(unread: UnreadTap) -> None:
    assert unread.tap is not None
    assert unread.now() == (0, 0, 0, 0)
    unread.send(5)
    assert unread.now() == (0, 0, 0, 0)
    assert unread.tap.read(1) is not None
    assert unread.now() == (1, 0, 0, 0)
    assert len(unread.tap.drain()) == 4
    assert unread.now() == (5, 0, 0, 0)


def test_a_full_queue_shows(unread: UnreadTap) -> None:
    """As drops where the driver drops, as backlog where it stops its queue."""
    assert unread.tap is not None
    sent = 3 * QUEUE_FRAMES
    unread.send(sent)
    full = unread.now()
    assert full.taken == 0
    waiting = len(unread.tap.drain())
    assert waiting >= QUEUE_FRAMES
    assert full.backlog_packets is not None
    assert full.dropped + full.backlog_packets + waiting >= sent
    assert full.dropped + full.backlog_packets > 0
    assert unread.now().taken == waiting


@pytest.mark.parametrize("kind", ["plain", "multi_queue"])
def test_what_waits_in_the_qdisc(kind: str) -> None:
    """One that lets nothing through for a while; of several queues, their sum."""
    with UnreadTap(**KINDS[kind]) as slow:
        slow.tc("replace dev tap0 root handle 7: " + ("mq" if kind == "multi_queue" else "pfifo"))
        shaped = "parent 7:1" if kind == "multi_queue" else "root"
        slow.tc(f"replace dev tap0 {shaped} tbf rate 1kbit burst 128 limit 100000")
        slow.send(10)
        found = slow.now()
        assert found.backlog_packets is not None
        assert found.backlog_bytes is not None
        assert 8 <= found.backlog_packets <= 10
        assert found.backlog_bytes == found.backlog_packets * len(FRAME)
        assert (found.taken, found.dropped) == (0, 0)


def test_a_device_without_a_queue_has_no_backlog(unread: UnreadTap) -> None:
    unread.tc("replace dev tap0 root noqueue")
    assert unread.now() == (0, 0, None, None)
    unread.netns.ip("link set tap0 down")
    assert unread.now() == (0, 0, None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_was_never_up_has_no_backlog(kind: str) -> None:
    """The kernel tells of no qdisc then; its acknowledgement is not taken for one."""
    with Namespace("queues") as netns, Tap("tap0", netns, **KINDS[kind]):
        assert now(netns) == (0, 0, None, None)


def test_a_device_that_is_not_there(unread: UnreadTap) -> None:
    assert ask(unread.netns, lambda queues, _: queues.read(0x7FFFFFFF)) is None
    assert ask(unread.netns, lambda queues, _: queues.read(0)) is None
    assert ask(unread.netns, lambda queues, _: queues.read(-1)) is None
    assert ask(unread.netns, lambda queues, _: queues.read(1 << 40)) is None


def test_nothing_is_read_once_it_is_closed(unread: UnreadTap) -> None:
    async def too_late(queues: Queues, ifindex: int) -> QueueNow | None:
        queues.close()
        return await queues.read(ifindex)

    assert ask(unread.netns, too_late) is None


def test_a_kernel_that_does_not_answer_is_not_waited_for(
    unread: UnreadTap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.queues.TIMEOUT_S", 0.05)
    monkeypatch.setattr("sentinel.queues._read", lambda _: time.sleep(0.3))

    async def in_time(queues: Queues, ifindex: int) -> float:
        began = time.monotonic()
        assert await queues.read(ifindex) is None
        return time.monotonic() - began

    assert ask(unread.netns, in_time) < 0.25


def test_many_at_once(unread: UnreadTap) -> None:
    """A server that stops puts every port of a host in doubt."""

    async def all_of_them(queues: Queues, ifindex: int) -> list[QueueNow | None]:
        return await asyncio.gather(*(queues.read(ifindex) for _ in range(1000)))

    assert ask(unread.netns, all_of_them) == [(0, 0, 0, 0)] * 1000


@pytest.mark.parametrize("kind", ["plain", "vnet_hdr"])
def test_frames_that_passed_are_those_that_were_taken_or_wait(kind: str) -> None:
    with GuardedTap(vnet_hdr=kind == "vnet_hdr") as guarded:
        assert guarded.tap is not None
        guarded.netns.ip(f"link set tap0 txqueuelen {QUEUE_FRAMES}")
        send(guarded.netns, 5)
        assert guarded.counts()[1]["frames"] == 5
        assert now(guarded.netns).taken == 0
        guarded.tap.drain()
        assert now(guarded.netns) == (5, 0, 0, 0)
        send(guarded.netns, 2 * QUEUE_FRAMES)
        full = now(guarded.netns)
        assert guarded.counts()[1]["frames"] == 5 + 2 * QUEUE_FRAMES
        assert full.taken == 5
        assert full.dropped + (full.backlog_packets or 0) > 0
