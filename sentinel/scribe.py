# SPDX-License-Identifier: Apache-2.0
"""The journal behind the event loop: one thread writes and reads it, in order.

A disk that hangs hangs that thread alone. What waits for it is bounded, and
what finds no room is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from sentinel import event
from sentinel.config import EventsConfig, JournalConfig
from sentinel.effect import (
    Effect,
    EndCut,
    ForgetLease,
    ForgetMemo,
    Keep,
    KeepCut,
    KeepLease,
    KeepMemo,
    Log,
    Open,
    Shut,
)
from sentinel.errors import JournalError
from sentinel.event import Event, Kind
from sentinel.event_gate import EventGate
from sentinel.journal import Journal

T = TypeVar("T")

MOST_WAITING: Final = 10_000
BATCH: Final = 500
PERSIST_WAIT_S: Final = 3.0  # a command gives up on a daemon after 5

_TELLERS: Final = {
    Kind.INCIDENT_OPENED: event.incident_opened,
    Kind.INCIDENT_UPDATED: event.incident_updated,
    Kind.INCIDENT_CLOSED: event.incident_closed,
}

_Lease = KeepLease | ForgetLease

_log = logging.getLogger(__name__)


class Scribe:
    """Carries what is not for the kernel to the journal.

    Of a lease only the latest state waits, beside all else: however many messages
    guests send, they take no event's place.
    """

    def __init__(
        self, journal: Journal, on_written: Callable[[], None], rates: EventsConfig | None = None
    ) -> None:
        """`on_written` is called in the event loop after a batch; `rates` bound events."""
        self._journal = journal
        self._on_written = on_written
        self._waiting: list[Effect] = []
        self._leases: dict[str, _Lease] = {}
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._incident_ids: dict[int, int] = {}
        self._gate: EventGate | None = None
        if rates is not None:
            self._gate = EventGate(rates.log_per_port_per_second, rates.log_per_host_per_second)
        self._task: asyncio.Task[None] | None = None
        self.lost = 0
        """Effects that found no room to wait."""

    @property
    def coalesced(self) -> int:
        """Events that others stand for: there were more than the rate allows."""
        return 0 if self._gate is None else self._gate.coalesced

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="scribe")

    async def stop(self) -> None:
        """Write what waits, close the journal and end the thread."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        batch = [*self._waiting, *self._leases.values()]
        self._waiting, self._leases = [], {}
        await self._in_thread(lambda: self._write(batch))
        await self._in_thread(self._write_held)
        await self._in_thread(self._journal.close)
        self._thread.shutdown(wait=False)

    def know_incident(self, key: int, number: int) -> None:
        """Say under which number an incident is kept already."""
        self._incident_ids[key] = number

    def put(self, effects: Iterable[Effect]) -> None:
        """Have effects written soon, in order; those of the kernel are passed over."""
        for effect in effects:
            if isinstance(effect, Shut | Open):
                continue
            if isinstance(effect, KeepLease | ForgetLease):
                self._put_lease(effect)
                continue
            if len(self._waiting) >= MOST_WAITING:
                self.lost += 1
                continue
            self._waiting.append(effect)
        self._wake.set()

    async def persist(self, effects: Iterable[Effect]) -> bool:
        """Have effects written now; whether they are on the disk.

        False does not lose them: they wait for the disk. Leases are written soon.
        """
        batch, self._waiting = self._waiting, []
        for effect in effects:
            if isinstance(effect, KeepLease | ForgetLease):
                self._put_lease(effect)
            else:
                batch.append(effect)
        written = asyncio.ensure_future(self._in_thread(lambda: self._write(batch, True)))
        try:
            return await asyncio.wait_for(asyncio.shield(written), PERSIST_WAIT_S)
        except TimeoutError:
            return False
        finally:
            self._on_written()

    def reconfigure(self, rates: EventsConfig, bounds: JournalConfig) -> None:
        """Go by other rates and bounds, in the order of what is written."""

        def take() -> None:
            if self._gate is not None:
                self._gate.set_rates(rates.log_per_port_per_second, rates.log_per_host_per_second)
            with contextlib.suppress(JournalError):
                self._journal.set_bounds(bounds.max_age_ns, bounds.max_size_bytes)

        # Nobody waits for it: a disk that hangs delays no configuration.
        self._thread.submit(take)

    async def ask(self, question: Callable[[Journal], T]) -> T:
        """What the journal says. Raises JournalError."""
        return await self._in_thread(lambda: question(self._journal))

    async def tend(self, now_wall_ns: int, *, is_due: bool) -> None:
        """Keep the journal within its bounds if that is due, or if rows wait for the disk.

        And write what was over the rate and may be told by now.
        """

        def look(journal: Journal) -> None:
            if is_due or journal.status().pending:
                journal.prune(now_wall_ns)

        with contextlib.suppress(JournalError):
            await self.ask(look)
        if self._gate is not None and self._gate.holds:
            await self._in_thread(lambda: self._write([]))
            self._on_written()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._leases:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                batch += [self._leases.pop(key) for key in list(islice(self._leases, BATCH))]
                # Told to stop, it still writes what it has taken.
                await asyncio.shield(self._in_thread(partial(self._write, batch)))
                self._on_written()

    def _put_lease(self, lease: _Lease) -> None:
        if lease.key not in self._leases and len(self._leases) >= MOST_WAITING:
            self.lost += 1
            return
        self._leases[lease.key] = lease
        self._wake.set()

    def _write(self, batch: list[Effect], must_persist: bool = False) -> bool:
        """In the journal's thread. The journal keeps in memory what the disk refuses."""
        is_written = True
        for start in range(0, max(1, len(batch)), BATCH):
            try:
                with self._journal.together():
                    new = self._take(batch[start : start + BATCH])
                    if self._gate is not None:
                        new = self._gate.admit(new, time.monotonic_ns())
                    self._journal.append(new, must_persist=must_persist)
            except JournalError as refused:
                if not must_persist:
                    _log.error("the journal does not take events: %s", refused)
                is_written = False
        return is_written

    def _write_held(self) -> None:
        if self._gate is not None:
            with contextlib.suppress(JournalError):
                self._journal.append(self._gate.flush())

    def _take(self, batch: list[Effect]) -> list[Event]:
        """Saves the states of a batch; returns its events."""
        events: list[Event] = []
        for effect in batch:
            match effect:
                case Log(event=one):
                    events.append(one)
                case Keep():
                    events += self._keep(effect)
                case KeepCut(quarantine=quarantine):
                    self._journal.save_quarantine(quarantine)
                case EndCut():
                    self._journal.close_quarantine(
                        effect.ifindex, effect.since_wall_ns, effect.released_wall_ns, effect.by
                    )
                case KeepLease():
                    self._journal.save_lease(
                        effect.key, effect.port, effect.saved_wall_ns, effect.state
                    )
                case ForgetLease(key=key):
                    self._journal.forget_lease(key)
                case KeepMemo():
                    self._journal.keep_memo(
                        effect.kind, effect.key, effect.until_wall_ns, effect.state
                    )
                case ForgetMemo(kind=kind, key=key):
                    self._journal.forget_memo(kind, key)
        return events

    def _keep(self, keep: Keep) -> list[Event]:
        incident = replace(keep.incident, id=self._incident_ids.get(keep.key, 0))
        number = self._journal.save_incident(incident)
        self._incident_ids[keep.key] = number
        if keep.incident.closed_wall_ns is not None:
            del self._incident_ids[keep.key]
        if keep.kind is None:
            return []
        return [_TELLERS[keep.kind](replace(incident, id=number))]
