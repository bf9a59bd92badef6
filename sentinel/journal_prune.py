# SPDX-License-Identifier: Apache-2.0
"""Keeps the journal's history bounded by age and size, in small steps.

The bound holds for the database and its write-ahead log together. It may be
exceeded by one batch of rows, and while another process reads the file for long
(SQLite then cannot begin its log anew); 10 % is the tolerance that is tested.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from sentinel.journal_schema import PAGE_BYTES

_SHM_BYTES: Final = 32_768
_MOST_WAL_BYTES: Final = 8 << 20
_MOST_ROWS: Final = 500
_VACUUM_PAGES: Final = 256
MOST_LEASES: Final = 20_000
PAST_EPOCHS_KEPT: Final = 64

# Each: what to delete by age, with its parameters (before, at most).
OLD_EVENTS: Final = (
    "DELETE FROM event WHERE seq IN (SELECT seq FROM event INDEXED BY event_by_time "
    "WHERE time_ns < ? ORDER BY time_ns LIMIT ?)"
)
OLD_INCIDENTS: Final = (
    "DELETE FROM incident WHERE id IN (SELECT id FROM incident INDEXED BY incident_by_update "
    "WHERE updated_wall_ns < ? ORDER BY updated_wall_ns LIMIT ?)"
)
OLD_QUARANTINES: Final = (
    "DELETE FROM quarantine WHERE rowid IN (SELECT rowid FROM quarantine "
    "INDEXED BY quarantine_released WHERE released_wall_ns IS NOT NULL AND released_wall_ns < ? "
    "ORDER BY released_wall_ns LIMIT ?)"
)
OLD_LEASES: Final = (
    "DELETE FROM lease WHERE rowid IN (SELECT rowid FROM lease INDEXED BY lease_by_time "
    "WHERE saved_wall_ns < ? ORDER BY saved_wall_ns LIMIT ?)"
)
# What counted until then counts no more; the books forget it themselves while a daemon runs.
OLD_MEMOS: Final = (
    "DELETE FROM memo WHERE rowid IN (SELECT rowid FROM memo INDEXED BY memo_by_end "
    "WHERE until_wall_ns < ? ORDER BY until_wall_ns LIMIT ?)"
)
# Openings before the one that numbered the oldest event. A reader that was away may still
# name an entry of the latest of them, and is to be told how many it missed.
PAST_EPOCHS: Final = (
    "DELETE FROM epoch WHERE first_seq < min((SELECT max(first_seq) FROM epoch "
    "WHERE first_seq <= (SELECT min(seq) FROM event)), "
    "(SELECT first_seq FROM epoch ORDER BY first_seq DESC LIMIT 1 OFFSET ?))"
)
SURPLUS_LEASES: Final = (
    "DELETE FROM lease WHERE rowid IN (SELECT rowid FROM lease INDEXED BY lease_by_time "
    "ORDER BY saved_wall_ns DESC LIMIT ? OFFSET ?)"
)
FIRST_EVENTS: Final = "DELETE FROM event WHERE seq IN (SELECT seq FROM event ORDER BY seq LIMIT ?)"
OLDEST_EVENT: Final = "SELECT time_ns FROM event ORDER BY seq LIMIT 1"
OLDEST_INCIDENT: Final = "SELECT min(updated_wall_ns) FROM incident INDEXED BY incident_by_update"
OLDEST_QUARANTINE: Final = (
    "SELECT min(released_wall_ns) FROM quarantine INDEXED BY quarantine_released "
    "WHERE released_wall_ns IS NOT NULL"
)
OLDEST_LEASE: Final = "SELECT min(saved_wall_ns) FROM lease INDEXED BY lease_by_time"
_FAR_FUTURE_NS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """What `max_size` means for the parts of the journal."""

    checkpoint_pages: int
    wal_bytes: int
    """The log's share; above it, it is cut back."""
    used_bytes: int
    """The database's pages in use; above it, the oldest rows go."""
    file_bytes: int
    """The database's file; above it, free pages are given back."""
    rows: int
    """In one transaction."""
    batch_bytes: int
    """Of text in one transaction."""


def limits_of(max_size_bytes: int) -> Limits:
    """Share `max_size_bytes` out."""
    wal_bytes = min(max_size_bytes // 8, _MOST_WAL_BYTES)
    file_bytes = max_size_bytes - wal_bytes - _SHM_BYTES
    return Limits(
        checkpoint_pages=max(4, wal_bytes // 2 // PAGE_BYTES),
        wal_bytes=wal_bytes,
        used_bytes=file_bytes * 92 // 100,
        file_bytes=file_bytes,
        rows=max(20, min(_MOST_ROWS, max_size_bytes // 10_000)),
        batch_bytes=min(max_size_bytes // 32, 1 << 20),
    )


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step did."""

    events: int
    more: bool
    """Whether another step would do something too."""


def prune_by_age(connection: sqlite3.Connection, before_wall_ns: int, limits: Limits) -> Pruned:
    """One step: remove up to `limits.rows` rows of each table that are older.

    What is still cut is no history and stays. An incident's age is that of its
    last frame, whether it was closed or not.
    """
    removed = [
        connection.execute(statement, (before_wall_ns, limits.rows)).rowcount
        for statement in (OLD_EVENTS, OLD_INCIDENTS, OLD_QUARANTINES, OLD_LEASES, OLD_MEMOS)
    ]
    connection.execute(PAST_EPOCHS, (PAST_EPOCHS_KEPT - 1,))
    return Pruned(removed[0], max(removed) >= limits.rows)


def prune_by_size(connection: sqlite3.Connection, limits: Limits) -> Pruned:
    """One step: remove the oldest rows, of whichever table, if there are too many."""
    used_bytes = _pages(connection, used=True) * PAGE_BYTES
    events = 0
    if used_bytes > limits.used_bytes:
        oldest_ns = {
            statement: _first(connection, query)
            for statement, query in (
                (FIRST_EVENTS, OLDEST_EVENT),
                (OLD_INCIDENTS, OLDEST_INCIDENT),
                (OLD_QUARANTINES, OLDEST_QUARANTINE),
                (OLD_LEASES, OLDEST_LEASE),
            )
        }
        present = {key: value for key, value in oldest_ns.items() if value is not None}
        if not present:
            return Pruned(0, False)
        statement = min(present, key=lambda key: present[key])
        by_seq = statement is FIRST_EVENTS
        before_ns = _FAR_FUTURE_NS
        if statement is OLD_LEASES and len(present) > 1:
            # A state that is still true is not to go because one beside it is old.
            before_ns = sorted(present.values())[1] + 1
        parameters = (limits.rows,) if by_seq else (before_ns, limits.rows)
        removed = connection.execute(statement, parameters).rowcount
        events = removed if by_seq else 0
    if _pages(connection) * PAGE_BYTES > limits.file_bytes:
        # Each step of the statement gives back one page, so it has to be run to its end.
        connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return Pruned(
        events,
        _pages(connection, used=True) * PAGE_BYTES > limits.used_bytes
        or (
            _pages(connection) * PAGE_BYTES > limits.file_bytes
            and _pages(connection) > _pages(connection, used=True)
        ),
    )


def trim_leases(connection: sqlite3.Connection, limits: Limits) -> None:
    """Remove the oldest leases beyond MOST_LEASES; looks at no more than that many."""
    connection.execute(SURPLUS_LEASES, (limits.rows, MOST_LEASES))


def _first(connection: sqlite3.Connection, query: str) -> int | None:
    row = connection.execute(query).fetchone()
    return None if row is None or not isinstance(row[0], int) else row[0]


def _pages(connection: sqlite3.Connection, used: bool = False) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if used:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages) - int(free)
    return int(pages)
