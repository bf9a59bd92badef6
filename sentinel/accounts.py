# SPDX-License-Identifier: Apache-2.0
"""Accounts for what happened in the kernel without the daemon: latches, orders, incidents."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from sentinel import abi
from sentinel.attachments import Attachments
from sentinel.cuts import LatchSeen
from sentinel.decode import CHECKS, Counters, Order, decode_order
from sentinel.effect import Effect
from sentinel.engine import Engine
from sentinel.errors import JournalError, KernelError
from sentinel.event import Incident
from sentinel.inventory import Device, Inventory
from sentinel.loader.maps import PinnedMaps
from sentinel.policy import relapse_count
from sentinel.scribe import Scribe

MOST_LOOKED_AT: Final = 1000
DEVICES_AT_ONCE: Final = 64
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
        self._told: list[Order] = []
        """Orders in the pins whose journal entries still wait for the disk."""

    async def take_over(self) -> None:
        """Quarantines of the journal, and orders that were given while nobody listened."""
        try:
            held = await self._scribe.ask(lambda journal: journal.active_quarantines())
        except JournalError as unreadable:
            _log.error("quarantines are taken from the kernel alone: %s", unreadable)
            held = []
        self._engine.cuts.remember(held)
        await self._take_orders()

    def keep_order(self, order: Order) -> None:
        """Keep an order in the pins until the disk has what was journaled of it."""
        try:
            self._maps.push_order(order)
        except KernelError as full:
            _log.error("an order is kept in memory alone: %s", full)
            return
        self._told.append(decode_order(order.encode()))

    async def _take_orders(self) -> None:
        """Journal orders that are kept in the pins; each stays there until it is on the disk.

        A kill between two steps makes the next daemon journal an order twice, never not at all.
        """
        waits = bool(self._told) and await self._journal_waits()
        first_kept: Order | None = None
        while (order := self._maps.oldest_order()) is not None and order != first_kept:
            if order not in self._told:
                device = self._inventory.devices().get(order.ifindex)
                effects = list(self._engine.told_offline(order, device))
                is_kept = not await self._scribe.persist(effects)
                if is_kept:
                    self._told.append(order)
                    waits = True
            else:
                is_kept = waits
                if not is_kept:
                    self._told.remove(order)
            if is_kept:
                # To the end, so that those behind it are seen.
                first_kept = first_kept or order
                try:
                    self._maps.push_order(order)
                except KernelError:
                    return
            self._maps.pop_order()

    async def _journal_waits(self) -> bool:
        status = await self._scribe.ask(lambda journal: journal.status())
        return status.pending > 0

    async def reopen_incidents(self) -> None:
        """Go on with incidents that an earlier daemon left open; end those of what is gone."""
        slots = {slot.ifindex: slot.slot for slot in self._maps.slots()}
        devices = [one for one in self._inventory.devices().values() if one.ifindex in slots]
        known: list[Incident] = []
        try:
            known = await self._scribe.ask(lambda journal: journal.incidents(limit=MOST_LOOKED_AT))
            known += await self._scribe.ask(
                lambda journal: journal.incidents(limit=MOST_LOOKED_AT, open_only=True)
            )
        except JournalError as unreadable:
            _log.error("incidents begin anew: %s", unreadable)
        incidents = {incident.id: incident for incident in known}.values()
        open_on = {one.ifindex for one in incidents if one.closed_wall_ns is None}
        counters: dict[int, tuple[Counters, Counters]] = {}
        # Those of all devices at once would be what the process needs most memory for.
        for start in range(0, len(devices), DEVICES_AT_ONCE):
            some = devices[start : start + DEVICES_AT_ONCE]
            sums = self._maps.counters([slots[device.ifindex] for device in some])
            for device, both in zip(some, sums, strict=True):
                self._settle_incidents(device, both, incidents)
                if device.ifindex in open_on:
                    counters[device.ifindex] = both
        now_ns = time.time_ns()
        for incident in incidents:
            if incident.closed_wall_ns is not None:
                continue
            sides = counters.get(incident.ifindex)
            key = self._engine.reopen(incident, sides, now_ns)
            if key is None:
                end = self._engine.incidents.end_kept(incident, now_ns)
                self._scribe.know_incident(end.key, incident.id)
                self._apply([end])
            else:
                self._scribe.know_incident(key, incident.id)

    def _settle_incidents(
        self,
        device: Device,
        counters: tuple[Counters, Counters],
        incidents: Iterable[Incident],
    ) -> None:
        """Offences that incidents stand for already are no new ones'."""
        is_uplink = device.role == "uplink"
        direction = abi.TAP_OUT if is_uplink else abi.TAP_IN
        for check in CHECKS:
            total = counters[direction].offences(check)
            settled = sum(
                one.frames
                for one in incidents
                if one.check == check
                and one.uplink == is_uplink
                and (is_uplink or (one.ifindex, one.port) == (device.ifindex, device.name))
                and (is_uplink or one.closed_wall_ns is not None)
            )
            # More than were counted: those were an earlier device's of this number.
            if 0 < settled <= total:
                self._engine.incidents.settle(device.ifindex, direction, check, settled)

    async def settle(self) -> None:
        """Account for every latch."""
        async with self._turn:
            await self._take_orders()
            fresh, opened = self._engine.latches(self._maps.slots())
            for _, quarantine in opened:
                self._apply(self._engine.cuts.opened_elsewhere(quarantine, time.time_ns()))
            for slot in fresh:
                device = self._inventory.devices().get(slot.ifindex)
                if device is None or slot.ifindex not in self._attachments.attached:
                    continue
                relapses = await self.relapses(device)
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

    async def was_cut(self, device: Device, since_ns: int) -> bool:
        """Whether a check, here or elsewhere, has cut this port's VM here since then."""
        try:
            past = await self._scribe.ask(
                lambda journal: journal.past_cuts(device.name, device.vm, since_ns)
            )
        except JournalError:
            return False
        return any(cut.cause != "order" for cut in past)

    async def relapses(self, device: Device) -> int:
        """How many cuts in a row a new one of this port would follow."""
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
