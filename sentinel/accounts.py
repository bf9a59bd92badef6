# SPDX-License-Identifier: Apache-2.0
"""Accounts for what happened in the kernel without the daemon: latches, orders, incidents."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from sentinel.attachments import Attachments
from sentinel.cuts import LatchSeen
from sentinel.decode import CHECKS
from sentinel.effect import Effect
from sentinel.engine import Engine
from sentinel.errors import JournalError
from sentinel.inventory import Device, Inventory
from sentinel.loader.maps import PinnedMaps
from sentinel.policy import relapse_count
from sentinel.scribe import Scribe

INCIDENTS_LOOKED_AT: Final = 1000
RELAPSES_LOOK_BACK_HOLDS: Final = 30
"""Times hold.max: what is older than this many of the longest holds is no relapse."""

_log = logging.getLogger(__name__)


class Accounts:
    """Brings the books up to date with the maps."""

    def __init__(
        self,
        maps: PinnedMaps,
        scribe: Scribe,
        engine: Engine,
        inventory: Inventory,
        attachments: Attachments,
        apply: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._maps = maps
        self._scribe = scribe
        self._engine = engine
        self._inventory = inventory
        self._attachments = attachments
        self._apply = apply
        self._turn = asyncio.Lock()

    async def take_over(self) -> None:
        """Quarantines of the journal, and orders that were given while nobody listened."""
        try:
            held = await self._scribe.ask(lambda journal: journal.active_quarantines())
        except JournalError as unreadable:
            _log.error("quarantines are taken from the kernel alone: %s", unreadable)
            held = []
        self._engine.cuts.remember(held)
        self._take_orders()

    def _take_orders(self) -> None:
        while (order := self._maps.pop_order()) is not None:
            device = self._inventory.devices().get(order.ifindex)
            self._apply(self._engine.cuts.told_offline(order, device))

    async def reopen_incidents(self, device: Device) -> None:
        """Open incidents of a device whose counters ran on without us."""
        slot = self._maps.find(device.ifindex)
        if slot is None:
            return
        counters = self._maps.counters([slot.slot])[0]
        if not any(counters[0].offences(check) for check in CHECKS):
            return
        try:
            known = await self._scribe.ask(
                lambda journal: journal.incidents(port=device.name, limit=INCIDENTS_LOOKED_AT)
            )
        except JournalError:
            return
        for check in CHECKS:
            own = [i for i in known if i.check == check and i.ifindex == device.ifindex]
            settled = sum(i.frames for i in own if i.closed_wall_ns is not None)
            total = counters[0].offences(check)
            settled = settled if settled <= total else 0
            self._engine.incidents.settle(device.ifindex, 0, check, settled)
            for incident in own:
                if incident.closed_wall_ns is None:
                    key = self._engine.reopen(incident, counters, settled, time.time_ns())
                    if key is not None:
                        self._scribe.know_incident(key, incident.id)

    async def settle(self) -> None:
        """Account for every latch."""
        async with self._turn:
            self._take_orders()
            fresh, opened = self._engine.latches(self._maps.slots())
            for _, quarantine in opened:
                self._apply(self._engine.cuts.opened_elsewhere(quarantine, time.time_ns()))
            for slot in fresh:
                device = self._inventory.devices().get(slot.ifindex)
                if device is None or slot.ifindex not in self._attachments.attached:
                    continue
                relapses = await self._relapses(device)
                cut = self._maps.cut(slot.slot)
                ago_ns = max(0, time.monotonic_ns() - slot.latched_at_ns)
                seen = LatchSeen(
                    slot,
                    cut,
                    time.time_ns() - ago_ns,
                    relapses,
                    random.uniform(-1.0, 1.0),  # noqa: S311
                )
                self._apply(self._engine.latch(seen))

    async def _relapses(self, device: Device) -> int:
        forget_ns = self._engine.hold.max_ns
        now_ns = time.time_ns()
        try:
            past = await self._scribe.ask(
                lambda journal: journal.past_cuts(
                    device.name, device.vm, now_ns - RELAPSES_LOOK_BACK_HOLDS * forget_ns
                )
            )
        except JournalError:
            return 0
        return relapse_count(past, now_ns, forget_ns)
