# SPDX-License-Identifier: Apache-2.0
"""Ports whose guest another host gave notice of: relapses and fuse asked, then cut or told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from sentinel.accounts import Accounts
from sentinel.attachments import Attachments
from sentinel.effect import Effect
from sentinel.engine import Engine
from sentinel.inventory import Inventory
from sentinel.loader.maps import PinnedMaps
from sentinel.validity import SKEW_NS


class Newcomers:
    """Settles what the engine's fleet watch wants."""

    def __init__(
        self,
        maps: PinnedMaps,
        engine: Engine,
        inventory: Inventory,
        attachments: Attachments,
        accounts: Accounts,
        apply: Callable[[Iterable[Effect]], None],
    ) -> None:
        self._maps = maps
        self._engine = engine
        self._inventory = inventory
        self._attachments = attachments
        self._accounts = accounts
        self._apply = apply
        self._turn = asyncio.Lock()

    async def settle(self) -> None:
        """Do what is wanted, for every port that is guarded."""
        wanted = self._engine.fleet.wanted
        async with self._turn:
            for ifindex, notice in list(wanted.items()):
                device = self._inventory.devices().get(ifindex)
                if device is None or ifindex not in self._attachments.attached:
                    continue
                was_cut = await self._accounts.was_cut(device, notice.valid.issued_ns - SKEW_NS)
                relapses = await self._accounts.relapses(device)
                # The journal took its time, and the port may be another's by now.
                if self._inventory.devices().get(ifindex) != device:
                    continue
                if wanted.get(ifindex) != notice or self._maps.find(ifindex) is None:
                    continue
                if was_cut:
                    # By an earlier daemon, or for another tap: a notice cuts once.
                    self._engine.fleet.pass_over(device, notice)
                    continue
                self._apply(
                    self._engine.known_elsewhere(
                        device,
                        notice,
                        relapses,
                        random.uniform(-1.0, 1.0),  # noqa: S311
                        self._maps.state().quarantined,
                        time.time_ns(),
                    )
                )
