# SPDX-License-Identifier: Apache-2.0
"""A journal's file as version 1 of it was written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sentinel.journal_rows import Row, event_row, incident_row, quarantine_row
from tests.harness.journals import NOON_NS, VM, event, incident, quarantine

# As version 1 wrote it, to the letter.
VERSION_1 = """
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
    uplink INTEGER NOT NULL
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
"""
EVENTS = 300
LAST_INCIDENT = 9


def as_version_1(row: Row) -> Row:
    return row[:16]


def make_version_1(path: Path, *, logged: int = 0) -> None:
    """A journal as a daemon of version 1 leaves it; `logged` events are in its log alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 4096")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        f"BEGIN IMMEDIATE; {VERSION_1} PRAGMA application_id = {0x54415053}; "
        "PRAGMA user_version = 1; COMMIT;"
    )
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO event VALUES (?,?,?,?,?,?,?)",
        [event_row(number, event(number)) for number in range(1, EVENTS + 1 - logged)],
    )
    rows = [
        incident_row(3, incident(closed_wall_ns=NOON_NS + 5)),
        incident_row(LAST_INCIDENT, incident(port="tap1", updated_wall_ns=NOON_NS + 9)),
    ]
    connection.executemany(
        "INSERT INTO incident VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", map(as_version_1, rows)
    )
    held = quarantine_row(quarantine(ifindex=8, port="tap1", vm=VM))
    past = (*quarantine_row(quarantine())[:11], NOON_NS + 5, "hold")
    connection.executemany(
        "INSERT INTO quarantine VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", [held, past]
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if logged:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executemany(
            "INSERT INTO event VALUES (?,?,?,?,?,?,?)",
            [event_row(number, event(number)) for number in range(EVENTS + 1 - logged, EVENTS + 1)],
        )
        # As a kill leaves it: SQLite folds the log into the database when it is closed.
        log = Path(f"{path}-wal").read_bytes()
        database = path.read_bytes()
        connection.close()
        path.write_bytes(database)
        Path(f"{path}-wal").write_bytes(log)
    else:
        connection.close()
    Path(f"{path}.marks").write_text(
        f"tapsentinel marks 1\ngiven {EVENTS:020d}\nkept {EVENTS:020d}\n"
        f"incident {LAST_INCIDENT:020d}\n"
    )
