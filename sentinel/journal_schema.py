# SPDX-License-Identifier: Apache-2.0
"""The journal's tables and its queries.

Every query is served by an index: its cost follows what it returns. The order of
the columns is that of the rows in `journal_rows`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

APPLICATION_ID: Final = 0x54415053
SCHEMA_VERSION: Final = 3
PAGE_BYTES: Final = 4096

EVIDENCE_COLUMN: Final = "evidence TEXT NOT NULL DEFAULT '[]'"
LEASE_TABLE: Final = """
CREATE TABLE lease (
    key TEXT PRIMARY KEY NOT NULL,
    port TEXT NOT NULL,
    saved_wall_ns INTEGER NOT NULL,
    state TEXT NOT NULL
)"""
EPOCH_TABLE: Final = """
CREATE TABLE epoch (
    first_seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    host TEXT NOT NULL
)"""
MEMO_TABLE: Final = """
CREATE TABLE memo (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    until_wall_ns INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (kind, key)
)"""
MEMO_INDEX: Final = "CREATE INDEX memo_by_end ON memo (until_wall_ns)"
LEASE_INDEX: Final = "CREATE INDEX lease_by_time ON lease (saved_wall_ns)"

_TABLES: Final = f"""
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    port TEXT,
    ifindex INTEGER,
    vm TEXT,
    body TEXT NOT NULL
);
CREATE INDEX event_by_time ON event (time_ns);
CREATE TABLE incident (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    check_name TEXT NOT NULL,
    detail TEXT NOT NULL,
    port TEXT NOT NULL,
    ifindex INTEGER NOT NULL,
    vm TEXT,
    mac TEXT,
    opened_wall_ns INTEGER NOT NULL,
    updated_wall_ns INTEGER NOT NULL,
    closed_wall_ns INTEGER,
    frames INTEGER NOT NULL,
    action TEXT NOT NULL,
    verdict TEXT NOT NULL,
    frame_hex TEXT NOT NULL,
    summary TEXT NOT NULL,
    uplink INTEGER NOT NULL,
    {EVIDENCE_COLUMN}
);
CREATE INDEX incident_by_update ON incident (updated_wall_ns);
CREATE INDEX incident_by_port ON incident (port, updated_wall_ns);
CREATE INDEX incident_open ON incident (updated_wall_ns) WHERE closed_wall_ns IS NULL;
CREATE INDEX incident_open_by_port ON incident (port, updated_wall_ns)
    WHERE closed_wall_ns IS NULL;
CREATE TABLE quarantine (
    ifindex INTEGER NOT NULL,
    since_wall_ns INTEGER NOT NULL,
    port TEXT NOT NULL,
    vm_uuid TEXT,
    vm TEXT,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    uid INTEGER,
    hold_ns INTEGER,
    until_wall_ns INTEGER,
    relapses INTEGER NOT NULL,
    released_wall_ns INTEGER,
    released_by TEXT,
    PRIMARY KEY (ifindex, since_wall_ns)
);
CREATE INDEX quarantine_by_port ON quarantine (port, since_wall_ns);
CREATE INDEX quarantine_by_vm ON quarantine (vm_uuid, since_wall_ns) WHERE vm_uuid IS NOT NULL;
CREATE INDEX quarantine_released ON quarantine (released_wall_ns)
    WHERE released_wall_ns IS NOT NULL;
CREATE INDEX quarantine_active ON quarantine (since_wall_ns) WHERE released_wall_ns IS NULL;
{LEASE_TABLE};
{LEASE_INDEX};
{EPOCH_TABLE};
{MEMO_TABLE};
{MEMO_INDEX};
"""

INSERT_EVENT: Final = "INSERT INTO event VALUES (?,?,?,?,?,?,?)"
# REPLACE rather than an upsert: an incident that was pruned while open comes back whole.
SAVE_INCIDENT: Final = "INSERT OR REPLACE INTO incident VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
SAVE_QUARANTINE: Final = "INSERT OR REPLACE INTO quarantine VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
RELEASE_QUARANTINE: Final = (
    "UPDATE quarantine SET released_wall_ns = ?, released_by = ? "
    "WHERE ifindex = ? AND since_wall_ns = ? AND released_wall_ns IS NULL"
)
SAVE_LEASE: Final = "INSERT OR REPLACE INTO lease VALUES (?,?,?,?)"
# One that is there stays: it is of an earlier write of the same opening.
SAVE_EPOCH: Final = "INSERT OR IGNORE INTO epoch VALUES (?,?,?)"
FORGET_LEASE: Final = "DELETE FROM lease WHERE key = ?"

SAVE_MEMO: Final = "INSERT OR REPLACE INTO memo VALUES (?,?,?,?)"
FORGET_MEMO: Final = "DELETE FROM memo WHERE kind = ? AND key = ?"

EVENTS_AFTER: Final = "SELECT * FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
INCIDENTS: Final = (
    "SELECT * FROM incident WHERE updated_wall_ns >= ? "
    "ORDER BY updated_wall_ns DESC, id DESC LIMIT ?"
)
INCIDENTS_OF_PORT: Final = (
    "SELECT * FROM incident WHERE port = ? AND updated_wall_ns >= ? "
    "ORDER BY updated_wall_ns DESC, id DESC LIMIT ?"
)
INCIDENTS_OPEN: Final = (
    "SELECT * FROM incident INDEXED BY incident_open "
    "WHERE closed_wall_ns IS NULL AND updated_wall_ns >= ? "
    "ORDER BY updated_wall_ns DESC, id DESC LIMIT ?"
)
INCIDENTS_OPEN_OF_PORT: Final = (
    "SELECT * FROM incident INDEXED BY incident_open_by_port "
    "WHERE closed_wall_ns IS NULL AND port = ? AND updated_wall_ns >= ? "
    "ORDER BY updated_wall_ns DESC, id DESC LIMIT ?"
)
ACTIVE_QUARANTINES: Final = (
    "SELECT * FROM quarantine INDEXED BY quarantine_active "
    "WHERE released_wall_ns IS NULL ORDER BY since_wall_ns"
)
CUTS_OF_VM: Final = (
    "SELECT * FROM quarantine INDEXED BY quarantine_by_vm "
    "WHERE vm_uuid = ? AND since_wall_ns >= ? ORDER BY since_wall_ns DESC LIMIT ?"
)
CUTS_OF_PORT: Final = (
    "SELECT * FROM quarantine INDEXED BY quarantine_by_port "
    "WHERE port = ? AND since_wall_ns >= ? ORDER BY since_wall_ns DESC LIMIT ?"
)
LEASES: Final = "SELECT * FROM lease INDEXED BY lease_by_time ORDER BY saved_wall_ns DESC LIMIT ?"
MEMOS: Final = "SELECT * FROM memo WHERE kind = ? ORDER BY key LIMIT ?"
EPOCHS: Final = "SELECT * FROM epoch ORDER BY first_seq DESC LIMIT ?"
OLDEST_SEQ: Final = "SELECT min(seq) FROM event"
HIGHEST_NUMBER: Final = "SELECT seq FROM sqlite_sequence WHERE name = ?"


OLDEST_VERSION: Final = 1
"""What `journal_migrate` can begin with."""
_NAMES_SINCE: Final = {
    1: frozenset({"lease", "lease_by_time", "epoch", "memo", "memo_by_end"}),
    2: frozenset({"epoch", "memo", "memo_by_end"}),
}
"""By version: tables and indexes that came after it."""


class UnusableFileError(Exception):
    """A file that is no journal, or not a whole one; the text says what it is."""


def version_of(connection: sqlite3.Connection) -> int:
    """Which version of a journal the open file is, up to SCHEMA_VERSION; 0: it is empty.

    Raises UnusableFileError saying what the file is instead; sqlite3.Error if damaged.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    names = {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master")
        if not str(name).startswith("sqlite_")
    }
    if not names and not version:
        return 0
    if application != APPLICATION_ID:
        raise UnusableFileError("it is a database of another program")
    if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
        raise UnusableFileError(f"it has version {version} of the journal, not {SCHEMA_VERSION}")
    if names != _expected_names() - _NAMES_SINCE.get(version, frozenset()):
        raise UnusableFileError("tables or indexes are missing from it")
    return int(version)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )
    # So that the file is a journal even without its log.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _expected_names() -> set[str]:
    words = _TABLES.split()
    return {words[at + 2] for at, word in enumerate(words) if word == "CREATE"}
