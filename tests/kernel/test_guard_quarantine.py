# SPDX-License-Identifier: Apache-2.0
"""Cut by the frame that offends, with a daemon that stands still: the kernel is enough."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.harness.daemon import Tables
from tests.harness.frames import GUEST_MAC, TPID_C, TPID_S, Bpdu, bpdu
from tests.harness.guarded import (
    HOOKS,
    NEIGHBOURS,
    OFFENDER,
    Scene,
    guarded,
    needs_daemon,
    neighbour_frame,
    ordinary_frames,
)
from tests.harness.hypervisor import OUTSIDE_MAC
from tests.harness.packets import udp_frame
from tests.harness.waiting import wait_until
from tests.harness.wire import WireCounter

pytestmark = needs_daemon

TAGS = {"untagged": (), "tagged": ((TPID_S, 5, 0), (TPID_C, 6, 0))}


def send_from_outside(scene: Scene, frame: bytes) -> None:
    with scene.lab.outside.netns.enter():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with raw:
        raw.bind((scene.lab.outside.device, 0))
        raw.send(frame)


def assert_neighbours_pass(scene: Scene) -> None:
    before = {name: scene.wire.frames_from(mac) for name, mac in NEIGHBOURS.items()}
    for name, mac in NEIGHBOURS.items():
        scene.tap(name).write(neighbour_frame(name))
        scene.wire.wait_for(before[name] + 1, mac)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
def test_from_the_first_bpdu_on_nothing_passes(
    hook: str, tags: tuple[tuple[int, int, int], ...]
) -> None:
    tables: Tables = {"checks.bpdu": {"action": "quarantine"}, "kernel": {"attach": hook}}
    with guarded(tables) as scene:
        scene.sentinel.signal(signal.SIGSTOP)
        bad = scene.tap(OFFENDER)
        ordinary = ordinary_frames()
        for frame in ordinary.values():
            bad.write(frame)
        # LLDP goes no further than the bridge, the jumbo frame may go in pieces.
        scene.wire.wait_for(len(ordinary) - 2, GUEST_MAC)
        assert_neighbours_pass(scene)
        passed = scene.wire.frames_from(GUEST_MAC)
        bad.drain()
        bad.write(bpdu(Bpdu.RSTP, tags=tags))
        with WireCounter(scene.lab.hypervisor.netns, scene.lab.hypervisor.uplink) as uplink:
            for frame in [*ordinary.values(), bpdu(Bpdu.STP), bpdu(Bpdu.PVST)]:
                bad.write(frame)
            assert_neighbours_pass(scene)
            leaving = [entry for entry in uplink.entries(outgoing=True) if entry.src == GUEST_MAC]
            assert leaving == []
        assert scene.wire.frames_from(GUEST_MAC) == passed
        assert scene.wire.bpdus() == 0
        with WireCounter(scene.lab.hypervisor.netns, OFFENDER) as to_guest:
            send_from_outside(scene, udp_frame(OUTSIDE_MAC, GUEST_MAC, "192.0.2.1", "192.0.2.99"))
            assert_neighbours_pass(scene)
            assert to_guest.entries(outgoing=True) == []
        assert [frame for frame in bad.drain() if frame[:6] == bytes.fromhex("fa163e000099")] == []

        scene.sentinel.signal(signal.SIGCONT)
        scene.wait_for_state(OFFENDER, "quarantined")
        port = scene.sentinel.port(OFFENDER)
        assert port["quarantine"]["cause"] == "bpdu"
        seen = port["counters"]["from_guest"]
        assert seen["frames"] == 2 * len(ordinary) + 3
        assert seen["dropped"]["bpdu"] == 1
        assert seen["dropped"]["quarantine"] == len(ordinary) + 2
        assert port["counters"]["to_guest"]["dropped"]["quarantine"] >= 1

        def found() -> list[dict[str, object]]:
            return [one for one in scene.sentinel.incidents(OFFENDER) if one["check"] == "bpdu"]

        (incident,) = wait_until(found, 10, "the incident", 0.05)
        assert incident["detail"] == "rstp"
        assert incident["verdict"] == "latched"
        assert incident["mac"] == GUEST_MAC
        assert str(incident["frame_hex"]).startswith("0180c2000000fa163e000099")


def test_from_where_a_tap_is_cut_the_host_still_pings_its_neighbours() -> None:
    tables: Tables = {
        "checks.bpdu": {"action": "quarantine"},
        "fuse": {"max_quarantined": "100%"},
    }
    with guarded(tables, taps=[OFFENDER]) as scene:
        guest = scene.lab.add_guest("tapguest")
        scene.wait_for_state("tapguest", "watched")
        assert scene.lab.outside.ping(guest, count=3).lost == 0
        scene.tap(OFFENDER).write(bpdu(Bpdu.MSTP))
        assert scene.lab.outside.ping(guest, count=3).lost == 0
        guest.turn_on_spanning_tree()
        scene.wait_for_state("tapguest", "quarantined")
        assert scene.lab.outside.ping(guest, count=1, timeout_s=0.3).lost == 1
        assert scene.wire.bpdus() == 0
