# SPDX-License-Identifier: Apache-2.0
"""History is bounded by age and size; a query's cost follows what it returns."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel import journal_prune, journal_schema
from sentinel.durations import DAY_NS, HOUR_NS
from sentinel.event import Event
from sentinel.journal import Journal
from sentinel.journal_rows import Row, event_row, incident_row, lease_row, quarantine_row
from tests.harness.journals import NOON_NS, event, incident, open_journal, quarantine

TOLERANCE = 1.1


def on_disk_bytes(path: Path) -> int:
    return sum(
        file.stat().st_size for end in ("", "-wal") if (file := Path(f"{path}{end}")).exists()
    )


def random_events(chance: random.Random, first: int, largest: int) -> list[Event]:
    many = chance.choice([1, 1, 10, 700])
    return [event(first + at, padding=chance.randrange(largest)) for at in range(many)]


@pytest.mark.parametrize(
    ("max_size", "largest", "total"),
    [(1_000_000, 300, 12_000), (1_000_000, 15_000, 2_000), (4_000_000, 2_000, 20_000)],
)
def test_the_size_is_bounded_whatever_is_appended(
    tmp_path: Path, max_size: int, largest: int, total: int
) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path, max_size=max_size)
    chance = random.Random(max_size + largest)
    count = most = 0
    while count < total:
        new = random_events(chance, count, largest)
        last = journal.append(new, must_persist=True)[-1]
        count += len(new)
        most = max(most, on_disk_bytes(path))
        assert most <= max_size * TOLERANCE
    assert most > max_size * 0.7, "the room is used"
    kept = [entry.seq for entry in journal.events_after(0, limit=10_000)]
    assert kept == list(range(last - len(kept) + 1, last + 1)), "the newest stay, without a gap"
    assert len(kept) > 10
    status = journal.status()
    assert status.ok
    assert status.entries == len(kept)
    assert status.size_bytes == on_disk_bytes(path)
    journal.close()
    again = open_journal(path, max_size=max_size)
    assert again.status().entries == len(kept)
    again.close()


def test_incidents_and_cuts_are_bounded_too_but_what_is_cut_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path, max_size=1_000_000)
    journal.save_quarantine(quarantine(ifindex=1, since_wall_ns=1))
    most = 0
    for number in range(2500):
        at = NOON_NS + number
        journal.save_incident(incident(updated_wall_ns=at, frame_hex="ab" * 128))
        journal.save_quarantine(quarantine(ifindex=2, since_wall_ns=at))
        journal.close_quarantine(2, at, at + 1, "hold")
        most = max(most, on_disk_bytes(path))
    assert most <= 1_000_000 * TOLERANCE
    kept = journal.incidents(limit=10_000)
    assert 100 < len(kept) < 2000
    assert kept[0].updated_wall_ns == NOON_NS + 2499
    assert [cut.ifindex for cut in journal.active_quarantines()] == [1]
    journal.close()


def test_the_oldest_go_first_whatever_they_are(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db", max_size=1_000_000)
    for number in range(400):
        journal.save_incident(incident(updated_wall_ns=NOON_NS + number, frame_hex="ab" * 128))
    later = NOON_NS + DAY_NS
    numbers = range(1300)
    journal.append([event(number, time_ns=later + number, padding=100) for number in numbers])
    assert len(journal.incidents(limit=10_000)) < 400
    assert len(journal.events_after(0, limit=10_000)) == len(numbers)
    journal.close()


def test_a_smaller_size_is_reached_in_small_steps(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    large = open_journal(path, max_size=64_000_000)
    large.append([event(number, padding=400) for number in range(40_000)])
    large.close()
    assert on_disk_bytes(path) > 20_000_000
    journal = open_journal(path, max_size=2_000_000)
    calls = 0
    while journal.prune(NOON_NS):
        calls += 1
        assert calls < 1000
    assert calls > 10
    assert on_disk_bytes(path) <= 2_000_000 * TOLERANCE
    assert journal.events_after(0)[-1].seq <= journal.last_seq()
    assert journal.status().entries == len(journal.events_after(0, limit=10_000))
    journal.close()


def test_one_call_of_prune_does_a_bounded_amount(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db", max_age_ns=HOUR_NS)
    journal.append([event(number) for number in range(20_000)])
    slowest = 0.0
    removed = []
    more = True
    while more:
        before = journal.status().entries
        start = time.monotonic()
        more = journal.prune(NOON_NS + 2 * HOUR_NS)
        slowest = max(slowest, time.monotonic() - start)
        removed.append(before - journal.status().entries)
    assert sum(removed) == 20_000
    assert max(removed) <= 500
    assert slowest < 1.0
    journal.close()


def test_what_is_older_than_the_age_goes_and_the_rest_stays(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db", max_age_ns=30 * DAY_NS)
    now = NOON_NS + 100 * DAY_NS
    old, young = now - 31 * DAY_NS, now - 29 * DAY_NS
    # A clock that jumped: what is old goes wherever it stands in the log.
    times = [old, young, old, now + DAY_NS, young, old]
    journal.append([event(number, time_ns=at) for number, at in enumerate(times)])
    for number, at in enumerate((old, young)):
        journal.save_incident(incident(updated_wall_ns=at))
        for ifindex, released in ((10, True), (20, False)):
            journal.save_quarantine(quarantine(ifindex=ifindex + number, since_wall_ns=at))
            if released:
                journal.close_quarantine(ifindex + number, at, at + 1, "hold")
    journal.prune(now)
    assert [entry.seq for entry in journal.events_after(0)] == [2, 4, 5]
    assert [one.updated_wall_ns for one in journal.incidents()] == [young]
    assert [cut.ifindex for cut in journal.active_quarantines()] == [20, 21]
    assert {cut.since_wall_ns for cut in journal.past_cuts("tap0", None, 0)} == {old, young}
    assert len(journal.past_cuts("tap0", None, 0)) == 3
    journal.close()


def test_an_incident_that_was_removed_while_open_comes_back_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db", max_age_ns=HOUR_NS)
    number = journal.save_incident(incident())
    journal.prune(NOON_NS + 2 * HOUR_NS)
    assert journal.incidents() == []
    journal.save_incident(incident(id=number, updated_wall_ns=NOON_NS + 3 * HOUR_NS, frames=9))
    assert [(one.id, one.frames) for one in journal.incidents()] == [(number, 9)]
    journal.close()


def build(path: Path, rows: int) -> sqlite3.Connection:
    """A journal of that many events and half as many incidents and cuts."""
    connection = sqlite3.connect(path, isolation_level=None)
    journal_schema.create(connection)
    connection.execute("PRAGMA synchronous = OFF")

    def fill(statement: str, made: Callable[[int], Row], count: int) -> None:
        connection.execute("BEGIN")
        connection.executemany(statement, (made(number) for number in range(1, count + 1)))
        connection.execute("COMMIT")

    def cut(number: int) -> Row:
        row = list(quarantine_row(quarantine(ifindex=number, port=f"tap{number % 1000}")))
        if number > 5:
            row[11:] = [NOON_NS + number, "hold"]
        return tuple(row)

    fill(journal_schema.INSERT_EVENT, lambda number: event_row(number, event(number)), rows)
    fill(
        journal_schema.SAVE_INCIDENT,
        lambda number: incident_row(
            number,
            incident(
                port=f"tap{number % 1000}",
                updated_wall_ns=NOON_NS + number,
                closed_wall_ns=None if number <= 5 else NOON_NS + number,
            ),
        ),
        rows // 2,
    )
    fill(journal_schema.SAVE_QUARANTINE, cut, rows // 2)

    def lease(number: int) -> Row:
        row = lease_row(f"4 tap{number}", f"tap{number}", NOON_NS + number, {"at": number})
        assert row is not None
        return row

    fill(journal_schema.SAVE_LEASE, lease, rows // 2)
    return connection


QUERIES: dict[str, tuple[str, Row]] = {
    "events after": (journal_schema.EVENTS_AFTER, (500, 50)),
    "oldest": (journal_schema.OLDEST_SEQ, ()),
    "incidents": (journal_schema.INCIDENTS, (0, 50)),
    "incidents since": (journal_schema.INCIDENTS, (NOON_NS + 980, 20)),
    "incidents of a port": (journal_schema.INCIDENTS_OF_PORT, ("tap-none", 0, 50)),
    "open": (journal_schema.INCIDENTS_OPEN, (0, 50)),
    "open of a port": (journal_schema.INCIDENTS_OPEN_OF_PORT, ("tap3", 0, 50)),
    "active cuts": (journal_schema.ACTIVE_QUARANTINES, ()),
    "cuts of a port": (journal_schema.CUTS_OF_PORT, ("tap-none", 0, 64)),
    "cuts of a vm": (journal_schema.CUTS_OF_VM, ("nobody", 0, 64)),
    "highest": (journal_schema.HIGHEST_NUMBER, ("event",)),
    "old events": (journal_prune.OLD_EVENTS, (NOON_NS, 100)),
    "old incidents": (journal_prune.OLD_INCIDENTS, (NOON_NS, 100)),
    "old cuts": (journal_prune.OLD_QUARANTINES, (NOON_NS, 100)),
    "first events": (journal_prune.FIRST_EVENTS, (10,)),
    "oldest event": (journal_prune.OLDEST_EVENT, ()),
    "oldest incident": (journal_prune.OLDEST_INCIDENT, ()),
    "oldest cut": (journal_prune.OLDEST_QUARANTINE, ()),
    "leases": (journal_schema.LEASES, (50,)),
    "old leases": (journal_prune.OLD_LEASES, (NOON_NS, 100)),
    "oldest lease": (journal_prune.OLDEST_LEASE, ()),
    "forget a lease": (journal_schema.FORGET_LEASE, ("4 tap3",)),
    # Steps over as many rows as are kept, so its price is that of the offset.
    "surplus leases": (journal_prune.SURPLUS_LEASES, (10, 100)),
    "memos": (journal_schema.MEMOS, ("known", 50)),
    "old memos": (journal_prune.OLD_MEMOS, (NOON_NS, 100)),
    "forget a memo": (journal_schema.FORGET_MEMO, ("known", "h id")),
    "openings": (journal_schema.EPOCHS, (100,)),
    "past openings": (journal_prune.PAST_EPOCHS, (63,)),
    "release": (journal_schema.RELEASE_QUARANTINE, (1, "hold", 3, NOON_NS)),
}
UNBOUNDED_SCAN = ("SCAN event", "SCAN incident", "SCAN quarantine", "SCAN lease", "SCAN memo")


def opcodes(connection: sqlite3.Connection, query: str, parameters: Row) -> int:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    # Reading the schema is no part of a query's cost.
    connection.execute(f"EXPLAIN {query}", parameters).fetchall()
    connection.execute("BEGIN")
    connection.set_progress_handler(step, 1)
    try:
        connection.execute(query, parameters).fetchall()
    finally:
        connection.set_progress_handler(None, 0)
        connection.execute("ROLLBACK")
    return steps


@pytest.fixture(name="large_path", scope="module")
def _large_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "journal.db"
    build(path, 200_000).close()
    return path


def test_a_query_costs_what_it_returns_and_not_what_there_is(
    tmp_path: Path, large_path: Path
) -> None:
    small = build(tmp_path / "small.db", 2_000)
    large = sqlite3.connect(large_path, isolation_level=None)
    for name, (query, parameters) in QUERIES.items():
        few, many = opcodes(small, query, parameters), opcodes(large, query, parameters)
        assert many <= few * 1.1 + 20, f"{name}: {few} steps in a small journal, {many} in a large"
        plan = [row[3] for row in large.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]
        told = f"{name}: {plan}"
        assert not any("TEMP B-TREE" in step for step in plan), told
        if any(step.startswith(UNBOUNDED_SCAN) for step in plan):
            # A scan is none if it goes along an index and stops at once.
            assert "LIMIT" in query or "min(" in query or "INDEXED BY" in query, told
    small.close()
    large.close()


def test_the_queries_above_are_all_there_are() -> None:
    named = {
        value
        for module in (journal_schema, journal_prune)
        for value in vars(module).values()
        if isinstance(value, str) and value.startswith(("SELECT", "DELETE", "UPDATE"))
    }
    assert named == {query for query, _ in QUERIES.values()}


def test_a_large_journal_answers_readers_at_once(tmp_path: Path, large_path: Path) -> None:
    path = tmp_path / "journal.db"
    shutil.copy(large_path, path)
    journal = Journal(path, 10**6 * DAY_NS, 10**9)
    start = time.monotonic()
    assert len(journal.events_after(199_990)) == 10
    assert len(journal.incidents(limit=20)) == 20
    assert len(journal.incidents(open_only=True)) == 5
    assert len(journal.active_quarantines()) == 5
    assert journal.append([event(1)]) == [200_001]
    assert time.monotonic() - start < 1.0
    journal.close()
