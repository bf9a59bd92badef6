# SPDX-License-Identifier: Apache-2.0
"""Follows what ovsdb-server knows of bridges, ports and interfaces, over its UNIX socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from sentinel.identity.ovs_tables import WANTED, Changed, OvsRows
from sentinel.identity.ovsdb import MONITOR_ID, JsonStream, echo_reply, monitor_request
from sentinel.ovs import OvsFacts

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 5.0
READ_BYTES: Final = 1 << 18
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class OvsDatabase:
    """Three tables, followed by one monitor for as long as there is a server.

    What was known stays known while the server is away: a restart of
    ovsdb-server moves no VM. `on_change` gets the names of interfaces whose
    external_ids changed, also those that a first answer brings; `on_tables` is
    called when anything else of a bridge, port or interface did.
    """

    def __init__(
        self,
        socket_path: Path,
        on_change: Callable[[Collection[str]], None],
        on_tables: Callable[[], None] | None = None,
    ) -> None:
        self.problem: str | None = None
        """Why a server that is there cannot be asked; None where all is well or there is none."""
        self._socket_path = socket_path
        self._on_change = on_change
        self._on_tables = on_tables
        self._rows = OvsRows()
        self._reader: asyncio.Task[None] | None = None
        self._retry_at_s = 0.0
        self._pause_s = FIRST_PAUSE_S

    def external_ids(self, name: str) -> Mapping[str, str]:
        """Of one interface as last told; empty if there is none."""
        return self._rows.external_ids(name)

    def facts(self) -> OvsFacts:
        """All tables as last told; the same object for as long as no row changes."""
        return self._rows.facts()

    async def refresh(self) -> None:
        """Connect if that is not so already and worth a try.

        Raises nothing of the server's, but what `on_change` or `on_tables` raised.
        """
        loop = asyncio.get_running_loop()
        if self._reader is not None:
            if not self._reader.done():
                return
            reader, self._reader = self._reader, None
            if not reader.cancelled():
                reader.result()
        if loop.time() < self._retry_at_s or not self._socket_path.is_socket():
            return
        first_answer: asyncio.Future[None] = loop.create_future()
        self._reader = asyncio.create_task(self._follow(first_answer), name="ovsdb")
        # The task logs what went wrong; here it only matters that waiting is over.
        await asyncio.wait({first_answer, self._reader}, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Disconnect; may be called again."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _follow(self, first_answer: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_unix_connection(str(self._socket_path)), ANSWER_TIMEOUT_S
            )
            try:
                await self._converse(reader, writer, first_answer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        except (OSError, ValueError, TimeoutError) as problem:
            reason = str(problem) or type(problem).__name__
            self.problem = f"Open vSwitch's database at {self._socket_path}: {reason}"
            log.warning("%s; asked again in %g s", self.problem, self._pause_s)
        self._retry_at_s = loop.time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first_answer: asyncio.Future[None],
    ) -> None:
        stream = JsonStream()
        writer.write(monitor_request(WANTED))
        while True:
            patience_s = None if first_answer.done() else ANSWER_TIMEOUT_S
            data = await asyncio.wait_for(reader.read(READ_BYTES), patience_s)
            if not data:
                raise ConnectionResetError("closed the connection")
            for message in stream.feed(data):
                if message.get("method") == "echo":
                    writer.write(echo_reply(message))
                    await asyncio.wait_for(writer.drain(), ANSWER_TIMEOUT_S)
                else:
                    self._take(message, first_answer)

    def _take(self, message: Mapping[str, Any], first_answer: asyncio.Future[None]) -> None:
        changed = Changed()
        if message.get("method") == "update":
            match message.get("params"):
                case [_, updates]:
                    changed = self._rows.apply(updates)
        elif message.get("id") == MONITOR_ID and not first_answer.done():
            if message.get("error") is not None:
                raise ValueError(f"refused to be monitored: {message['error']!r:.200}")
            changed = self._rows.replace(message.get("result"))
            self.problem, self._pause_s = None, FIRST_PAUSE_S
            first_answer.set_result(None)
        if changed.identities:
            self._on_change(changed.identities)
        if changed.tables and self._on_tables is not None:
            self._on_tables()
