# SPDX-License-Identifier: Apache-2.0
"""The journal: a numbered log of events, and the states of incidents, cuts and leases.

What a call has acknowledged is on the disk, or the call said otherwise. While the
disk is full or read-only, entries wait in memory, in order; a damaged file is moved
aside and a fresh one begun. Numbers rise and never repeat; after a crash or damage
there may be a gap. Nothing here ever stops the guard: that lives in the kernel.

One thread at a time may call. The times of a `Journal` are wall clock, in ns.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sentinel.errors import JournalError
from sentinel.event import Entry, Event, Incident, Json, PastCut, Quarantine
from sentinel.journal_file import journal_size_bytes
from sentinel.journal_gaps import gap, is_whole, with_gaps
from sentinel.journal_keeper import Keeper
from sentinel.journal_prune import MOST_LEASES
from sentinel.journal_queue import CutKey
from sentinel.journal_rows import (
    CUT_CAUSE,
    CUT_RELEASED,
    CUT_SINCE,
    INCIDENT_CLOSED,
    INCIDENT_PORT,
    INCIDENT_UPDATED,
    KeptLease,
    Memo,
    Row,
    cuts_of,
    entry_of,
    incident_of,
    incident_row,
    lease_key,
    lease_of,
    lease_row,
    memo_of,
    memo_row,
    quarantine_of,
    quarantine_row,
)
from sentinel.journal_schema import (
    ACTIVE_QUARANTINES,
    CUTS_OF_PORT,
    CUTS_OF_VM,
    EVENTS_AFTER,
    INCIDENTS,
    INCIDENTS_OF_PORT,
    INCIDENTS_OPEN,
    INCIDENTS_OPEN_OF_PORT,
    LEASES,
    MEMOS,
    OLDEST_SEQ,
)
from sentinel.journal_status import JournalStatus
from sentinel.vm import VmIdentity

MOST_RETURNED: Final = 10_000
"""Entries or incidents that one call returns at the most."""
MOST_PAST_CUTS: Final = 64


class Journal:
    """The journal of one daemon."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_age_ns: int,
        max_size_bytes: int,
        clock_ns: Callable[[], int] = time.time_ns,
        host: str | None = None,
    ) -> None:
        """Open it, or make it. What hinders that shows in `status`.

        `host` is what this one is called in entries; None: its hostname.

        Raises JournalError only if another process writes the same journal.
        """
        name = socket.gethostname() if host is None else host
        self._keeper = Keeper(Path(path), max_age_ns, max_size_bytes, clock_ns, name)
        self._waiting = self._keeper.waiting
        self._clock_ns = clock_ns
        self._is_together = False

    # What is written.

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """States saved inside are written with the next `append`, or at the end.

        One transaction then holds them, which costs one wait for the disk.
        """
        self._is_together = True
        try:
            yield
        finally:
            self._is_together = False
            self._keeper.flush()

    def append(self, new: Sequence[Event], must_persist: bool = False) -> list[int]:
        """Put events into the log, in order; returns their numbers.

        With `must_persist`, raises JournalError if they, or a state that was saved
        before, are not on the disk yet: they keep their numbers and wait, as they do
        without it.
        """
        self._keeper.refuse_if_closed()
        given = []
        for start in range(0, len(new), self._keeper.batch_rows):
            for one in new[start : start + self._keeper.batch_rows]:
                given.append(self._keeper.enqueue(one))
            self._keeper.flush()
        if self._waiting.has_states:
            self._keeper.flush()
        if must_persist and (
            (given and self._keeper.numbers.kept < given[-1]) or self._waiting.has_states
        ):
            self._refuse()
        return given

    def save_incident(self, incident: Incident) -> int:
        """Keep an incident's state; returns its id, a new one if it had 0."""
        self._keeper.refuse_if_closed()
        number = incident.id
        if number == 0:
            self._keeper.numbers.incident += 1
            number = self._keeper.numbers.incident
        self._waiting.add_incident(incident_row(number, incident))
        self._soon()
        return number

    def save_quarantine(self, quarantine: Quarantine, must_persist: bool = False) -> None:
        """Keep a cut, by its ifindex and since_wall_ns; the same again replaces it.

        Raises JournalError as `append` does.
        """
        self._keeper.refuse_if_closed()
        self._waiting.add_cut(quarantine_row(quarantine))
        self._soon()
        if must_persist:
            self.append([], must_persist=True)

    def close_quarantine(
        self, ifindex: int, since_wall_ns: int, released_wall_ns: int, released_by: str
    ) -> None:
        """Keep a cut's end; `released_by` as in the event. Nothing if there is no such cut."""
        self._keeper.refuse_if_closed()
        self._waiting.release((ifindex, since_wall_ns), released_wall_ns, released_by)
        self._soon()

    def save_lease(
        self, key: str, port: str, saved_wall_ns: int, state: Mapping[str, Json]
    ) -> bool:
        """Keep the state of a DHCP client, by its key; the same again replaces it.

        False if it is too large to be kept (LARGEST_LEASE_BYTES): then none is.
        """
        self._keeper.refuse_if_closed()
        row = lease_row(key, port, saved_wall_ns, state)
        if row is None:
            self.forget_lease(key)
            return False
        self._waiting.add_lease(row)
        self._soon()
        return True

    def forget_lease(self, key: str) -> None:
        """Forget the state of a DHCP client; nothing if there is none."""
        self._keeper.refuse_if_closed()
        kept_key = lease_key(key)
        if kept_key is not None:
            self._waiting.forget_lease(kept_key)
            self._soon()

    def keep_memo(self, kind: str, key: str, until_wall_ns: int, state: Mapping[str, Any]) -> bool:
        """Keep what counts until a moment; the same kind and key again replaces it.

        False if it is too large to be kept (LARGEST_MEMO_BYTES): then none is.
        """
        self._keeper.refuse_if_closed()
        row = memo_row(kind, key, until_wall_ns, state)
        self._waiting.put_memo((kind, key) if row is None else row)
        self._soon()
        return row is not None

    def forget_memo(self, kind: str, key: str) -> None:
        """Forget a memo; nothing if there is none."""
        self._keeper.refuse_if_closed()
        self._waiting.put_memo((kind, key))
        self._soon()

    # What is read.

    def events_after(self, cursor: int, limit: int = 1000) -> list[Entry]:
        """The entries with numbers above `cursor`, the lowest first.

        Raises JournalError if they are neither readable nor in memory.
        """
        limit = _bounded(limit)
        waiting = self._waiting.events
        rows: list[Row] = []
        if not waiting or cursor < waiting[0][0] - 1:
            rows = self._keeper.fetch(EVENTS_AFTER, (cursor, limit))
        rows += [row for row in self._waiting.events if row[0] > cursor]
        epochs = self._keeper.epochs
        return [entry_of(row, epochs.of(row[0])) for row in rows[:limit]]

    def follow(self, cursor: int, limit: int = 1000) -> list[Entry]:
        """`events_after`, with a `log.gap` in the place of entries that were removed.

        Raises JournalError as that does.
        """
        entries = self.events_after(cursor, limit)
        if is_whole(cursor, entries, self.last_seq()):
            return entries
        oldest, now_ns = self.oldest_seq(), self._clock_ns()
        epochs = self._keeper.epochs
        if not entries and not oldest:
            return [gap(cursor + 1, self.last_seq(), epochs, now_ns)]
        return with_gaps(cursor, entries, epochs, oldest, now_ns)

    def missing_after(self, name: str) -> int:
        """How many entries behind that one were removed; 0 if it, or all, cannot be read."""
        seq = self.resume([name])
        if seq is None:
            return 0
        try:
            oldest = self.oldest_seq()
        except JournalError:
            return 0
        return max(0, (oldest - 1 if oldest else self.last_seq()) - seq)

    def resume(self, ids: Sequence[str]) -> int | None:
        """The number to go on after, for a reader that had these entries, the latest first.

        None: this journal knows none of them.
        """
        return self._keeper.epochs.resume(ids, self._keeper.numbers.given)

    def last_seq(self) -> int:
        """The highest number that was given; 0 if none was ever."""
        return self._keeper.numbers.given

    def oldest_seq(self) -> int:
        """The lowest number that is still there; 0 if there is no entry."""
        (row,) = self._keeper.fetch(OLDEST_SEQ, ())
        if row[0] is not None:
            return int(row[0])
        return int(self._waiting.events[0][0]) if self._waiting.events else 0

    def incidents(
        self,
        since_ns: int = 0,
        port: str | None = None,
        limit: int = 50,
        open_only: bool = False,
    ) -> list[Incident]:
        """Incidents that had a frame since then, the last seen first.

        Raises JournalError if they are not readable.
        """
        limit = _bounded(limit)
        key: tuple[str, ...] = ()
        if port is None:
            query = INCIDENTS_OPEN if open_only else INCIDENTS
        else:
            key = (port,)
            query = INCIDENTS_OPEN_OF_PORT if open_only else INCIDENTS_OF_PORT
        rows = {row[0]: row for row in self._keeper.fetch(query, (*key, since_ns, limit))}
        for row in self._waiting.incidents.rows.values():
            rows.pop(row[0], None)
            if (
                row[INCIDENT_UPDATED] >= since_ns
                and port in (None, row[INCIDENT_PORT])
                and not (open_only and row[INCIDENT_CLOSED] is not None)
            ):
                rows[row[0]] = row
        newest = sorted(rows.values(), key=lambda row: (-row[INCIDENT_UPDATED], -row[0]))
        return [incident_of(row) for row in newest[:limit]]

    def active_quarantines(self) -> list[Quarantine]:
        """Cuts whose end is not known, the oldest first. Raises JournalError."""
        rows = self._overlaid(self._keeper.fetch(ACTIVE_QUARANTINES, ()))
        active = [row for row in rows if row[CUT_RELEASED] is None]
        return [quarantine_of(row) for row in sorted(active, key=lambda row: row[CUT_SINCE])]

    def past_cuts(self, port: str, vm: VmIdentity | None, since_ns: int) -> list[PastCut]:
        """Cuts of a VM, or of a port whose VM was not known, that began since then.

        The newest first, at most MOST_PAST_CUTS. Raises JournalError.
        """
        uuid = None if vm is None else vm.uuid
        rows = self._keeper.fetch(CUTS_OF_PORT, (port, since_ns, MOST_PAST_CUTS))
        if uuid is not None:
            rows += self._keeper.fetch(CUTS_OF_VM, (uuid, since_ns, MOST_PAST_CUTS))
        cuts = cuts_of(self._overlaid(rows), port, uuid, since_ns)
        return [
            PastCut(str(row[CUT_CAUSE]), row[CUT_SINCE], row[CUT_RELEASED])
            for row in cuts[:MOST_PAST_CUTS]
        ]

    def relapses(self, port: str, vm: VmIdentity | None, since_ns: int) -> int:
        """How many of `past_cuts` a check made; what was ordered is no relapse."""
        return sum(cut.cause != "order" for cut in self.past_cuts(port, vm, since_ns))

    def leases(self) -> list[KeptLease]:
        """The states of DHCP clients, the last saved first, at most MOST_LEASES.

        Raises JournalError if they are not readable.
        """
        rows = {row[0]: row for row in self._keeper.fetch(LEASES, (MOST_LEASES,))}
        for key, row in self._waiting.leases.rows.items():
            rows.pop(key, None)
            if len(row) > 1:
                rows[key] = row
        kept = [lease_of(row) for row in rows.values()]
        kept.sort(key=lambda lease: lease.saved_wall_ns, reverse=True)
        return kept[:MOST_LEASES]

    def memos(self, kind: str) -> list[Memo]:
        """Everything of a kind that was kept, whether it is over or not.

        Raises JournalError if it is not readable.
        """
        rows = {row[1]: row for row in self._keeper.fetch(MEMOS, (kind, MOST_RETURNED))}
        for (of_kind, key), row in self._waiting.memos.rows.items():
            if of_kind == kind:
                rows.pop(key, None)
                if len(row) > 2:
                    rows[key] = row
        return [memo_of(row) for row in rows.values()]

    # What is done from time to time.

    def prune(self, now_ns: int) -> bool:
        """Retry what waits, then remove history in a few bounded steps.

        Returns whether there is more to remove: call again soon.
        """
        self._keeper.refuse_if_closed()
        return self._keeper.prune(now_ns)

    def set_bounds(self, max_age_ns: int, max_size_bytes: int) -> None:
        """Keep other bounds from now on; history beyond them goes with the next `prune`."""
        self._keeper.refuse_if_closed()
        self._keeper.set_bounds(max_age_ns, max_size_bytes)

    def status(self) -> JournalStatus:
        """How it does, without a query."""
        keeper = self._keeper
        problems = keeper.problems()
        return JournalStatus(
            ok=not problems,
            problem="; ".join(problems) or None,
            path=str(keeper.path),
            entries=max(0, keeper.entries) + len(self._waiting.events),
            size_bytes=journal_size_bytes(keeper.path),
            pending=len(self._waiting),
            lost=self._waiting.lost,
            last_seq=keeper.numbers.given,
            writing=keeper.is_writing,
        )

    def close(self) -> None:
        """Write what waits, if the disk takes it, and let the file go."""
        self._keeper.close()

    def _overlaid(self, rows: list[Row]) -> list[Row]:
        """Rows of quarantines with what still waits laid over them."""
        found: dict[CutKey, Row] = {(row[0], row[1]): row for row in rows}
        for released_ns, released_by, ifindex, since_ns in self._waiting.releases.rows.values():
            key = (ifindex, since_ns)
            if key in found:
                row = found[key]
                found[key] = (*row[:CUT_RELEASED], released_ns, released_by)
        return list((found | self._waiting.cuts.rows).values())

    def _soon(self) -> None:
        if not self._is_together:
            self._keeper.flush()

    def _refuse(self) -> None:
        raise JournalError(
            f"not on the disk yet, but kept in memory until it is: {self._keeper.trouble()}"
        )


def _bounded(limit: int) -> int:
    return max(0, min(limit, MOST_RETURNED))
