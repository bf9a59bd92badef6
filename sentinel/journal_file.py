# SPDX-License-Identifier: Apache-2.0
"""The journal's SQLite file while it is open: transactions and queries, no policy.

Raises what happens: sqlite3.Error, OSError, UnusableFileError. What becomes of it
is decided in `journal`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sentinel.journal_epochs import MOST_EPOCHS, Beginning
from sentinel.journal_migrate import migrate, pretend
from sentinel.journal_prune import Limits, Pruned, prune_by_age, prune_by_size, trim_leases
from sentinel.journal_queue import Batch
from sentinel.journal_rescue import is_damage
from sentinel.journal_rows import Row
from sentinel.journal_schema import (
    EPOCHS,
    FORGET_LEASE,
    FORGET_MEMO,
    HIGHEST_NUMBER,
    INSERT_EVENT,
    RELEASE_QUARANTINE,
    SAVE_EPOCH,
    SAVE_INCIDENT,
    SAVE_LEASE,
    SAVE_MEMO,
    SAVE_QUARANTINE,
    SCHEMA_VERSION,
    UnusableFileError,
    create,
    version_of,
)

CHECK_SECONDS: Final = 1.0
"""At most so long a file is looked through when it is opened."""
LARGEST_LOOKED_AT_ONCE_BYTES: Final = 32_000_000
"""A larger one is looked through beside the work: a start is not to wait for that."""
_BUSY_SECONDS: Final = 0.25
_OPCODES_BETWEEN_LOOKS: Final = 20_000
_CACHE_KIB: Final = 512
"""SQLite's own, of 2 MB, is full of pages after the first look; the kernel keeps them too."""


@dataclass(slots=True)
class Looked:
    """Which file was last looked through and found sound; None: no one yet.

    So that one that cannot be opened for another reason, and is tried again and
    again, is looked through once.
    """

    file: tuple[int, ...] | None = None


class JournalFile:
    """An open journal."""

    def __init__(self, path: Path, limits: Limits, looked: Looked) -> None:
        """Open the file, or make it, or make one of this version of it."""
        self._path = path
        self._limits = limits
        self._looked = looked
        self._has_epoch = False
        self._found: UnusableFileError | None = None
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory: move it out of the way")
        if _size_bytes(path) == 0 and log_size_bytes(path) > 0:
            # SQLite would delete the log of a file that is empty.
            raise UnusableFileError("it is gone or empty, but its write-ahead log is not")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.connection = _connect(str(path))
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        connection = self.connection
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        version = version_of(connection)
        self.was_there = version > 0
        """Whether the file held a journal already."""
        if not self.was_there:
            create(connection)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"no write-ahead log is possible here, only {mode}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self.set_limits(self._limits)
        self._look_once()
        if 0 < version < SCHEMA_VERSION:
            with self._transaction():
                migrate(connection, version)
        status = self._path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self.highest_event = self._highest("event")
        self.highest_incident = self._highest("incident")

    def set_limits(self, limits: Limits) -> None:
        """Keep within other limits; touches no disk (sqlite.org, pragma.html)."""
        self._limits = limits
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {limits.checkpoint_pages}")
        self.connection.execute(f"PRAGMA journal_size_limit = {limits.wal_bytes // 2}")

    def _look_once(self) -> None:
        status = self._path.stat()
        file = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if file == self._looked.file:
            return
        if status.st_size <= LARGEST_LOOKED_AT_ONCE_BYTES:
            _look_through(self.connection)
        else:
            threading.Thread(target=self._look_beside, name="journal check", daemon=True).start()
        self._looked.file = file

    def _look_beside(self) -> None:
        """In a thread and with a connection of its own."""
        try:
            other = _connect(f"{self._path.absolute().as_uri()}?mode=ro")
            try:
                _look_through(other)
            finally:
                other.close()
        except UnusableFileError as found:
            self._found = found
        except sqlite3.Error as found:
            if is_damage(found):
                self._found = UnusableFileError(f"it is damaged: {found}")

    def refuse_damage(self) -> None:
        """Raise UnusableFileError if a look beside the work has found damage."""
        if self._found is not None:
            raise self._found

    @property
    def is_current(self) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            status = self._path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def count_events(self) -> int:
        """How many events there are; of a large file at the most, for numbers leave gaps."""
        query = "SELECT count(*) FROM event"
        if _size_bytes(self._path) > LARGEST_LOOKED_AT_ONCE_BYTES:
            # A count goes through all of them, and a disk that is cold takes its time.
            query = "SELECT (SELECT max(seq) FROM event) - (SELECT min(seq) FROM event) + 1"
        (count,) = self.connection.execute(query).fetchone()
        return int(count or 0)

    def fetch(self, query: str, parameters: tuple[Any, ...]) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(query, parameters).fetchall()

    def epochs(self) -> list[Row]:
        """The openings that it tells of."""
        return self.fetch(EPOCHS, (MOST_EPOCHS,))

    def write(self, batch: Batch, epoch: Beginning | None = None) -> None:
        """Write a batch in one transaction; on return it is on the disk.

        `epoch` is the opening that numbered its events.
        """
        with self._transaction():
            if epoch is not None and not self._has_epoch:
                self.connection.execute(SAVE_EPOCH, epoch)
            self.connection.executemany(INSERT_EVENT, batch.events)
            self.connection.executemany(SAVE_INCIDENT, batch.incidents)
            self.connection.executemany(SAVE_QUARANTINE, batch.cuts)
            self.connection.executemany(RELEASE_QUARANTINE, batch.releases)
            if batch.leases:
                saved = [row for row in batch.leases if len(row) > 1]
                forgotten = [row for row in batch.leases if len(row) == 1]
                self.connection.executemany(FORGET_LEASE, forgotten)
                self.connection.executemany(SAVE_LEASE, saved)
                trim_leases(self.connection, self._limits)
            kept = [row for row in batch.memos if len(row) > 2]
            ended = [row for row in batch.memos if len(row) == 2]
            self.connection.executemany(FORGET_MEMO, ended)
            self.connection.executemany(SAVE_MEMO, kept)
        self._has_epoch |= epoch is not None

    def prune_by_age(self, before_wall_ns: int) -> Pruned:
        """One step, in a transaction of its own."""
        with self._transaction():
            return prune_by_age(self.connection, before_wall_ns, self._limits)

    def prune_by_size(self) -> Pruned:
        """One step, in a transaction of its own; then the log is cut back if it is long."""
        with self._transaction():
            pruned = prune_by_size(self.connection, self._limits)
        if log_size_bytes(self._path) > self._limits.wal_bytes:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return pruned

    def is_too_large(self) -> bool:
        """Whether a step by size would do something; costs no more than a few system calls."""
        return (
            _size_bytes(self._path) > self._limits.used_bytes
            or log_size_bytes(self._path) > self._limits.wal_bytes
        )

    def close(self) -> None:
        """Close it; the last one to do so folds the log into the database."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            # A full disk has rolled back already.
            if self.connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
            raise

    def _highest(self, table: str) -> int:
        row = self.connection.execute(HIGHEST_NUMBER, (table,)).fetchone()
        return int(row[0]) if row is not None and isinstance(row[0], int) else 0


def journal_size_bytes(path: Path) -> int:
    """The database and its log."""
    return _size_bytes(path) + log_size_bytes(path)


def log_size_bytes(path: Path) -> int:
    """The write-ahead log alone."""
    return _size_bytes(Path(f"{path}-wal"))


def fetch_unwritable(path: Path, query: str, parameters: tuple[Any, ...]) -> list[Row]:
    """Rows of a journal that cannot be opened for writing, as it was last folded together.

    Raises sqlite3.Error if it cannot be read either.
    """
    uri = f"{path.absolute().as_uri()}?immutable=1"
    connection = _connect(uri)
    try:
        pretend(connection, version_of(connection) or SCHEMA_VERSION)
        return connection.execute(query, parameters).fetchall()
    finally:
        connection.close()


def _connect(target: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        target,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=target.startswith("file:"),
    )
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _look_through(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(
        lambda: int(time.monotonic() > deadline), _OPCODES_BETWEEN_LOOKS
    )
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise UnusableFileError(f"it is damaged: {' '.join(str(found).split())[:200]}")


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
