# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, read-only or held by another: entries wait, in order, and are told of."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.errors import JournalError
from sentinel.journal import Journal
from sentinel.journal_queue import MOST_EVENTS
from tests.harness.journals import (
    NOON_NS,
    SmallDisk,
    event,
    incident,
    open_journal,
    quarantine,
    small_disk,
)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def append_until_it_waits(journal: Journal, first: int = 0) -> int:
    """Fill the log's last blocks; returns how many entries were given."""
    for number in range(first, first + 20_000):
        journal.append([event(number, padding=500)])
        if not journal.status().writing:
            return number + 1
    raise AssertionError("the disk was never full")


def numbers(journal: Journal) -> list[int]:
    got: list[int] = []
    cursor = 0
    while entries := journal.events_after(cursor, limit=5000):
        got += [one for entry in entries if isinstance(one := entry.event.body.get("number"), int)]
        cursor = entries[-1].seq
    return got


def kinds(journal: Journal) -> list[str]:
    told = [entry.event.kind for entry in journal.events_after(0, limit=10_000)]
    return [kind for kind in told if kind.startswith("journal.")]


def test_a_full_disk_loses_nothing_and_is_told_of(disk: SmallDisk) -> None:
    journal = open_journal(disk.path / "journal.db")
    journal.append([event(0)], must_persist=True)
    on_disk = journal.save_incident(incident(port="tap1"))
    journal.save_quarantine(quarantine(ifindex=8, port="tap1"))
    disk.fill()
    count = append_until_it_waits(journal, 1)

    status = journal.status()
    assert not status.ok
    assert not status.writing
    assert status.pending >= 1
    assert status.problem is not None
    assert "make room on that disk" in status.problem
    with pytest.raises(JournalError, match="not on the disk yet"):
        journal.append([event(count)], must_persist=True)
    number = journal.save_incident(incident())
    with pytest.raises(JournalError, match="not on the disk yet"):
        journal.save_quarantine(quarantine(), must_persist=True)
    with pytest.raises(JournalError, match="not on the disk yet"):
        journal.append([], must_persist=True)
    # Readers see what waits as well as what is on the disk.
    assert numbers(journal) == list(range(count + 1))
    assert [one.id for one in journal.incidents()] == [number, on_disk]
    assert [cut.port for cut in journal.active_quarantines()] == ["tap1", "tap0"]
    journal.close_quarantine(7, NOON_NS, NOON_NS + 5, "hold")
    assert [cut.port for cut in journal.active_quarantines()] == ["tap1"]
    # What is on the disk as open or active is so no more.
    journal.save_incident(incident(id=on_disk, port="tap1", closed_wall_ns=NOON_NS + 6))
    assert [one.id for one in journal.incidents(open_only=True)] == [number]
    journal.close_quarantine(8, NOON_NS, NOON_NS + 6, "order")
    assert journal.active_quarantines() == []

    disk.empty()
    assert journal.append([event(count + 1)], must_persist=True)
    status = journal.status()
    assert status.ok
    assert status.writing
    assert (status.pending, status.lost) == (0, 0)
    assert numbers(journal) == list(range(count + 2))
    assert kinds(journal) == ["journal.full", "journal.recovered"]
    journal.close()

    again = open_journal(disk.path / "journal.db")
    assert numbers(again) == list(range(count + 2))
    seqs = [entry.seq for entry in again.events_after(0, limit=10_000)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [one.id for one in again.incidents()] == [number, on_disk]
    assert [one.id for one in again.incidents(open_only=True)] == [number]
    assert again.past_cuts("tap0", None, 0)[0].released_wall_ns == NOON_NS + 5
    assert again.past_cuts("tap1", None, 0)[0].released_wall_ns == NOON_NS + 6
    again.close()


def test_a_tick_is_enough_to_recover(disk: SmallDisk) -> None:
    journal = open_journal(disk.path / "journal.db")
    disk.fill()
    append_until_it_waits(journal)
    disk.empty()
    journal.prune(NOON_NS)
    assert journal.status().ok
    journal.close()


def test_it_recovers_again_and_again(disk: SmallDisk) -> None:
    journal = open_journal(disk.path / "journal.db", max_size=1_000_000)
    count = 0
    for _ in range(3):
        disk.fill()
        count = append_until_it_waits(journal, count)
        disk.empty()
        journal.append([event(count)], must_persist=True)
        count += 1
    assert journal.status().ok
    kept = numbers(journal)
    assert kept == list(range(kept[0], count))
    journal.close()


def test_a_disk_that_is_full_at_the_start(disk: SmallDisk) -> None:
    first = open_journal(disk.path / "journal.db")
    first.append([event(0), event(1)], must_persist=True)
    first.close()
    disk.fill()
    journal = open_journal(disk.path / "journal.db")
    count = append_until_it_waits(journal, 2)
    assert numbers(journal) == list(range(count))
    disk.empty()
    journal.append([event(count)], must_persist=True)
    assert numbers(journal) == list(range(count + 1))
    assert journal.status().ok
    journal.close()


def test_a_disk_that_is_full_before_there_is_a_journal(disk: SmallDisk) -> None:
    disk.fill()
    journal = open_journal(disk.path / "journal.db")
    given = journal.append([event(0), event(1)])
    assert not journal.status().ok
    assert [entry.seq for entry in journal.events_after(given[0] - 1)] == given
    disk.empty()
    journal.append([event(2)], must_persist=True)
    assert numbers(journal) == [0, 1, 2]
    assert journal.status().ok
    journal.close()


def test_a_read_only_disk_can_still_be_read(disk: SmallDisk) -> None:
    path = disk.path / "journal.db"
    first = open_journal(path)
    last = first.append([event(number) for number in range(10)], must_persist=True)[-1]
    number = first.save_incident(incident())
    first.close()
    disk.remount("ro")
    journal = open_journal(path)
    given = journal.append([event(10)])
    assert given[0] > last
    assert not journal.status().ok
    assert numbers(journal) == list(range(11))
    assert [one.id for one in journal.incidents()] == [number]
    with pytest.raises(JournalError, match="not on the disk yet"):
        journal.append([event(11)], must_persist=True)
    disk.remount("rw")
    journal.prune(NOON_NS)
    assert numbers(journal) == list(range(12))
    assert journal.status().ok
    journal.close()


_KILLED_WHILE_FULL = """
import sys
from pathlib import Path
from tests.harness.journals import SmallDisk, event, open_journal
disk = SmallDisk(Path(sys.argv[1]))
journal = open_journal(disk.path / "journal.db")
print("acknowledged", journal.append([event(0)], must_persist=True)[-1], flush=True)
disk.fill()
number = 1
while journal.status().writing:
    given = journal.append([event(number, padding=500)])
    if journal.status().writing:
        print("acknowledged", given[-1], flush=True)
    number += 1
for more in range(1300):
    given = journal.append([event(number + more)])
print("given", given[-1], flush=True)
sys.stdin.read()
"""


def test_killed_with_a_full_disk_no_number_comes_twice(disk: SmallDisk) -> None:
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED_WHILE_FULL, str(disk.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    assert child.stdin is not None
    acknowledged, given = 0, 0
    for line in child.stdout:
        word, number = line.split()
        if word == "given":
            given = int(number)
            break
        acknowledged = int(number)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert given > acknowledged + 1300
    disk.empty()
    journal = open_journal(disk.path / "journal.db")
    assert journal.append([event(1)], must_persist=True)[0] > given
    seqs = [entry.seq for entry in journal.events_after(0, limit=10_000)]
    assert seqs[:acknowledged] == list(range(1, acknowledged + 1))
    told = [one.event for one in journal.events_after(0, 10_000)]
    (recovered,) = (one for one in told if one.kind == "journal.recovered")
    assert recovered.body["lost"] == given - acknowledged
    journal.close()


def test_what_has_no_room_to_wait_is_counted_and_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.mkdir()
    journal = open_journal(path)
    given = journal.append([event(number) for number in range(MOST_EVENTS + 500)])
    status = journal.status()
    assert status.pending == MOST_EVENTS
    assert status.lost == 501, "the entry that tells of the trouble waited too"
    assert status.problem is not None
    assert "501 rows are lost" in status.problem
    path.rmdir()
    journal.prune(NOON_NS)
    entries = journal.events_after(0, limit=10_000)
    assert [entry.seq for entry in entries[:2]] == [given[500], given[501]]
    last = journal.events_after(given[-1])[-1].event
    assert last.kind == "journal.recovered"
    assert last.body["lost"] == 501
    journal.close()


def test_a_directory_in_its_place_is_left_alone_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    (path / "something").mkdir(parents=True)
    journal = open_journal(path)
    journal.append([event(0)])
    assert journal.save_incident(incident()) > 0
    problem = journal.status().problem
    assert problem is not None
    assert str(path) in problem
    assert "move the directory out of the way" in problem
    with pytest.raises(JournalError, match="cannot be read"):
        journal.incidents()
    path.rename(tmp_path / "elsewhere")
    journal.append([event(1)], must_persist=True)
    assert numbers(journal) == [0, 1]
    assert len(journal.incidents()) == 1
    assert journal.status().ok
    journal.close()


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    journal = open_journal(tmp_path / "state" / "journal.db")
    journal.append([event(0)])
    assert not journal.status().ok
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    journal.append([event(1)], must_persist=True)
    assert numbers(journal) == [0, 1]
    journal.close()


def test_another_process_that_holds_the_file_delays_but_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    journal.append([event(0)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.append([event(1)])
    problem = journal.status().problem
    assert problem is not None
    assert "end the process that holds the file" in problem
    other.execute("ROLLBACK")
    other.close()
    journal.append([event(2)], must_persist=True)
    assert numbers(journal) == [0, 1, 2]
    assert journal.status().ok
    journal.close()


def test_another_thread_may_take_over(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db")
    worker = threading.Thread(target=lambda: journal.append([event(0)], must_persist=True))
    worker.start()
    worker.join()
    assert numbers(journal) == [0]
    journal.close()
