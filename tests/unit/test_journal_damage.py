# SPDX-License-Identifier: Apache-2.0
"""A damaged journal is moved aside, what can be read is saved, and it is told of."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel import journal_keeper
from sentinel.event import Event
from sentinel.journal import Journal
from sentinel.journal_rescue import MOST_ASIDE
from tests.harness.journals import NOON_NS, event, incident, open_journal, quarantine, small_disk

PAGE = 4096


def filled(path: Path, count: int = 2000) -> int:
    """Make a journal and close it; returns its last number."""
    journal = open_journal(path)
    last = journal.append([event(number, padding=100) for number in range(count)])[-1]
    journal.save_incident(incident())
    journal.save_quarantine(quarantine())
    journal.save_lease("4 tap0", "tap0", NOON_NS, {"state": "bound"})
    journal.close()
    return last


def snapshot(path: Path, to: Path) -> Path:
    """The files as a kill or a power failure would leave them."""
    to.mkdir()
    for file in path.parent.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, to / file.name)
    return to / path.name


def damage(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def all_events(journal: Journal) -> dict[int, Event]:
    got: dict[int, Event] = {}
    cursor = 0
    while entries := journal.events_after(cursor, limit=10_000):
        got.update({entry.seq: entry.event for entry in entries})
        cursor = entries[-1].seq
    return got


def asides(path: Path) -> list[Path]:
    found = path.parent.glob("journal.db.damaged-*")
    return sorted(one for one in found if not one.name.endswith(("-wal", "-shm")))


def expect_damage_is_told(journal: Journal, path: Path) -> Event:
    journal.append([event(-1)], must_persist=True)
    status = journal.status()
    assert status.writing
    assert not status.ok
    assert status.problem is not None
    assert str(path) in status.problem
    (told,) = (one for one in all_events(journal).values() if one.kind == "journal.damaged")
    return told


def chop(to: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, to)


def overwrite(offset: int, size: int) -> Callable[[Path], None]:
    return lambda path: damage(path, offset, random.Random(offset).randbytes(size))


@pytest.mark.parametrize(
    ("harm", "saved_share"),
    [
        pytest.param(overwrite(0, 100), 0, id="garbage-header"),
        pytest.param(overwrite(0, PAGE), 0, id="garbage-first-page"),
        pytest.param(overwrite(40 * PAGE, 5 * PAGE), 0.8, id="pages-in-the-middle"),
        pytest.param(lambda path: damage(path, 60 * PAGE, bytes(PAGE)), 0.9, id="page-of-zeros"),
        pytest.param(lambda path: chop(path.stat().st_size // 2)(path), 0.3, id="half-a-file"),
        pytest.param(chop(100), 0, id="hundred-bytes"),
        pytest.param(lambda path: path.write_bytes(b"no database\n" * 999), 0, id="another-file"),
    ],
)
def test_a_file_damaged_on_the_disk(
    tmp_path: Path, harm: Callable[[Path], object], saved_share: float
) -> None:
    path = tmp_path / "journal.db"
    last = filled(path)
    harm(path)
    before = path.read_bytes()

    journal = open_journal(path)
    told = expect_damage_is_told(journal, path)
    (aside,) = asides(path)
    assert aside.read_bytes() == before, "what was damaged is evidence, not to be touched"
    assert told.body["aside"] == str(aside)
    got = all_events(journal)
    saved = {seq: one for seq, one in got.items() if seq <= last}
    assert len(saved) >= saved_share * last
    # Nothing was made up on the way.
    assert all(one.body.get("number") == seq - 1 for seq, one in saved.items())
    assert min(seq for seq in got if seq not in saved) > last
    if saved_share:
        assert [(one.key, one.state) for one in journal.leases()] == [
            ("4 tap0", {"state": "bound"})
        ]
        assert told.body["salvaged"] == len(saved) + len(journal.incidents()) + len(
            journal.active_quarantines() + journal.leases()
        )
        assert len(journal.incidents()) == len(journal.active_quarantines()) == 1
    assert journal.save_incident(incident()) > 1
    journal.close()

    again = open_journal(path)
    problem = again.status().problem
    assert problem is not None
    assert str(aside) in problem, "it is told of until an operator has looked"
    aside.rename(tmp_path / "looked-at")
    assert again.status().ok
    assert all_events(again) == got
    again.close()


def test_a_file_damaged_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    # More than SQLite keeps in memory.
    last = journal.append([event(number, padding=300) for number in range(20_000)])[-1]
    size = path.stat().st_size
    damage(path, 20 * PAGE, random.Random(1).randbytes(size - 20 * PAGE))
    got = all_events(journal)
    expect_damage_is_told(journal, path)
    assert all(one.body.get("number") == seq - 1 for seq, one in got.items() if seq <= last)
    assert journal.append([event(1)])[0] > last
    assert len(asides(path)) == 1
    journal.close()


def test_a_log_that_was_removed_is_noticed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a" / "journal.db", max_size=1_000_000_000)
    journal.append([event(number) for number in range(50)], must_persist=True)
    copy = snapshot(tmp_path / "a" / "journal.db", tmp_path / "b")
    journal.close()
    Path(f"{copy}-wal").unlink()
    again = open_journal(copy)
    told = expect_damage_is_told(again, copy)
    assert "50 entries that were acknowledged are missing" in str(told.body["problem"])
    assert min(all_events(again)) > 50
    again.close()


def test_a_log_full_of_garbage_is_noticed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a" / "journal.db", max_size=1_000_000_000)
    journal.append([event(number) for number in range(20)], must_persist=True)
    journal.append([event(number) for number in range(20, 50)], must_persist=True)
    copy = snapshot(tmp_path / "a" / "journal.db", tmp_path / "b")
    journal.close()
    log = Path(f"{copy}-wal")
    damage(log, log.stat().st_size // 2, random.Random(1).randbytes(9000))
    again = open_journal(copy)
    told = expect_damage_is_told(again, copy)
    assert "acknowledged are missing" in str(told.body["problem"])
    got = all_events(again)
    assert all(one.body.get("number") == seq - 1 for seq, one in got.items() if seq <= 50)
    assert max(got) > 50
    again.close()


def test_a_whole_copy_of_a_killed_journal_is_no_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a" / "journal.db")
    journal.append([event(number) for number in range(50)], must_persist=True)
    copy = snapshot(tmp_path / "a" / "journal.db", tmp_path / "b")
    journal.close()
    again = open_journal(copy)
    assert again.status().ok
    assert list(all_events(again)) == list(range(1, 51))
    assert again.append([event(50)]) == [51]
    again.close()


def test_a_database_that_is_gone_while_its_log_is_not(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a" / "journal.db")
    journal.append([event(number) for number in range(50)])
    copy = snapshot(tmp_path / "a" / "journal.db", tmp_path / "b")
    journal.close()
    copy.unlink()
    again = open_journal(copy)
    expect_damage_is_told(again, copy)
    assert min(all_events(again)) > 50
    (aside,) = asides(copy)
    assert Path(f"{aside}-wal").stat().st_size > 0
    again.close()


def test_a_database_that_is_gone_is_noticed_and_its_numbers_are_not_used_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    last = filled(path)
    path.unlink()
    journal = open_journal(path)
    assert "was gone, or empty, at the start" in str(journal.status().problem)
    assert journal.append([event(1)])[0] > last
    journal.close()


def test_a_database_that_is_removed_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    journal.append([event(1)])
    path.unlink()
    journal.append([event(2)], must_persist=True)
    assert "removed or replaced while it was in use" in str(journal.status().problem)
    assert 2 in [one.body.get("number") for one in all_events(journal).values()]
    journal.close()
    again = open_journal(path)
    assert 2 in [one.body.get("number") for one in all_events(again).values()]
    again.close()


def test_a_database_that_is_replaced_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    last = journal.append([event(1)])[-1]
    filled(tmp_path / "other" / "journal.db", 10)
    (tmp_path / "other" / "journal.db").rename(path)
    new = journal.append([event(2)], must_persist=True)
    assert new[0] > last
    assert "removed or replaced while it was in use" in str(journal.status().problem)
    journal.close()
    again = open_journal(path)
    assert 2 in [one.body.get("number") for one in all_events(again).values()]
    again.close()


def test_marks_that_are_behind_after_a_power_failure(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    marks = Path(f"{path}.marks")
    journal = open_journal(path)
    journal.append([event(0)])
    behind = marks.read_bytes()
    # As many as are given between two fsyncs of the marks.
    last = journal.append([event(number) for number in range(1000)])[-1]
    incidents = [journal.save_incident(incident()) for _ in range(20)]
    journal.close()
    marks.write_bytes(behind)
    damage(path, 0, bytes(PAGE))
    again = open_journal(path)
    assert min(all_events(again)) > last
    assert again.save_incident(incident()) > max(incidents)
    again.close()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE TABLE cats (name)", "another program"),
        ("PRAGMA application_id = 0x54415053; PRAGMA user_version = 99", "version 99"),
    ],
)
def test_a_database_that_is_not_this_journal_is_kept_aside(
    tmp_path: Path, script: str, said: str
) -> None:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as other:
        other.executescript(script)
    other.close()
    journal = open_journal(path)
    assert said in str(expect_damage_is_told(journal, path).body["problem"])
    journal.close()


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE event",
        "DROP INDEX incident_open",
        "DROP TABLE quarantine",
        "DROP TABLE lease",
        "DROP INDEX lease_by_time",
    ],
)
def test_a_journal_with_a_part_missing(tmp_path: Path, script: str) -> None:
    path = tmp_path / "journal.db"
    last = filled(path, 300)
    with sqlite3.connect(path) as other:
        other.execute(script)
    other.close()
    journal = open_journal(path)
    expect_damage_is_told(journal, path)
    assert journal.append([event(1)])[0] > last
    if "event" not in script:
        assert set(range(1, 301)) <= set(all_events(journal))
    journal.close()


def test_a_part_that_goes_missing_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    journal.append([event(number) for number in range(10)])
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE incident")
    other.close()
    assert journal.save_incident(incident()) == 1
    assert len(journal.incidents()) == 1
    expect_damage_is_told(journal, path)
    assert set(range(1, 11)) <= set(all_events(journal))
    journal.close()


def test_without_its_marks_a_healthy_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    last = filled(path)
    Path(f"{path}.marks").unlink()
    journal = open_journal(path)
    assert journal.append([event(1)]) == [last + 1]
    assert journal.status().ok
    journal.close()


@pytest.mark.parametrize("marks", [b"", b"garbage\n", bytes(200), b"\xff" * 5000])
def test_with_neither_database_nor_marks_numbers_come_from_the_time(
    tmp_path: Path, marks: bytes
) -> None:
    path = tmp_path / "journal.db"
    last = filled(path)
    damage(path, 0, bytes(PAGE))
    Path(f"{path}.marks").write_bytes(marks)
    journal = open_journal(path)
    first = journal.append([event(1)])[0]
    assert last < first < 1 << 53
    number = journal.save_incident(incident())
    assert 1 < number < 1 << 53
    journal.close()
    again = open_journal(path)
    assert again.append([event(2)])[0] > first
    again.close()


def test_marks_that_are_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    Path(f"{path}.marks").mkdir(parents=True)
    journal = open_journal(path)
    assert journal.append([event(1)], must_persist=True) == [1]
    journal.close()


def test_damage_that_cannot_be_moved_aside_is_told_of(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        last = filled(path, 100)
        damage(path, 0, bytes(PAGE))
        disk.remount("ro")
        journal = open_journal(path)
        given = journal.append([event(1)])
        assert given[0] > last
        problem = journal.status().problem
        assert problem is not None
        assert "Read-only file system" in problem
        disk.remount("rw")
        journal.prune(0)
        assert given[0] in all_events(journal)
        expect_damage_is_told(journal, path)
        journal.close()


def break_incidents(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE incident")
    other.close()


def test_a_disk_that_damages_everything_is_not_filled_with_damaged_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    for _ in range(3):
        journal.save_incident(incident())
        if len(asides(path)) < 1:
            break_incidents(path)
    assert journal.status().writing
    break_incidents(path)
    for _ in range(3):
        journal.save_incident(incident())
    assert len(asides(path)) == 1, "not twice within the pause"
    problem = journal.status().problem
    assert problem is not None
    assert "see whether the disk is sound" in problem
    monkeypatch.setattr(journal_keeper, "RESCUE_PAUSE_SECONDS", 0.0)
    journal.prune(0)
    assert journal.status().writing
    assert len(asides(path)) == 2
    journal.close()
    for number in range(MOST_ASIDE + 3):
        path.write_bytes(b"no database\n" * 999)
        broken = open_journal(path)
        broken.append([event(number)], must_persist=True)
        broken.close()
    assert len(asides(path)) == MOST_ASIDE


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_hinders_the_next_entry(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    source = tmp_path / "a" / "journal.db"
    journal = open_journal(source)
    journal.append([event(number, padding=50) for number in range(600)])
    journal.save_incident(incident())
    journal.save_quarantine(quarantine())
    journal.save_lease("4 tap0", "tap0", NOON_NS, {"state": "bound"})
    while chance.random() < 0.5:
        journal.append([event(number, padding=50) for number in range(600)])
    copy = snapshot(source, tmp_path / "b")
    last = journal.last_seq()
    journal.close()
    victims = [copy, Path(f"{copy}-wal"), Path(f"{copy}.marks")]
    for _ in range(chance.randrange(1, 6)):
        victim = chance.choice(victims[:2] if chance.random() < 0.9 else victims)
        size = victim.stat().st_size if victim.exists() else 0
        if not size:
            continue
        match chance.randrange(4):
            case 0:
                damage(victim, chance.randrange(size), chance.randbytes(1))
            case 1:
                damage(victim, chance.randrange(size), chance.randbytes(chance.randrange(1, 9000)))
            case 2:
                damage(victim, chance.randrange(size), bytes(chance.randrange(1, 9000)))
            case _:
                os.truncate(victim, chance.randrange(size))
    marks = Path(f"{copy}.marks").read_bytes()
    again = open_journal(copy)
    new = again.append([event(7777), event(8888)])
    all_events(again)
    again.incidents()
    again.leases()
    again.active_quarantines()
    again.past_cuts("tap0", None, 0)
    again.prune(0)
    again.status()
    # Numbers do not repeat, unless not even a part of the marks was left.
    if marks:
        assert new[0] > last
    number = again.append([event(9999)])[0]
    assert all_events(again)[number].body["number"] == 9999
    again.close()
    third = open_journal(copy)
    assert all_events(third)[number].body["number"] == 9999
    third.close()
