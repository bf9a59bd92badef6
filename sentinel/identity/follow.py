# SPDX-License-Identifier: Apache-2.0
"""Asks again whose a port is: soon after it appears, when a source says so, and now and then.

A VM's rows and files are written after its tap appears, and a persistent tap
may be another VM's tomorrow without its link changing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from sentinel.identity.resolve import IdentityResolver
from sentinel.vm import VmIdentity

log = logging.getLogger(__name__)

ASK_AFTER_S: Final = (0.0, 0.25, 1.0, 3.0, 10.0, 30.0)
ASK_EVERY_S: Final = 60.0
GATHER_S: Final = 0.02


class IdentityFollower:
    """Tells `on_identity(name, vm)` at first, and whenever it is another than told before.

    The first telling may be UNKNOWN_VM. `on_identity` is called in the event loop.
    """

    def __init__(
        self,
        resolver: IdentityResolver,
        on_identity: Callable[[str, VmIdentity], None],
        *,
        ask_after_s: Sequence[float] = ASK_AFTER_S,
        ask_every_s: float = ASK_EVERY_S,
    ) -> None:
        self._resolver = resolver
        self._on_identity = on_identity
        self._ask_after_s = ask_after_s
        self._ask_every_s = ask_every_s
        self._due_s: dict[str, list[float]] = {}
        self._told: dict[str, VmIdentity] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; names may be followed before and after."""
        self._resolver.on_hint = self._hinted
        self._task = asyncio.create_task(self._run(), name="identities")

    async def wait(self) -> None:
        """Return when stopped; raises what `on_identity` raised."""
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Tell nothing any more; the resolver stays open. May be called again."""
        self._resolver.on_hint = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def follow(self, names: Iterable[str]) -> None:
        """Ask for these from now on; for one that is followed already, begin anew."""
        now_s = asyncio.get_running_loop().time()
        for name in names:
            self._due_s[name] = [now_s + after_s for after_s in self._ask_after_s]
        self._wake.set()

    def forget(self, name: str) -> None:
        """The port is gone: ask no more, and tell anew if it comes back."""
        self._due_s.pop(name, None)
        self._told.pop(name, None)

    def _hinted(self, names: Collection[str]) -> None:
        now_s = asyncio.get_running_loop().time()
        for name in names:
            if name in self._due_s:
                self._due_s[name].insert(0, now_s)
                self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_s = min((due_s[0] for due_s in self._due_s.values()), default=None)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._wake.wait()
            # One reading of the sources serves all that come together.
            await asyncio.sleep(GATHER_S)
            now_s = loop.time()
            names = [name for name, due_s in self._due_s.items() if due_s[0] <= now_s]
            for name in names:
                later = [at_s for at_s in self._due_s[name] if at_s > now_s]
                self._due_s[name] = later or [now_s + self._ask_every_s]
            for name, vm in (await self._resolver.resolve(names)).items():
                if name in self._due_s and self._told.get(name) != vm:
                    self._told[name] = vm
                    self._on_identity(name, vm)
