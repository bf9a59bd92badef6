# SPDX-License-Identifier: Apache-2.0
"""The publisher's end of the control socket: the log by cursor, and what it asks beside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import orjson

from sentinel import envelope
from sentinel.errors import ControlError, NoDaemonError, ProtocolError

ANSWER_S: Final = 15.0
_CHUNK_BYTES: Final = 256 * 1024


class DaemonLink:
    """Asks the daemon at a socket's path; each question has a connection of its own.

    Raises NoDaemonError where nobody answers, and what `envelope.unwrap` raises.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_known = True
        """Whether the journal that is followed knows any of the entries that were named."""

    async def ask(self, op: str, **members: object) -> Any:
        """The result of one request."""
        async with self._connected({"op": op, **members}) as reader:
            return orjson.loads(await self._answer(reader))

    async def follow(self, ids: Sequence[str]) -> AsyncIterator[list[dict[str, Any]]]:
        """Entries after the first of `ids` that the journal knows, as many as have come.

        First none, as soon as the daemon has answered. Ends when the daemon ends it.
        """
        async with self._connected({"op": "watch", "ids": list(ids)}) as reader:
            began: Any = orjson.loads(await self._answer(reader))
            self.is_known = not ids or bool(began["known"])
            yield []
            unread = b""
            while chunk := await reader.read(_CHUNK_BYTES):
                *lines, unread = (unread + chunk).split(b"\n")
                if len(unread) > envelope.MAX_ANSWER_BYTES:
                    raise ProtocolError(f"{self._path}: an entry without an end")
                yield [self._entry(line) for line in lines]

    @staticmethod
    def _entry(line: bytes) -> dict[str, Any]:
        entry: Any = orjson.loads(line)
        if not isinstance(entry, dict) or "seq" not in entry:
            envelope.unwrap(line + b"\n")
        return dict(entry)

    @contextlib.asynccontextmanager
    async def _connected(self, request: dict[str, object]) -> AsyncIterator[asyncio.StreamReader]:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(
                    self._path, limit=envelope.MAX_ANSWER_BYTES
                )
        except TimeoutError:
            raise NoDaemonError(f"the daemon at {self._path} does not answer") from None
        except OSError as error:
            raise NoDaemonError(
                f"no daemon answers at {self._path} ({error.strerror or error})"
            ) from None
        try:
            writer.write(orjson.dumps(request) + b"\n")
            yield reader
        except OSError as error:
            raise NoDaemonError(
                f"the daemon at {self._path} went away ({error.strerror or error})"
            ) from None
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"{self._path}: what came is no JSON ({error})") from None
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await reader.readuntil(b"\n")
        except TimeoutError:
            raise NoDaemonError(
                f"the daemon at {self._path} has not answered for {ANSWER_S:g} s"
            ) from None
        except asyncio.IncompleteReadError:
            raise NoDaemonError(f"the daemon at {self._path} went away") from None
        except asyncio.LimitOverrunError:
            raise ControlError(f"{self._path}: an answer without an end") from None
        return envelope.unwrap(line)
