# SPDX-License-Identifier: Apache-2.0
"""A journal of version 1 goes on as one of this version, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel import journal_file, journal_migrate, journal_schema
from sentinel.errors import JournalError
from sentinel.event import Moment, PastCut
from sentinel.journal import Journal
from sentinel.journal_schema import SCHEMA_VERSION
from tests.harness.journals import (
    NOON_NS,
    VM,
    event,
    incident,
    open_journal,
    quarantine,
    small_disk,
)
from tests.harness.old_journals import EVENTS, LAST_INCIDENT, make_version_1

EVIDENCE = (Moment(NOON_NS, "tap0", "BPDU"),)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def schema(path: Path) -> dict[str, list[str]]:
    """Each table's columns with all their properties, and each index's."""
    connection = sqlite3.connect(path)
    names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
    found = {
        name: [
            str(row)
            for row in connection.execute(
                f"PRAGMA {'table_info' if kind == 'table' else 'index_xinfo'}({name})"
            )
        ]
        for kind, name in names
    }
    connection.close()
    return found


def asides(path: Path) -> list[Path]:
    return list(path.parent.glob("*.damaged-*"))


def expect_history(journal: Journal) -> None:
    entries = journal.events_after(0, limit=5000)
    assert [one.seq for one in entries[:EVENTS]] == list(range(1, EVENTS + 1))
    assert [one.event for one in entries[:EVENTS]] == [event(at) for at in range(1, EVENTS + 1)]
    incidents = {one.id: one for one in journal.incidents() if one.id <= LAST_INCIDENT}
    assert incidents == {
        3: incident(id=3, closed_wall_ns=NOON_NS + 5),
        9: incident(id=9, port="tap1", updated_wall_ns=NOON_NS + 9),
    }
    assert journal.active_quarantines() == [quarantine(ifindex=8, port="tap1", vm=VM)]
    assert journal.past_cuts("tap0", None, 0) == [PastCut("bpdu", NOON_NS, NOON_NS + 5)]


def expect_new_things_are_kept(path: Path, journal: Journal) -> None:
    number = journal.save_incident(incident(evidence=EVIDENCE, updated_wall_ns=NOON_NS + 99))
    assert number > LAST_INCIDENT
    journal.save_incident(
        incident(id=9, port="tap1", updated_wall_ns=NOON_NS + 9, evidence=EVIDENCE)
    )
    journal.save_lease("4 tap0", "tap0", NOON_NS, {"state": "bound"})
    journal.append([event(0)], must_persist=True)
    journal.close()
    again = open_journal(path)
    kept = {one.id: one.evidence for one in again.incidents()}
    assert kept == {3: (), 9: EVIDENCE, number: EVIDENCE}
    assert [one.state for one in again.leases()] == [{"state": "bound"}]
    again.close()


@pytest.mark.parametrize("logged", [0, 40])
def test_history_and_numbers_go_on(path: Path, logged: int) -> None:
    make_version_1(path, logged=logged)
    journal = open_journal(path)
    assert journal.status().ok
    assert journal.status().entries == EVENTS
    assert journal.last_seq() == EVENTS
    expect_history(journal)
    assert journal.leases() == []
    assert journal.append([event(1)]) == [EVENTS + 1]
    assert journal.save_incident(incident(updated_wall_ns=NOON_NS - 1)) == LAST_INCIDENT + 1
    while journal.prune(NOON_NS + 10**18):
        pass
    journal.close()
    assert asides(path) == []
    assert version(path) == SCHEMA_VERSION


def test_what_is_new_in_this_version_is_kept(path: Path) -> None:
    make_version_1(path)
    expect_new_things_are_kept(path, open_journal(path))


def test_a_migrated_journal_is_the_same_as_a_new_one(path: Path, tmp_path: Path) -> None:
    make_version_1(path)
    open_journal(path).close()
    open_journal(tmp_path / "new.db").close()
    assert schema(path) == schema(tmp_path / "new.db")
    assert "lease" in schema(path)


_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from sentinel import journal_file
from tests.harness.journals import open_journal
before = sys.argv[2]
connect = journal_file._connect
def traced(target):
    connection = connect(target)
    def kill(statement):
        if statement.split("(")[0].strip().startswith(before):
            os.kill(os.getpid(), signal.SIGKILL)
    connection.set_trace_callback(kill)
    return connection
journal_file._connect = traced
open_journal(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "before",
    [
        "ALTER TABLE incident",
        "CREATE TABLE lease",
        "CREATE INDEX lease_by_time",
        "CREATE TABLE epoch",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
        "COMMIT",
    ],
)
def test_a_kill_in_the_middle_leaves_version_1(path: Path, before: str) -> None:
    make_version_1(path, logged=40)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path), before],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert version(path) == 1
    assert "lease" not in schema(path)
    journal = open_journal(path)
    assert journal.status().ok
    expect_history(journal)
    expect_new_things_are_kept(path, journal)


def test_a_statement_that_fails_leaves_version_1(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version_1(path)

    def fail(connection: sqlite3.Connection, _version: int) -> None:
        connection.execute("ALTER TABLE incident ADD COLUMN evidence TEXT")
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal_file, "migrate", fail)
        journal = open_journal(path)
        journal.append([event(301)])
        assert not journal.status().writing
    assert version(path) == 1
    assert asides(path) == []
    journal.prune(0)
    assert journal.status().ok
    expect_history(journal)
    journal.close()


def test_on_a_full_disk_it_waits_and_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        make_version_1(path)
        disk.fill()
        journal = open_journal(path)
        for number in range(20):
            journal.append([event(EVENTS + number)])
        given = journal.last_seq()
        assert given > EVENTS + 20
        journal.save_lease("4 tap0", "tap0", NOON_NS, {"state": "bound"})
        status = journal.status()
        assert not status.writing
        assert "has room" in str(status.problem)
        expect_history(journal)
        assert [one.key for one in journal.leases()] == ["4 tap0"]
        assert asides(path) == []
        disk.empty()
        journal.append([event(1)], must_persist=True)
        assert journal.status().ok
        expect_history(journal)
        journal.close()
        assert version(path) == SCHEMA_VERSION
        again = open_journal(path)
        assert again.status().ok
        assert [one.key for one in again.leases()] == ["4 tap0"]
        again.close()


def test_a_disk_that_fills_up_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From no free block at all to enough of them: it waits, or it is done."""
    told = set()
    looks = []
    look_through = journal_file._look_through

    def counted(connection: sqlite3.Connection) -> None:
        looks.append(1)
        look_through(connection)

    monkeypatch.setattr(journal_file, "_look_through", counted)
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        for free_blocks in range(0, 40, 2):
            make_version_1(path)
            disk.fill()
            filling = disk.path / "filling"
            os.truncate(filling, filling.stat().st_size - free_blocks * 4096)
            looks.clear()
            journal = open_journal(path)
            for _ in range(5):
                expect_history(journal)
            told.add(str(journal.status().problem).rpartition(": ")[2])
            assert len(looks) <= 2, "a large journal would be gone through at each try"
            disk.empty()
            journal.prune(0)
            assert journal.status().ok
            expect_history(journal)
            assert asides(path) == []
            journal.close()
            assert version(path) == SCHEMA_VERSION
            for file in path.parent.iterdir():
                file.unlink()
    assert "make room on that disk" in told, "the migration itself met a full disk"
    assert "None" in told


def test_on_a_read_only_disk_it_waits_and_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        make_version_1(path)
        before = path.read_bytes()
        disk.remount("ro")
        journal = open_journal(path)
        journal.append([event(1)])
        expect_history(journal)
        assert journal.leases() == []
        assert journal.incidents(open_only=True)[0].evidence == ()
        with pytest.raises(JournalError, match="not on the disk yet"):
            journal.append([event(2)], must_persist=True)
        assert path.read_bytes() == before
        disk.remount("rw")
        journal.prune(0)
        assert journal.status().ok
        assert asides(path) == []
        expect_history(journal)
        expect_new_things_are_kept(path, journal)


def test_while_another_process_holds_it_it_waits(path: Path) -> None:
    make_version_1(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal = open_journal(path)
    journal.append([event(1)])
    assert "end the process that holds the file" in str(journal.status().problem)
    assert asides(path) == []
    other.execute("ROLLBACK")
    other.close()
    journal.append([event(2)], must_persist=True)
    assert journal.status().ok
    expect_history(journal)
    journal.close()


def test_what_is_damaged_is_salvaged_and_kept_as_it_was(path: Path) -> None:
    make_version_1(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP INDEX incident_open")
    other.close()
    before = path.read_bytes()
    journal = open_journal(path)
    (aside,) = asides(path)
    assert aside.read_bytes() == before
    expect_history(journal)
    expect_new_things_are_kept(path, journal)


def test_a_part_of_version_2_in_version_1_is_no_journal_of_ours(path: Path) -> None:
    make_version_1(path)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE lease (something)")
    other.close()
    journal = open_journal(path)
    assert len(asides(path)) == 1
    expect_history(journal)
    journal.close()


@pytest.mark.parametrize("other_version", [0, SCHEMA_VERSION + 1, 99])
def test_another_version_is_set_aside_and_what_fits_is_salvaged(
    path: Path, other_version: int
) -> None:
    journal = open_journal(path)
    journal.append([event(number) for number in range(1, EVENTS + 1)])
    journal.save_incident(incident(evidence=EVIDENCE))
    journal.save_lease("4 tap0", "tap0", NOON_NS, {"state": "bound"})
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE incident ADD COLUMN later TEXT DEFAULT 'x'")
        other.execute("ALTER TABLE lease ADD COLUMN later TEXT DEFAULT 'x'")
        other.execute(f"PRAGMA user_version = {other_version}")
    other.close()
    again = open_journal(path)
    assert len(asides(path)) == 1
    assert f"version {other_version} of the journal, not {SCHEMA_VERSION}" in str(
        again.events_after(EVENTS)[-1].event.body
    )
    assert [one.evidence for one in again.incidents()] == [EVIDENCE]
    assert [one.key for one in again.leases()] == ["4 tap0"]
    assert len(again.events_after(0, limit=EVENTS)) == EVENTS
    again.close()


def test_the_versions_between_are_all_there() -> None:
    assert journal_schema.OLDEST_VERSION == 1
    assert max(journal_migrate._STEPS) + 1 == journal_schema.SCHEMA_VERSION
