# SPDX-License-Identifier: Apache-2.0
"""Gets the journal's rows to the disk, and decides what becomes of trouble.

Trouble is of two kinds. A disk that is full, read-only or away is waited for: rows
stay in memory, in order, and are tried again at each call. A file that is damaged is
moved aside, a fresh one begun and what can be read copied over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sentinel import event as events
from sentinel.durations import format_duration
from sentinel.errors import JournalError
from sentinel.event import Epoch, Event
from sentinel.journal_epochs import MOST_EPOCHS, Epochs
from sentinel.journal_file import JournalFile, Looked, fetch_unwritable, log_size_bytes
from sentinel.journal_marks import SYNC_EVERY, Marks, Numbers
from sentinel.journal_prune import limits_of
from sentinel.journal_queue import Waiting
from sentinel.journal_rescue import asides, is_damage, salvage, set_aside
from sentinel.journal_rows import Row, event_row
from sentinel.journal_schema import EPOCHS, UnusableFileError

RESCUE_PAUSE_SECONDS: Final = 60.0
"""Between two files that are given up: a disk that damages all would fill itself."""
_STEPS_AFTER_WRITE: Final = 8
_STEPS_OF_PRUNE: Final = 8
_Troubles = (sqlite3.Error, OSError, UnusableFileError)


@dataclass(frozen=True, slots=True)
class _GivenUp:
    """A file that was moved aside and is to be salvaged."""

    aside: Path
    problem: str
    numbers: Numbers
    """What had been given out by then."""


class Keeper:
    """The file, the queue in front of it, the numbers, and what is wrong."""

    def __init__(
        self,
        path: Path,
        max_age_ns: int,
        max_size_bytes: int,
        clock_ns: Callable[[], int],
        host: str,
    ) -> None:
        """Open or make the file. Raises JournalError only if another process has it."""
        self.path = path
        self.waiting = Waiting()
        self.epochs = Epochs(Epoch(secrets.token_hex(8), host))
        self.entries = 0
        self._clock_ns = clock_ns
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._marks = Marks(f"{path}.marks")
        self.numbers = self._marks.numbers
        self._numbered = False
        self._file: JournalFile | None = None
        self.set_bounds(max_age_ns, max_size_bytes)
        self._looked = Looked()
        self._error: Exception | None = None
        self._trouble_since_ns: int | None = None
        self._waited = 0
        self._lost_before = 0
        self._to_salvage: _GivenUp | None = None
        self._rescued_at: float | None = None
        self._notice: str | None = None
        self.is_closed = False
        self.flush()

    def set_bounds(self, max_age_ns: int, max_size_bytes: int) -> None:
        """Keep the history within other bounds from now on."""
        self._max_age_ns = max_age_ns
        self._max_size_bytes = max_size_bytes
        self._limits = limits_of(max_size_bytes)
        if self._file is not None:
            self._file.set_limits(self._limits)

    @property
    def batch_rows(self) -> int:
        """How many rows one transaction holds at the most."""
        return self._limits.rows

    @property
    def is_writing(self) -> bool:
        """Whether rows reach the disk."""
        return self._trouble_since_ns is None

    def enqueue(self, new: Event) -> int:
        """Number an event and queue it."""
        self.numbers.given += 1
        self.epochs.gave(self.numbers.given)
        self.waiting.add_event(event_row(self.numbers.given, new))
        return self.numbers.given

    def flush(self) -> bool:
        """Write what waits; whether all of it is on the disk."""
        for _ in range(3):
            try:
                self._to_disk()
            except _Troubles as error:
                if not self._overcome(error):
                    break
            else:
                return True
        return False

    def fetch(self, query: str, parameters: tuple[Any, ...]) -> list[Row]:
        """Rows that are on the disk. Raises JournalError if they cannot be read."""
        self.refuse_if_closed()
        last: Exception | None = None
        for _ in range(3):
            try:
                return self._ready().fetch(query, parameters)
            except _Troubles as error:
                last = error
                if not self._overcome(error):
                    break
        try:
            self.epochs.know(fetch_unwritable(self.path, EPOCHS, (MOST_EPOCHS,)))
            return fetch_unwritable(self.path, query, parameters)
        except _Troubles:
            raise JournalError(f"{self.path} cannot be read: {_said(last)}") from last

    def prune(self, now_ns: int) -> bool:
        """Remove history in a few steps; whether there is more to remove."""
        if not self.flush() or self._file is None:
            return False
        try:
            aged = self._file.prune_by_age(now_ns - self._max_age_ns)
            self.entries -= aged.events
            return self._make_room(_STEPS_OF_PRUNE) or aged.more
        except _Troubles as error:
            self._overcome(error)
            return False

    def problems(self) -> list[str]:
        """What an operator should look at, each in a sentence; what presses most is first."""
        told = [problem for problem in (self.trouble(), self._notice) if problem]
        found = asides(self.path)
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            told.append(
                f"{self.path} was damaged; what it was is in {found[-1]}{more}: move that "
                "away when you have looked at it"
            )
        if self.waiting.lost:
            told.append(f"{self.waiting.lost} rows are lost: there was no room to let them wait")
        if self.is_writing and log_size_bytes(self.path) > 2 * self._limits.wal_bytes:
            told.append(f"{self.path}-wal cannot shrink while another process reads the journal")
        return told

    def trouble(self) -> str | None:
        """Why rows do not reach the disk; None: they do."""
        if self._error is None or self._trouble_since_ns is None:
            return None
        for_ns = max(0, self._clock_ns() - self._trouble_since_ns)
        return (
            f"entries have not reached {self.path} for {format_duration(for_ns)} and wait in "
            f"memory ({_said(self._error)}): {_remedy(self._error)}"
        )

    def close(self) -> None:
        """Write what waits, if the disk takes it, and let the file go."""
        if self.is_closed:
            return
        self.flush()
        self.is_closed = True
        self._close_file()
        self._marks.close()

    def refuse_if_closed(self) -> None:
        """Raise JournalError after `close`."""
        if self.is_closed:
            raise JournalError(f"{self.path}: this journal is closed")

    def _to_disk(self) -> None:
        file = self._ready()
        file.refuse_damage()
        while True:
            while self.waiting:
                batch = self.waiting.batch(self._limits.rows, self._limits.batch_bytes)
                file.write(batch, self.epochs.own if batch.events else None)
                self.waiting.done(batch)
                self.entries += len(batch.events)
                if batch.events:
                    self.numbers.kept = batch.events[-1][0]
                if self._trouble_since_ns is not None:
                    self._waited += batch.rows
                elif not self.waiting.events:
                    self._marks.write()
                self._make_room(_STEPS_AFTER_WRITE)
            if self._trouble_since_ns is None:
                return
            self._recovered(self._trouble_since_ns)

    def _make_room(self, steps: int) -> bool:
        more = self._file is not None and self._file.is_too_large()
        while more and steps and self._file is not None:
            pruned = self._file.prune_by_size()
            self.entries -= pruned.events
            more = pruned.more
            steps -= 1
        return more

    def _recovered(self, since_ns: int) -> None:
        now_ns = self._clock_ns()
        self._trouble_since_ns = self._error = None
        self.enqueue(
            events.journal_recovered(
                now_ns,
                waited_ns=max(0, now_ns - since_ns),
                kept=self._waited,
                lost=self.waiting.lost - self._lost_before,
            )
        )

    def _ready(self) -> JournalFile:
        """Open file, whatever it takes; raises what hinders it."""
        if self._file is not None and not self._file.is_current:
            self._close_file()
            self._tell_damage(f"{self.path} was removed or replaced while it was in use")
        if self._file is None:
            self._file = JournalFile(self.path, self._limits, self._looked)
            self._number(self._file)
            self.epochs.know(self._file.epochs())
            self.entries = self._file.count_events()
        if self._to_salvage is not None:
            given_up = self._to_salvage
            room_bytes = self._max_size_bytes // 2
            saved = salvage(given_up.aside, self._file.connection, room_bytes, given_up.numbers)
            self._to_salvage = None
            self.epochs.know(self._file.epochs())
            self.entries = self._file.count_events()
            self._tell_damage(given_up.problem, str(given_up.aside), saved)
        return self._file

    def _number(self, file: JournalFile) -> None:
        """Find out where the numbers go on, in a file that was just opened."""
        numbers = self.numbers
        if self._numbered:
            waiting = self.waiting.events
            if waiting and waiting[0][0] <= file.highest_event:
                numbers.given = self.waiting.renumber(file.highest_event + 1) - 1
                self.epochs.renumbered(file.highest_event + 1)
        elif file.was_there:
            self._compare(file.highest_event)
        elif numbers.given or asides(self.path):
            gone = self._to_salvage is None and numbers.kept > 0
            self._number_blindly()
            if gone:
                self._tell_damage(f"{self.path} was gone, or empty, at the start")
        numbers.given = max(numbers.given, file.highest_event)
        numbers.incident = max(numbers.incident, file.highest_incident)
        self._numbered = True

    def _compare(self, on_disk: int) -> None:
        """Hold what was given out against what is on the disk at the start."""
        if self._marks.were_damaged:
            # Then the database may be short of its end too, and nothing would tell.
            self._number_blindly()
        missing = self.numbers.kept - on_disk
        never_written = self.numbers.given - max(self.numbers.kept, on_disk)
        if missing > 0:
            self._number_blindly()
            self._tell_damage(
                f"the last {missing} entries that were acknowledged are missing from "
                f"{self.path}: was its -wal file removed?"
            )
        elif never_written > 0:
            self._number_blindly()
            self.enqueue(
                events.journal_recovered(self._clock_ns(), waited_ns=0, kept=0, lost=never_written)
            )
        self.numbers.kept = on_disk

    def _number_blindly(self) -> None:
        """Go on above every number that may have been given, without the database."""
        numbers = self.numbers
        if self._marks.were_there:
            # The marks may be behind, by as much as was given between two fsyncs.
            numbers.given += SYNC_EVERY
            numbers.incident += SYNC_EVERY
        else:
            # Milliseconds since the epoch: beyond any count, and a JSON number still.
            by_time = self._clock_ns() // 1_000_000
            numbers.given = max(numbers.given, by_time)
            numbers.incident = max(numbers.incident, by_time)
        self._numbered = True

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _overcome(self, error: Exception) -> bool:
        """Deal with what went wrong; whether to try again at once."""
        if is_damage(error):
            now = time.monotonic()
            if self._rescued_at is None or now - self._rescued_at >= RESCUE_PAUSE_SECONDS:
                self._close_file()
                try:
                    aside = set_aside(self.path, self._clock_ns())
                except OSError as second:
                    error = OSError(f"{error}; the file cannot be moved aside: {second.strerror}")
                else:
                    self._rescued_at = now
                    self._to_salvage = _GivenUp(
                        aside, f"{self.path}: {error}", replace(self.numbers)
                    )
                    return True
        self._wait_for_disk(error)
        return False

    def _tell_damage(self, problem: str, aside: str | None = None, saved: int = 0) -> None:
        if aside is None:
            self._notice = problem
        self.enqueue(
            events.journal_damaged(self._clock_ns(), problem=problem, aside=aside, salvaged=saved)
        )

    def _wait_for_disk(self, error: Exception) -> None:
        if _primary_code(error) not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
            # A file that was remounted or replaced under us has to be opened anew.
            self._close_file()
        self._error = error
        if self._trouble_since_ns is None:
            if not self._numbered:
                self._number_blindly()
            self._trouble_since_ns = self._clock_ns()
            self._waited = 0
            self._lost_before = self.waiting.lost
            self.enqueue(events.journal_full(self._trouble_since_ns, problem=_said(error)))
            self._marks.write(sync=True)
        self._marks.write()


def _primary_code(error: Exception | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _said(error: Exception | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno or 0)
    return str(error)


def _remedy(error: Exception) -> str:
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return "make room on that disk"
    if code == sqlite3.SQLITE_BUSY:
        return "end the process that holds the file"
    if isinstance(error, IsADirectoryError):
        return "move the directory out of the way"
    if is_damage(error):
        return "see whether the disk is sound"
    return "see that the disk is there, has room and is writable"
