# SPDX-License-Identifier: Apache-2.0
"""The control socket: takes requests, hands them to a `Handler`, writes the answers.

Whoever connects is known by the kernel's word (SO_PEERCRED, SO_PEERGROUPS), not
by what it says. Nothing a client does or leaves undone may cost others more than
a bounded amount: connections, requests, silence and unread answers all have
limits, and one connection is accepted per turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
import time
from pathlib import Path

from sentinel import envelope
from sentinel.control_handler import Handler, view
from sentinel.control_limits import ControlCounters, Limits
from sentinel.control_lock import ControlSocket
from sentinel.control_peer import RefusalGate, peer_of
from sentinel.control_text import encode
from sentinel.control_watch import Watching
from sentinel.errors import ProtocolError, TapsentinelError
from sentinel.protocol import (
    Carry,
    Notices,
    Order,
    Peer,
    Quarantine,
    Release,
    Reload,
    Report,
    Request,
    Watch,
    code_of,
    decode_request,
)

_log = logging.getLogger(__name__)

_NO_RIGHT = envelope.complaint(
    envelope.REFUSED,
    "only root and members of the groups set as control.group and control.readers may ask; "
    "this attempt is journaled",
)
_NO_ORDERS = envelope.complaint(
    envelope.REFUSED,
    "only root and members of the group set as control.group may give orders; this attempt "
    "is journaled",
)
_NOT_THE_PUBLISHER = envelope.complaint(
    envelope.REFUSED,
    "only root and the user set as mqtt.user may bring what came over MQTT; this attempt is "
    "journaled",
)


class _TooSlowError(Exception):
    pass


class ControlServer:
    """Serves a handler at a socket's path from `start()` to `stop()`.

    `group` is the number of the group whose members may order beside root, `readers`
    of the one whose members may only look, `publisher_uid` of the user who may bring
    what came over MQTT; None: nobody.
    """

    def __init__(
        self,
        path: Path,
        group: int | None,
        handler: Handler,
        limits: Limits | None = None,
        readers: int | None = None,
        publisher_uid: int | None = None,
    ) -> None:
        self.counters = ControlCounters()
        self._place = ControlSocket(path)
        self._group, self._readers = group, readers
        self._publisher_uid = publisher_uid
        self._handler = handler
        self._limits = limits or Limits()
        self._listening: socket.socket | None = None
        self._acceptor: asyncio.Task[None] | None = None
        self._clients: dict[asyncio.Task[None], Peer] = {}
        self._orders: set[asyncio.Task[object]] = set()
        self._wakes: set[asyncio.Event] = set()
        self._views = asyncio.Semaphore(4)
        self._gate = RefusalGate(int(self._limits.refusals_s * 1e9))
        self._gate_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Open the socket. Raises PinsBusyError or ControlError."""
        self._listening = self._place.listen(backlog=128)
        self._acceptor = asyncio.create_task(self._accept(self._listening), name="control")

    async def stop(self) -> None:
        """Take no more requests, let orders end that have begun, close. Idempotent."""
        if self._acceptor is not None:
            self._acceptor.cancel()
            await asyncio.wait({self._acceptor})
            self._acceptor = None
        if self._orders:
            await asyncio.wait(self._orders, timeout=self._limits.write_s)
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._gate_timer is not None:
            self._gate_timer.cancel()
        self._gate_timer = None
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self._place.close()

    def allow(self, group: int | None, readers: int | None, publisher_uid: int | None) -> None:
        """Go by others; hang up on whoever may not look any more."""
        self._group, self._readers, self._publisher_uid = group, readers, publisher_uid
        for task, peer in self._clients.items():
            if not peer.may_look(group, readers):
                task.cancel()

    def wake_watchers(self) -> None:
        """New events stand in the journal. Cheap: call it as often as there are any."""
        for wake in self._wakes:
            wake.set()

    @property
    def watchers(self) -> int:
        """How many clients follow the events."""
        return len(self._wakes)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("control socket: cannot accept: %s", error.strerror)
                await asyncio.sleep(0.2)
                continue
            self._admit(connection)
            await asyncio.sleep(0)

    def _admit(self, connection: socket.socket) -> None:
        try:
            peer = peer_of(connection)
        except OSError:
            connection.close()
            return
        if not peer.may_look(self._group, self._readers):
            self.counters.refused += 1
            _turn_away(connection, _NO_RIGHT)
            self._tell_refused(peer)
            return
        mine = sum(1 for client in self._clients.values() if client.uid == peer.uid)
        too_many = len(self._clients) >= self._limits.clients
        if too_many or (peer.uid != 0 and mine >= self._limits.clients_per_uid):
            self.counters.turned_away += 1
            _turn_away(
                connection,
                envelope.complaint(
                    envelope.REFUSED,
                    f"too many clients at the control socket ({len(self._clients)} now): "
                    "try again, and see who keeps connections open",
                ),
            )
            return
        task = asyncio.create_task(self._serve(connection, peer), name="control client")
        self._clients[task] = peer
        task.add_done_callback(self._clients.pop)

    def _tell_refused(self, peer: Peer) -> None:
        if self._gate.refused(peer, time.monotonic_ns()):
            self._tell(peer, 1)
        if self._gate_timer is None:
            self._set_gate_timer()

    def _set_gate_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._gate_timer = loop.call_later(self._limits.refusals_s, self._tell_waiting)

    def _tell_waiting(self) -> None:
        self._gate_timer = None
        for peer, times in self._gate.due(time.monotonic_ns()):
            self._tell(peer, times)
        if not self._gate.is_idle():
            self._set_gate_timer()

    def _tell(self, peer: Peer, times: int) -> None:
        try:
            self._handler.peer_refused(peer, times)
        except Exception:
            _log.exception("control socket: a refusal of uid %d could not be told", peer.uid)

    async def _serve(self, connection: socket.socket, peer: Peer) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(
                sock=connection, limit=envelope.MAX_REQUEST_BYTES
            )
        except OSError:
            connection.close()
            return
        writer.transport.set_write_buffer_limits(high=self._limits.unread_bytes)
        try:
            await self._converse(reader, writer, peer)
            writer.close()
            async with asyncio.timeout(self._limits.write_s):
                await writer.wait_closed()
        except (_TooSlowError, TimeoutError):
            self.counters.slow_readers += 1
        except OSError:
            pass  # the client has gone
        except Exception:
            _log.exception("control socket: a client of uid %d failed", peer.uid)
        finally:
            writer.transport.abort()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer
    ) -> None:
        while True:
            try:
                line = await self._read_line(reader)
                if not line:
                    return
                request = decode_request(line)
            except ProtocolError as error:
                self.counters.bad_requests += 1
                writer.write(envelope.complaint(envelope.USAGE, str(error)))
                return
            if isinstance(request, Watch):
                watch = Watching(self._handler, self._limits, self._wakes, self._drained)
                if not await watch.follow(request, reader, writer):
                    self.counters.turned_away += 1
                return
            answer = await self._answer(request, peer, writer)
            if answer is None:
                self.counters.abandoned_orders += 1
                return
            self.counters.answered += 1
            writer.write(answer)
            await self._drained(writer)

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        """The next request; empty when the client has hung up, even halfway through one."""
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            raise ProtocolError(
                f"a request is one line of at most {envelope.MAX_REQUEST_BYTES} bytes"
            ) from None
        except TimeoutError:
            raise ProtocolError(
                f"no complete request within {self._limits.request_s:g} s"
            ) from None

    async def _answer(
        self, request: Request, peer: Peer, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """The answer line; None for an order whose sender no longer waits for it.

        Such a sender has given up and acted otherwise; an order must not come true later.
        """
        try:
            match request:
                case Quarantine() | Release() | Reload() if not peer.may_order(self._group):
                    self.counters.refused += 1
                    self._tell_refused(peer)
                    return _NO_ORDERS
                case Carry() | Notices() | Report() if not peer.may_carry(self._publisher_uid):
                    self.counters.refused += 1
                    self._tell_refused(peer)
                    return _NOT_THE_PUBLISHER
                case Quarantine() | Release() | Reload() | Carry():
                    if _hung_up(writer):
                        return None
                    order = asyncio.create_task(self._order(request, peer))
                    self._orders.add(order)
                    order.add_done_callback(self._orders.discard)
                    # Once begun it is carried through, whatever becomes of the client.
                    return envelope.wrap(encode(await asyncio.shield(order)))
                case _:
                    async with self._views:
                        return envelope.wrap(encode(await view(self._handler, request)))
        except TapsentinelError as error:
            return envelope.complaint(code_of(error), str(error))
        except Exception:
            _log.exception("control socket: a request failed")
            return envelope.complaint(
                envelope.INTERNAL, "the daemon failed at this request: see its log"
            )

    async def _order(self, order: Order | Carry, peer: Peer) -> object:
        match order:
            case Quarantine(port=port, for_ns=hold_ns, reason=reason):
                return await self._handler.quarantine(port, hold_ns, reason, peer)
            case Release(port=port, reason=reason):
                return await self._handler.release(port, reason, peer)
            case Reload():
                return await self._handler.reload(peer)
            case Carry(what="order", message=message, via=via):
                return await self._handler.carried_order(message, via)
            case Carry(message=message, via=via):
                return await self._handler.carried_notice(message, via)

    async def _drained(self, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._limits.write_s):
                await writer.drain()
        except TimeoutError:
            raise _TooSlowError from None


def _turn_away(connection: socket.socket, answer: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        connection.send(answer)


def _hung_up(writer: asyncio.StreamWriter) -> bool:
    """Has the client closed its end? One that has merely ended its requests has not."""
    descriptor = writer.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(events & select.POLLHUP for _, events in poller.poll(0))
