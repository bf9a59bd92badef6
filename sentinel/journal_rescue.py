# SPDX-License-Identifier: Apache-2.0
"""What becomes of a journal that is damaged, or that cannot be written.

A damaged file is moved aside, never deleted; what can be read of it is copied into
a fresh one, the newest first. A disk that is full or read-only is waited for.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sentinel.journal_marks import Numbers
from sentinel.journal_rows import Row
from sentinel.journal_schema import (
    INSERT_EVENT,
    SAVE_EPOCH,
    SAVE_INCIDENT,
    SAVE_LEASE,
    SAVE_MEMO,
    SAVE_QUARANTINE,
    UnusableFileError,
)

MOST_ASIDE: Final = 3
"""Damaged files kept; with more, the oldest goes, so that history stays bounded."""
SALVAGE_SECONDS: Final = 5.0
_ROWS_AT_A_TIME: Final = 500
_LONGEST_STEP: Final = 64
_NO_LIST: Final = "[]"
"""What a version-1 incident lacks, its evidence."""
_COMPANIONS: Final = ("-wal", "-shm")

# Newest first; by rowid alone, since the indexes may be what is damaged.
_TABLES: Final = (
    (
        "SELECT rowid, * FROM epoch WHERE rowid <= ? ORDER BY rowid DESC",
        SAVE_EPOCH,
        "SELECT max(rowid) FROM epoch",
    ),
    (
        "SELECT rowid, * FROM quarantine WHERE rowid <= ? ORDER BY rowid DESC",
        SAVE_QUARANTINE,
        "SELECT max(rowid) FROM quarantine",
    ),
    (
        "SELECT rowid, * FROM incident WHERE rowid <= ? ORDER BY rowid DESC",
        SAVE_INCIDENT,
        "SELECT max(rowid) FROM incident",
    ),
    (
        "SELECT rowid, * FROM lease WHERE rowid <= ? ORDER BY rowid DESC",
        SAVE_LEASE,
        "SELECT max(rowid) FROM lease",
    ),
    (
        # Not of orders: after a damage it is not known which there were, and those are
        # refused that were issued before it (`orders.answered`).
        "SELECT rowid, * FROM memo WHERE rowid <= ? AND kind <> 'order' ORDER BY rowid DESC",
        SAVE_MEMO,
        "SELECT max(rowid) FROM memo",
    ),
    (
        "SELECT rowid, * FROM event WHERE rowid <= ? ORDER BY rowid DESC",
        INSERT_EVENT,
        "SELECT max(rowid) FROM event",
    ),
)

# What says that the file's content is wrong; all else is a matter of the disk.
_DAMAGE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_SCHEMA,
    }
)
# No other row will do better: the file or the table as a whole cannot be read.
_HOPELESS_CODES: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


def is_damage(error: Exception) -> bool:
    """Whether an error means that the journal's file is damaged, or not a journal."""
    if isinstance(error, UnusableFileError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DatabaseError)
    return int(code) & 0xFF in _DAMAGE_CODES


def asides(path: Path) -> list[Path]:
    """Damaged files that were moved aside and are still there, the oldest first."""
    with contextlib.suppress(OSError):
        return sorted(
            found
            for found in path.parent.glob(f"{path.name}.damaged-*")
            if not found.name.endswith(_COMPANIONS)
        )
    return []


def set_aside(path: Path, now_wall_ns: int) -> Path:
    """Move the journal and what belongs to it aside; returns where to.

    Raises OSError if the directory allows it not.
    """
    for old in asides(path)[: -(MOST_ASIDE - 1)]:
        for companion in ("", *_COMPANIONS):
            Path(f"{old}{companion}").unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_wall_ns / 1e9))
    aside = Path(f"{path}.damaged-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = Path(f"{path}.damaged-{stamp}.{count}")
    # The database first: its log without it is noticed at the next start, not the reverse.
    for companion in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{companion}").rename(f"{aside}{companion}")
    # Where only the log was left, this is what status speaks of.
    aside.touch(mode=0o600)
    return aside


def salvage(aside: Path, fresh: sqlite3.Connection, most_bytes: int, numbers: Numbers) -> int:
    """Copy what can be read into the fresh journal; returns how many rows.

    `numbers` says where to begin if a table's own end cannot be read. Stops after
    SALVAGE_SECONDS or `most_bytes` of text: what is left is still in the damaged
    file. Raises sqlite3.Error only for the fresh journal.
    """
    deadline = time.monotonic() + SALVAGE_SECONDS
    count = 0
    if aside.stat().st_size == 0:
        # SQLite would delete the log beside it.
        return 0
    try:
        damaged = sqlite3.connect(f"{aside.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)
    except sqlite3.Error:
        return 0
    damaged.text_factory = _lenient
    # Lets a file be read that is shorter than its header says.
    with contextlib.suppress(sqlite3.Error):
        damaged.execute("PRAGMA writable_schema = ON")
    try:
        known = (numbers.given, 0, numbers.incident, 0, 0, numbers.given)
        for (query, insert, highest), given in zip(_TABLES, known, strict=True):
            chunk: list[Row] = []
            at = _highest(damaged, query, highest, given)
            for row in _readable(damaged, query, at, deadline):
                chunk.append(row)
                most_bytes -= sum(len(value) for value in row if isinstance(value, str)) + 64
                if len(chunk) >= _ROWS_AT_A_TIME:
                    count += _insert(fresh, insert, chunk) * (insert is not SAVE_EPOCH)
                    chunk = []
                if most_bytes <= 0:
                    break
            count += _insert(fresh, insert, chunk) * (insert is not SAVE_EPOCH)
    finally:
        damaged.close()
        _tidy(aside)
    return count


def _tidy(aside: Path) -> None:
    """Remove what only the reading has made."""
    with contextlib.suppress(OSError):
        Path(f"{aside}-shm").unlink(missing_ok=True)
        log = Path(f"{aside}-wal")
        if log.exists() and log.stat().st_size == 0:
            log.unlink()


def _insert(fresh: sqlite3.Connection, insert: str, rows: list[Row]) -> int:
    if not rows:
        return 0
    # A damaged row may break a rule of its table: it is left behind alone.
    ignoring = insert.replace("INSERT INTO", "INSERT OR IGNORE INTO")
    before = fresh.total_changes
    fresh.execute("BEGIN IMMEDIATE")
    try:
        for row in rows:
            with contextlib.suppress(sqlite3.IntegrityError):
                fresh.execute(ignoring, _fitted(row, insert.count("?")))
        fresh.execute("COMMIT")
    except sqlite3.Error:
        if fresh.in_transaction:
            fresh.execute("ROLLBACK")
        raise
    return fresh.total_changes - before


def _fitted(row: Row, columns: int) -> Row:
    """A row of another version of the journal: new columns were added at the end."""
    return (*row[:columns], *[_NO_LIST] * (columns - len(row)))


def _highest(damaged: sqlite3.Connection, query: str, highest: str, given: int) -> int:
    """Where to begin; if the table's end is what is damaged, the highest number given."""
    try:
        (found,) = damaged.execute(highest).fetchone()
    except sqlite3.Error:
        return given or _highest_by_trying(damaged, query)
    return found if isinstance(found, int) else 0


def _highest_by_trying(damaged: sqlite3.Connection, query: str) -> int:
    low, high = 0, 1 << 62
    while low < high:
        middle = (low + high + 1) // 2
        try:
            found = damaged.execute(f"{query} LIMIT 1", (middle,)).fetchone()
        except sqlite3.Error:
            high = middle - 1
            continue
        low = middle if found is None else max(middle, int(found[0]))
    return low


def _readable(damaged: sqlite3.Connection, query: str, at: int, deadline: float) -> Iterator[Row]:
    """Rows from number `at` down, around what cannot be read."""
    step = 1
    while at > 0 and time.monotonic() < deadline:
        try:
            for rowid, *row in damaged.execute(query, (at,)):
                if not isinstance(rowid, int) or rowid > at:
                    return
                yield tuple(row)
                at = rowid - 1
                step = 1
                if time.monotonic() >= deadline:
                    return
            return
        except sqlite3.Error as error:
            if error.sqlite_errorcode in _HOPELESS_CODES:
                return
            at -= step
            step = min(step * 2, _LONGEST_STEP)


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "replace")
