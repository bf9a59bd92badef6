# SPDX-License-Identifier: Apache-2.0
"""A journal that is damaged or a disk that is full: the guard guards, says so, loses nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.decode import Order
from sentinel.loader.maps import PinnedMaps
from sentinel.loader.pins import Pins
from tests.harness.daemon import Sentinel
from tests.harness.frames import GUEST_MAC, Bpdu, bpdu
from tests.harness.guarded import (
    COUNT,
    DROP,
    OFFENDER,
    Scene,
    events,
    guarded,
    needs_daemon,
    ordinary_frames,
)
from tests.harness.journals import SmallDisk, small_disk
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

SECOND = "tapone"


def journal_file(sentinel: Sentinel) -> Path:
    return sentinel.directory / "state" / "journal.db"


def assert_guards(scene: Scene) -> None:
    before = scene.counters(OFFENDER)["from_guest"]["dropped"]["bpdu"]
    scene.tap(OFFENDER).write(bpdu(Bpdu.RSTP))
    assert scene.counters(OFFENDER)["from_guest"]["dropped"]["bpdu"] == before + 1
    assert scene.wire.bpdus() == 0


def journal_problem(scene: Scene) -> str:
    status = scene.sentinel.json("status")
    return f"{status['journal']['problem'] or ''}"


def test_a_journal_damaged_before_the_start_is_put_aside_and_told() -> None:
    with guarded(DROP, taps=[OFFENDER], start=False) as scene:
        file = journal_file(scene.sentinel)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"this is no database, " * 1000)
        scene.sentinel.start([OFFENDER])
        assert_guards(scene)
        assert "damaged" in journal_problem(scene)
        assert any("journal" in one for one in scene.sentinel.json("status")["problems"])
        assert list(file.parent.glob("journal.db.damaged-*"))
        assert scene.sentinel.json("quarantine", OFFENDER)["journaled"]


def test_a_journal_damaged_while_it_runs_is_put_aside_and_told() -> None:
    with guarded(DROP, taps=[OFFENDER]) as scene:
        assert scene.sentinel.json("quarantine", OFFENDER)["journaled"]
        file = journal_file(scene.sentinel)
        for part in file.parent.glob("journal.db*"):
            with part.open("r+b") as broken:
                broken.write(b"\xff" * part.stat().st_size)

        def told() -> bool:
            # Something to write, until it is noticed.
            scene.sentinel.cli("release", OFFENDER)
            scene.sentinel.cli("quarantine", OFFENDER)
            return bool(journal_problem(scene))

        wait_until(told, 20, "status to say so", 0.05)
        assert scene.sentinel.port(OFFENDER)["state"] == "quarantined"
        scene.sentinel.cli("release", OFFENDER)
        assert_guards(scene)
        scene.sentinel.kill()
        scene.sentinel.start([OFFENDER])
        assert_guards(scene)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Scene, SmallDisk]]:
    """A scene whose state directory lies on a disk of its own."""
    with (
        small_disk(tmp_path / "disk") as disk,
        guarded(DROP, taps=[OFFENDER, SECOND], start=False) as scene,
    ):
        text = scene.sentinel.config.read_text()
        state = scene.sentinel.directory / "state"
        state.symlink_to(disk.path)
        scene.sentinel.config.write_text(text.replace(str(state), str(disk.path)))
        scene.sentinel.start([OFFENDER, SECOND])
        with contextlib.ExitStack() as stopped:
            stopped.callback(scene.sentinel.close)
            yield scene, disk


def told(scene: Scene) -> list[tuple[str, str, str]]:
    return [
        (
            one["kind"].removeprefix("quarantine."),
            one["port"],
            one["body"]["reason" if one["kind"] == "quarantine.set" else "release_reason"],
        )
        for one in events(scene.sentinel)
        if one["kind"].startswith("quarantine.")
    ]


def kept_order(scene: Scene) -> Order | None:
    maps = PinnedMaps(Pins(scene.sentinel.pins))
    try:
        return maps.oldest_order()
    finally:
        maps.close()


ORDERS = [
    ("quarantine", OFFENDER, "one"),
    ("release", OFFENDER, "two"),
    ("quarantine", SECOND, "three"),
    ("quarantine", OFFENDER, "four"),
    ("release", OFFENDER, "five"),
]
TOLD = [("set" if op == "quarantine" else "released", port, why) for op, port, why in ORDERS]


def give_orders(scene: Scene) -> None:
    for op, port, why in ORDERS:
        done = scene.sentinel.json(op, port, "--reason", why)
        assert done["changed"]
        assert not done["journaled"]


def test_on_a_full_disk_the_guard_guards_and_says_so(full: tuple[Scene, SmallDisk]) -> None:
    scene, disk = full
    disk.fill()
    give_orders(scene)
    assert_guards(scene)
    assert "disk" in journal_problem(scene) or "full" in journal_problem(scene)
    said = scene.sentinel.cli("quarantine", SECOND)
    assert said.returncode == 0
    assert "not on disk yet" in said.stderr
    disk.empty()
    wait_until(
        lambda: scene.sentinel.json("status")["journal"]["pending"] == 0, 20, "the disk", 0.05
    )
    assert [one for one in told(scene) if one[2]][: len(TOLD)] == TOLD
    # What the pins kept meanwhile is not told a second time.
    wait_until(lambda: kept_order(scene) is None, 10, "the pins to forget", 0.05)
    scene.sentinel.kill()
    scene.sentinel.start([OFFENDER, SECOND])
    assert [one for one in told(scene) if one[2] == "five"] == [TOLD[-1]]


def test_orders_on_a_full_disk_outlive_a_kill(full: tuple[Scene, SmallDisk]) -> None:
    scene, disk = full
    disk.fill()
    give_orders(scene)
    scene.sentinel.kill()
    disk.empty()
    scene.sentinel.start([OFFENDER, SECOND])
    assert told(scene) == TOLD
    assert scene.sentinel.port(OFFENDER)["state"] == "watched"
    assert scene.sentinel.port(SECOND)["state"] == "quarantined"
    assert scene.sentinel.port(SECOND)["quarantine"]["reason"] == "three"


def test_orders_outlive_a_second_kill_before_there_is_space(
    full: tuple[Scene, SmallDisk],
) -> None:
    scene, disk = full
    disk.fill()
    give_orders(scene)
    for _ in range(2):
        scene.sentinel.kill()
        scene.sentinel.start()
    assert scene.sentinel.port(OFFENDER)["state"] == "watched"
    assert scene.sentinel.port(SECOND)["state"] == "quarantined"
    disk.empty()
    wait_until(lambda: told(scene) == TOLD, 30, "every order in the journal", 0.1)


def test_with_no_place_for_a_journal_the_guard_still_starts() -> None:
    with guarded(COUNT, taps=[OFFENDER], start=False) as scene:
        state = scene.sentinel.directory / "state"
        state.write_text("a file where a directory should be")
        scene.sentinel.configure({"checks.bpdu": {"action": "quarantine"}})
        scene.sentinel.start([OFFENDER])
        assert journal_problem(scene)
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        scene.wait_for_state(OFFENDER, "quarantined")
        scene.tap(OFFENDER).write(ordinary_frames()["arp"])
        assert scene.wire.frames_from(GUEST_MAC) == 0
