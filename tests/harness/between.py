# SPDX-License-Identifier: Apache-2.0
"""What stands between a publisher and its broker and spoils it, on loopback, without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator

LOOPBACK = "127.0.0.1"
CONNECT, PUBLISH, PUBACK, SUBACK = 1, 3, 4, 9
"""Types of control packets (MQTT 5.0 §2.1.2)."""
REFUSES_V5 = b"\x20\x02\x00\x01"
"""CONNACK of 3.1.1: unacceptable protocol version (3.1.1 §3.2.2.3)."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    """One control packet. Raises IncompleteReadError at the end."""
    packet = await reader.readexactly(2)
    while packet[-1] & 0x80:
        packet += await reader.readexactly(1)
    length = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(packet[1:]))
    return packet + await reader.readexactly(length)


class Between:
    """Passes packets on to a broker's port; `spoil` may change what the broker says."""

    def __init__(self, broker_port: int, *, old: bool = False) -> None:
        self.broker_port = broker_port
        self.old = old
        """Knows no MQTT 5."""
        self.swallow_acknowledgements = False
        self.spoil: Callable[[bytes], bytes] = lambda packet: packet
        self.connects: list[int] = []
        """Protocol levels that clients asked for."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await read_packet(reader)
            level = first[first.index(b"MQTT") + 4]
            self.connects.append(level)
            if self.old and level > 4:
                writer.write(REFUSES_V5)
                await writer.drain()
                return
            up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self.broker_port)
            up_writer.write(first)
            upwards = asyncio.ensure_future(self._pass(reader, up_writer))
            try:
                await self._pass_down(up_reader, writer)
            finally:
                upwards.cancel()
                up_writer.close()
        writer.close()

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def _pass_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            packet = await read_packet(reader)
            if packet[0] >> 4 == PUBACK and self.swallow_acknowledgements:
                continue
            writer.write(self.spoil(packet))
            await writer.drain()


@contextlib.contextmanager
def between(serve: Serve) -> Iterator[int]:
    """Serve on a thread with a loop of its own; the port, until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="between")
    thread.start()
    starting = asyncio.start_server(serve, LOOPBACK, 0)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:

        async def end() -> None:
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
