# SPDX-License-Identifier: Apache-2.0
"""The shell around what is thought of leases: the message ring in, readings of ports, the journal.

Holds no decision. A port is read when the lease watch wants it, and no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from sentinel import abi
from sentinel.decode import PortSlot
from sentinel.decode_message import decode_message
from sentinel.dhcp.facts import PortFacts, QueueReading
from sentinel.dhcp.sentences import Dial
from sentinel.effect import Effect
from sentinel.engine import Engine
from sentinel.errors import JournalError, KernelError
from sentinel.inventory import Device
from sentinel.loader.maps import PinnedMaps
from sentinel.loader.ring import BATCH_RECORDS, MessageRing
from sentinel.queues import Queues
from sentinel.scribe import Scribe

_log = logging.getLogger(__name__)


def dial() -> Dial:
    """What the wall's clock shows at a time of CLOCK_MONOTONIC, as of now."""
    return Dial(time.time_ns() - time.monotonic_ns(), time.localtime().tm_gmtoff)


class Leases:
    """Feeds the engine's lease watch and carries its effects out."""

    def __init__(
        self,
        maps: PinnedMaps,
        engine: Engine,
        scribe: Scribe,
        devices: Mapping[int, Device],
        apply: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._maps = maps
        self._engine = engine
        self._scribe = scribe
        self._devices = devices
        self._apply = apply
        self._ring = MessageRing(maps.fd("tap_messages"))
        self._queues = Queues()
        self._reading: asyncio.Task[None] | None = None

    async def start(self, adopted: Collection[str]) -> None:
        """Remember what an earlier daemon knew, then read what waits.

        `adopted` are the ports that were guarded without a gap since then.
        """
        try:
            kept = await self._scribe.ask(lambda journal: journal.leases())
        except JournalError as unreadable:
            _log.error("leases begin anew: %s", unreadable)
            kept = []
        now = dial()
        for one in kept:
            self._apply(
                self._engine.dhcp.restore(
                    one.key, one.port, one.state, now, is_continuous=one.port in adopted
                )
            )
        asyncio.get_running_loop().add_reader(self._ring.fd, self._read_ring)

    async def stop(self) -> None:
        """Take what is in the ring still, keep what is known, and close."""
        asyncio.get_running_loop().remove_reader(self._ring.fd)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._apply(self._engine.dhcp.stop(time.monotonic_ns(), dial()))
        self._queues.close()
        self._ring.close()

    def _read_ring(self) -> None:
        records = self._ring.drain()
        now = dial()
        for raw in records:
            self._engine.message(decode_message(raw), now)
        self._read_ports()
        if len(records) == BATCH_RECORDS:
            asyncio.get_running_loop().call_soon(self._read_ring)

    def tick(self) -> None:
        """Once a second: deadlines, incidents, the journal, the next readings."""
        now_ns = time.monotonic_ns()
        self._apply(self._engine.dhcp.tick(now_ns, dial()))
        self._read_ports()

    def _read_ports(self) -> None:
        if self._reading is not None and not self._reading.done():
            return
        wanted = self._engine.dhcp.wanted(time.monotonic_ns())
        if wanted:
            self._reading = asyncio.create_task(self._read(wanted), name="readings")

    async def _read(self, ifindexes: list[int]) -> None:
        for ifindex in ifindexes:
            try:
                facts = await self.facts(ifindex)
            except KernelError as gone:
                _log.info("port %d could not be read: %s", ifindex, gone)
                continue
            if facts is not None:
                self._engine.dhcp.read(facts)

    async def facts(self, ifindex: int) -> PortFacts | None:
        """One reading of a port; None if it has no slot any more. Raises KernelError."""
        if ifindex not in self._devices:
            return None
        queue = await self._queues.read(ifindex)
        slot = self._maps.find(ifindex)
        if slot is None:
            return None
        ((_, to_guest),) = self._maps.counters([slot.slot])
        return PortFacts(
            ifindex=ifindex,
            time_ns=time.monotonic_ns(),
            sent_ns=slot.sent_ns,
            received_ns=slot.received_ns,
            missed=self._maps.talk(slot.slot).missed,
            is_cut=slot.latch != abi.TAP_LATCH_OPEN,
            queue=None
            if queue is None
            else QueueReading(
                passed=to_guest.frames - sum(to_guest.dropped),
                taken=queue.taken,
                dropped=queue.dropped,
                backlog_packets=queue.backlog_packets,
                backlog_bytes=queue.backlog_bytes,
            ),
        )

    def last_seen(self, ifindex: int) -> tuple[int | None, int | None]:
        """When a device last sent and last got any frame at all, wall clock; None: never."""
        slot = self._maps.find(ifindex)
        return (None, None) if slot is None else self.clocks(slot, dial())

    def clocks(self, slot: PortSlot, now: Dial) -> tuple[int | None, int | None]:
        """`last_seen` of the device whose slot this is."""
        talk = self._maps.talk(slot.slot)
        offset_ns = now.wall_minus_monotonic_ns
        sent_ns = max(slot.sent_ns, talk.quiet_sent_ns)
        received_ns = max(slot.received_ns, talk.quiet_received_ns)
        return (
            sent_ns + offset_ns if sent_ns else None,
            received_ns + offset_ns if received_ns else None,
        )

    def silent_since(self, ifindex: int) -> int | None:
        """When a port last sent more than ARP, neighbour discovery or DHCP, wall clock."""
        slot = self._maps.find(ifindex)
        if slot is None or not slot.sent_ns:
            return None
        return slot.sent_ns + dial().wall_minus_monotonic_ns

    def missed(self, ifindex: int) -> int:
        """Messages of a port that were never told."""
        slot = self._maps.find(ifindex)
        return 0 if slot is None else self._maps.talk(slot.slot).missed
