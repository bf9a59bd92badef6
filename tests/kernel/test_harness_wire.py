# SPDX-License-Identifier: Apache-2.0
"""The wire counter is exact: every kind, every tag, a flood from three taps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from tests.harness.blast import Blast, blast
from tests.harness.frames import (
    TPID_C,
    TPID_OLD,
    TPID_S,
    Bpdu,
    Tag,
    all_bpdus,
    bpdu,
    ethernet,
    not_bpdus,
)
from tests.harness.hypervisor import OUTSIDE_MAC, Lab
from tests.harness.namespaces import Namespace
from tests.harness.packets import PROTO_TCP, ipv4, tcp, tcp_frame, udp_frame
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until
from tests.harness.wire import WireCounter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")

TAGS: list[Sequence[Tag]] = [
    (),
    ((TPID_C, 100, 7),),
    ((TPID_S, 20, 0), (TPID_C, 100, 3)),
    ((TPID_OLD, 1, 0), (TPID_S, 2, 0), (TPID_C, 3, 0)),
]


@pytest.fixture(scope="module")
def lone_tap() -> Iterator[Tap]:
    with Namespace() as netns, Tap("tap0", netns) as tap:
        tap.up()
        yield tap


@pytest.mark.parametrize("tags", TAGS, ids=["untagged", "one_tag", "two_tags", "three_tags"])
@pytest.mark.parametrize("kind", list(Bpdu))
def test_every_bpdu_is_told_by_its_kind(lone_tap: Tap, kind: Bpdu, tags: Sequence[Tag]) -> None:
    frame = bpdu(kind, tags=tags)
    with WireCounter(lone_tap.netns, lone_tap.name) as wire:
        lone_tap.write(frame)
        wire.wait_for(1)
        assert dict(wire.by_bpdu()) == {kind: 1}
        (entry,) = wire.entries()
        assert b"".join(entry.tags) == frame[12 : 12 + 4 * len(tags)]
        assert entry.bytes == len(frame)


@pytest.mark.parametrize("tags", TAGS[:2], ids=["untagged", "one_tag"])
def test_what_only_looks_like_one_is_none(lone_tap: Tap, tags: Sequence[Tag]) -> None:
    frames = not_bpdus(tags=tags)
    with WireCounter(lone_tap.netns, lone_tap.name) as wire:
        for frame in frames.values():
            lone_tap.write(frame)
        wire.wait_for(len(frames))
        assert wire.bpdus() == 0
        assert wire.frames() == len(frames)


def test_the_bridge_forwards_what_the_field_says_it_forwards() -> None:
    with Lab(guard=False) as lab, lab.capture() as wire:
        tap = lab.add_tap("tap0")
        for frame in all_bpdus().values():
            tap.write(frame)
        wire.wait_for(len(Bpdu) - 1)
        # :08 is held back unless group_fwd_mask lets it through.
        assert dict(wire.by_bpdu()) == {kind: 1 for kind in Bpdu if kind != Bpdu.PROVIDER}


def test_a_flood_from_three_taps_is_counted_to_the_frame() -> None:
    count = 50_000
    with Lab(guard=False) as lab, lab.capture() as wire:
        offender, one, two = lab.hypervisor.add_taps(["tapbad", "tapone", "taptwo"])
        mac_one, mac_two = "fa:16:3e:00:01:01", "fa:16:3e:00:01:02"
        with (
            Blast(offender, [bpdu(Bpdu.STP), bpdu(Bpdu.RSTP), bpdu(Bpdu.PVST)], count) as flood,
            Blast(one, [udp_frame(mac_one, OUTSIDE_MAC, "192.0.2.10", "192.0.2.1")], count) as a,
            Blast(two, [tcp_frame(mac_two, OUTSIDE_MAC, "192.0.2.11", "192.0.2.1")], count) as b,
        ):
            sent = [each.wait() for each in (flood, a, b)]
        assert [each.frames for each in sent] == [count] * 3
        assert lab.hypervisor.uplink_dropped() == 0
        wire.wait_for(3 * count)
        assert wire.uncounted == 0
        stp, rstp, pvst = sent[0].per_frame
        assert wire.by_bpdu() == {Bpdu.STP: stp, Bpdu.RSTP: rstp, Bpdu.PVST: pvst}
        assert wire.frames_from(mac_one) == count
        assert wire.frames_from(mac_two) == count


def test_a_flood_can_be_watched_and_stopped(lone_tap: Tap) -> None:
    with WireCounter(lone_tap.netns, lone_tap.name) as wire:
        with Blast(lone_tap, [bpdu(Bpdu.STP)]) as flood:
            wait_until(lambda: flood.accepted > 1000, 5, "the flood to start")
            assert flood.running
            sent = flood.stop()
        wire.wait_for(sent.frames)
        assert wire.frames() == sent.frames > 1000
        assert sent.bytes == 60 * sent.frames
        assert not flood.running


def test_a_flood_into_a_downed_tap_says_why() -> None:
    refusal = pytest.raises(OSError, match="tap0 after 0 frames: Input/output error")
    with Namespace() as netns, Tap("tap0", netns) as tap, refusal:
        blast(tap, [bpdu(Bpdu.STP)], 10)


def test_a_super_frame_is_one_write_with_many_segments() -> None:
    payload = bytes(4000)
    segment = tcp("192.0.2.10", "192.0.2.1", 40000, 80, payload)
    frame = ethernet(
        OUTSIDE_MAC,
        "fa:16:3e:00:01:01",
        ipv4("192.0.2.10", "192.0.2.1", PROTO_TCP, segment),
        0x0800,
    )
    with Namespace() as netns, Tap("tap0", netns, vnet_hdr=True) as tap:
        tap.up()
        with WireCounter(netns, "tap0") as wire:
            tap.write_super_frame(frame, segment_bytes=1448, header_bytes=54)
            wire.wait_for(1)
            assert [entry.bytes for entry in wire.entries()] == [len(frame)]
            assert [entry.super_frames for entry in wire.entries()] == [1]
