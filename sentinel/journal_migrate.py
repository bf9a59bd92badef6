# SPDX-License-Identifier: Apache-2.0
"""Journals of older versions: made into one of this version, or read as they are.

A journal is never begun anew because the program was: its numbers, its history and
the quarantines in it go on. A step alters tables in place and rewrites no row, so
that a large journal costs no more than a small one.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from sentinel.journal_schema import (
    EPOCH_TABLE,
    EVIDENCE_COLUMN,
    LEASE_INDEX,
    LEASE_TABLE,
    MEMO_INDEX,
    MEMO_TABLE,
    SCHEMA_VERSION,
)

# By the version that a step begins with. The columns of a row stand in the order in
# which they came: `journal_schema` has new ones at the end of a table too.
_STEPS: Final = {
    1: (
        f"ALTER TABLE incident ADD COLUMN {EVIDENCE_COLUMN}",
        LEASE_TABLE,
        LEASE_INDEX,
    ),
    2: (
        EPOCH_TABLE,
        MEMO_TABLE,
        MEMO_INDEX,
        # What is there already is named too; by chance, as every opening is.
        "INSERT INTO epoch VALUES (1, lower(hex(randomblob(8))), '')",
    ),
}
_STAND_INS: Final = {
    1: (LEASE_TABLE.replace("CREATE TABLE", "CREATE TEMP TABLE"),
        LEASE_INDEX.replace("CREATE INDEX ", "CREATE INDEX temp.")),
    2: (EPOCH_TABLE.replace("CREATE TABLE", "CREATE TEMP TABLE"),
        MEMO_TABLE.replace("CREATE TABLE", "CREATE TEMP TABLE"),
        MEMO_INDEX.replace("CREATE INDEX ", "CREATE INDEX temp.")),
}  # fmt: skip


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from a version to SCHEMA_VERSION, in the transaction that is open.

    Raises sqlite3.Error; after a rollback the file is what it was.
    """
    for step in range(version, SCHEMA_VERSION):
        for statement in _STEPS[step]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def pretend(connection: sqlite3.Connection, version: int) -> None:
    """Let the queries of this version run on a file that cannot be written.

    Tables that it lacks are there, and empty, for this connection alone.
    """
    for step in range(version, SCHEMA_VERSION):
        for statement in _STAND_INS[step]:
            connection.execute(statement)
