# SPDX-License-Identifier: Apache-2.0
"""Looks whether the sources know something new, for VMs that no tap tells of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sentinel.identity.resolve import IdentityResolver

LOOK_EVERY_S: Final = 0.5
"""One stat(2) of libvirt's directory; Open vSwitch tells by itself."""
PROCESSES_EVERY_S: Final = 10.0


class SourceWatch:
    """Calls `on_change` when the resolver's `ovs_facts` or `vm_ports` are others.

    Also at first, as soon as something is known. What Open vSwitch changes is told
    at once, what libvirt does within `every_s`, a qemu without libvirt within
    `processes_every_s`. `on_change` is called in the event loop.
    """

    def __init__(
        self,
        resolver: IdentityResolver,
        on_change: Callable[[], None],
        *,
        every_s: float = LOOK_EVERY_S,
        processes_every_s: float = PROCESSES_EVERY_S,
    ) -> None:
        self._resolver = resolver
        self._on_change = on_change
        self._every_s = every_s
        self._processes_every_s = processes_every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; the first look is under way when this returns."""
        self._resolver.on_change = self._on_change
        self._task = asyncio.create_task(self._run(), name="identity-sources")

    async def wait(self) -> None:
        """Return when stopped; raises what `on_change` raised."""
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Tell nothing any more; the resolver stays open. May be called again."""
        self._resolver.on_change = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        processes_due_s = loop.time()
        while True:
            at_processes = loop.time() >= processes_due_s
            if at_processes:
                processes_due_s = loop.time() + self._processes_every_s
            await self._resolver.look(at_processes=at_processes)
            await asyncio.sleep(self._every_s)
