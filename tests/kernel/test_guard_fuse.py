# SPDX-License-Identifier: Apache-2.0
"""The fuse: however many guests go wrong at once, only so many ports are cut."""

from __future__ import annotations

from tests.harness.daemon import Tables
from tests.harness.frames import Bpdu, bpdu
from tests.harness.guarded import Scene, events, guarded, needs_daemon, ordinary_frames
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

TAPS = [f"tap{number}" for number in range(12)]
MAC = "fa:16:3e:00:07:{:02x}"
TABLES: Tables = {
    "checks.bpdu": {"action": "quarantine"},
    "fuse": {"max_quarantined": "10%"},
}


def states(scene: Scene) -> list[str]:
    return [port["state"] for port in scene.sentinel.ports() if port["role"] == "port"]


def test_of_twelve_ports_one_is_cut_and_all_are_dropped() -> None:
    with guarded(TABLES, taps=TAPS) as scene:
        for name in TAPS:
            for kind in (Bpdu.STP, Bpdu.RSTP):
                scene.tap(name).write(bpdu(kind))
        wait_until(lambda: states(scene).count("quarantined") == 1, 10, "one port to be cut", 0.02)
        for number, name in enumerate(TAPS):
            scene.tap(name).write(ordinary_frames(MAC.format(number))["ipv4"])
        cut, *free = TAPS
        scene.wire.wait_for(len(free))
        assert scene.wire.bpdus() == 0
        assert scene.wire.frames_from(MAC.format(0)) == 0
        for number in range(1, 12):
            assert scene.wire.frames_from(MAC.format(number)) == 1
        for port in scene.sentinel.ports():
            if port["role"] == "port":
                assert port["counters"]["from_guest"]["bpdu"]["total"] == 2
                assert port["state"] == ("quarantined" if port["name"] == cut else "watched")
        refused = events(scene.sentinel, "quarantine.refused")
        assert sorted(one["port"] for one in refused) == sorted(free)
        assert all(one["body"]["limit"] == 1 for one in refused)
        fuse = scene.sentinel.json("status")["fuse"]
        assert fuse["blown"]
        assert (fuse["limit"], fuse["quarantined"]) == (1, 1)
        assert fuse["refusals"] == 2 * len(free)
        assert "fuse" in scene.sentinel.cli("status").stdout
        # Released, there is room for the next one.
        assert scene.sentinel.cli("release", cut).returncode == 0
        assert not scene.sentinel.json("status")["fuse"]["blown"]
        scene.tap(free[0]).write(bpdu(Bpdu.STP))
        scene.wait_for_state(free[0], "quarantined")
        assert scene.sentinel.port(cut)["state"] == "watched"


def test_an_operator_may_cut_more_than_the_fuse() -> None:
    with guarded(TABLES, taps=TAPS[:3]) as scene:
        for name in TAPS[:3]:
            assert scene.sentinel.json("quarantine", name)["changed"]
        assert states(scene) == ["quarantined"] * 3
