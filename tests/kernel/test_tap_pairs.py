# SPDX-License-Identifier: Apache-2.0
"""Evidence of tags on real taps, where the kernel keeps the outer tag in metadata."""

from __future__ import annotations

import os
from itertools import product

import pytest

from sentinel import abi
from sentinel.loader.pair_rows import PairRows
from sentinel.tag import Tag as SeenTag
from sentinel.traffic import PairSeen
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, TPID_OLD, TPID_S, Tag, ethernet
from tests.harness.guarded import HOOKS
from tests.harness.guarded_tap import GuardedTap
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taps and BPF need root")

MTU = 1500
STACKS = [
    stack for depth in range(1, 4) for stack in product((TPID_C, TPID_S, TPID_OLD), repeat=depth)
]


def frames_of(tpids: tuple[int, ...]) -> list[bytes]:
    """One that fits, and one that is larger than the path by a tag; with priority bits."""
    tags: list[Tag] = [(tpid, 4095 - at, 7) for at, tpid in enumerate(tpids)]
    return [
        ethernet(BROADCAST, GUEST_MAC, bytes(size - 4 * (len(tags) - 1)), 0x0806, tags)
        for size in (100, MTU + 4)
    ]


def rows(guarded: GuardedTap, ifindex: int) -> list[PairSeen]:
    return [row for row in PairRows(guarded.guard.maps).read() if row.ifindex == ifindex]


@pytest.mark.parametrize("hook", HOOKS)
def test_from_a_guest(hook: str) -> None:
    with GuardedTap(hook=hook, mtu_bytes=MTU) as tap:
        for tpids in STACKS:
            tap.attach(tap.ifindex)
            for frame in frames_of(tpids):
                assert tap.write(frame)
            tap.assert_model()
            (row,) = rows(tap, tap.ifindex)
            assert row.direction == abi.TAP_IN
            assert row.outer == SeenTag(tpids[0], 4095)
            assert row.inner == (SeenTag(tpids[1], 4094) if len(tpids) > 1 else None)
            assert (row.frames, row.excess, row.largest_excess_bytes) == (2, (1, 0, 0, 0), 4)


@pytest.mark.parametrize("role", ["port", "uplink"])
def test_through_a_bridge(role: str) -> None:
    """What one guest sends is the same at another's port, and at an uplink."""
    with (
        GuardedTap(mtu_bytes=MTU) as sender,
        Tap("tap1", sender.netns) as receiver,
    ):
        sender.netns.ip(
            "link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "link set br0 mtu 2000",
            "link set tap0 mtu 2000 master br0",
            "link set br0 addrgenmode none up",
        )
        receiver.up(master="br0")
        sender.netns.ip("link set tap1 mtu 2000")
        index = sender.netns_ifindex("tap1")
        sender.attach(index, role)
        tap = sender.tap
        assert tap is not None

        def passes() -> bool:
            tap.write(ethernet(BROADCAST, GUEST_MAC, bytes(60), 0x0806))
            return sender.counts(index)[1]["frames"] > 0

        # The bridge hears of a carrier by a work queue; until then it forwards nothing.
        wait_until(passes, 10, "the bridge to forward")
        program = "tap_to_guest" if role == "port" else "uplink_to_wire"
        for tpids in STACKS:
            for frame in frames_of(tpids):
                assert sender.write(frame)
                sender.model.frame(program, index, frame, untagged=True)
        sent = 2 * len(STACKS)
        wait_until(lambda: sender.counts(index)[1]["vlan_tagged"] >= sent, 5, "all to be seen")
        sender.assert_pairs(index)
        assert sum(row.frames for row in rows(sender, index)) == sent
