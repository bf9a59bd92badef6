# SPDX-License-Identifier: Apache-2.0
"""One client of the control socket that follows the events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from sentinel import envelope
from sentinel.control_limits import Limits
from sentinel.control_text import encode
from sentinel.errors import RefusedError, TapsentinelError
from sentinel.protocol import Watch, code_of


class Log(Protocol):
    """What a watcher reads."""

    async def last_seq(self) -> int:
        """The number of the newest event; 0 if there is none."""

    async def resume(self, ids: Sequence[str]) -> int | None:
        """The number to go on after, for who had these entries; None: none is known."""

    async def events_after(self, cursor: int, limit: int) -> Sequence[Mapping[str, object]]:
        """The events next after a number, in order, each with its number as `seq`."""


class Watching:
    """A watch: what it reads, what wakes it, and how it waits for its client to read.

    `wakes` has an event for each client that watches; `drained` returns when a client
    has read enough, and raises if it is too slow.
    """

    def __init__(
        self,
        log: Log,
        limits: Limits,
        wakes: set[asyncio.Event],
        drained: Callable[[asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        self._log = log
        self._limits = limits
        self._wakes = wakes
        self._drained = drained

    async def follow(
        self, request: Watch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Tell events for as long as the client is there; False: too many watch already."""
        if len(self._wakes) >= self._limits.watchers:
            error = RefusedError(f"{len(self._wakes)} clients watch already, which is the limit")
            writer.write(envelope.complaint(code_of(error), str(error)))
            return False
        wake = asyncio.Event()
        self._wakes.add(wake)
        # A watcher says nothing more: whatever arrives, be it the end, ends the watch.
        gone = asyncio.ensure_future(reader.read(1))
        try:
            cursor, beginning = await self._begin(request)
            writer.write(envelope.wrap(encode(beginning)))
            while not gone.done():
                wake.clear()
                events = await self._log.events_after(cursor, self._limits.batch_events)
                if events:
                    writer.write(b"".join(encode(event) + b"\n" for event in events))
                    cursor = _seq(events[-1])
                    await self._drained(writer)
                    continue
                waiting = asyncio.ensure_future(wake.wait())
                try:
                    await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
        except TapsentinelError as error:
            writer.write(envelope.complaint(code_of(error), str(error)))
        finally:
            self._wakes.discard(wake)
            gone.cancel()
            await asyncio.wait({gone})
        return True

    async def _begin(self, request: Watch) -> tuple[int, dict[str, object]]:
        """Where to begin, and the first answer."""
        if request.ids is None:
            after = request.after
            cursor = await self._log.last_seq() if after is None else after
            return cursor, {"after": cursor}
        found = await self._log.resume(request.ids)
        return found or 0, {"after": found or 0, "known": found is not None}


def _seq(event: Mapping[str, object]) -> int:
    number = event["seq"]
    if not isinstance(number, int):
        raise TypeError("an event's seq is a number")
    return number
