# SPDX-License-Identifier: Apache-2.0
"""Links of this network namespace as facts, followed by rtnetlink.

Two sockets: one only listens, one only asks. A notification bears the sequence
number of the request that caused it, so answers and events on one socket could
be taken for each other.

Two things an AF_UNSPEC event does not tell: a bridge member's settings when they
are set through sysfs or by `bridge link set` (an AF_BRIDGE event of the member
tells them), and how many virtual functions a NIC has (asked for again whenever a
NIC comes, goes or changes).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from sentinel.link import LinkFacts
from sentinel.netlink_facts import (
    facts_from_message,
    member_facts,
    virtual_functions_of,
)
from sentinel.netlink_library import (
    NLM_F_DUMP_INTR,
    RTM_DELLINK,
    RTM_NEWLINK,
    RTMGRP_LINK,
    AsyncIPRoute,
    NetlinkError,
)
from sentinel.netlink_socket import RawLink, link_socket

log = logging.getLogger(__name__)
T = TypeVar("T")

RECEIVE_BUFFER_BYTES: Final = 8 << 20
AF_UNSPEC: Final = 0
AF_BRIDGE: Final = 7
RTEXT_FILTER_VF: Final = 1 << 0
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3
ASKED_FOR: Final = RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS
SO_RCVBUFFORCE: Final = 33

# A dump that changed under the kernel's hands is asked for again, within reason:
# what it may have missed is in the events that wait.
DUMP_TRIES: Final = 5
PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
CALM_S: Final = 10.0


class LinkFollower:
    """Tells every link at first, then what changes, and all again when something was lost.

    `on_resync` gets a full list that replaces everything told before; `on_link`
    a link that is new or may have changed; `on_gone` the ifindex of one that was
    deleted or moved to another namespace. All three are called in the event
    loop. An event may tell what a resync has told already, never less than it:
    the subscription is older than the dump.
    """

    def __init__(
        self,
        on_resync: Callable[[list[LinkFacts]], None],
        on_link: Callable[[LinkFacts], None],
        on_gone: Callable[[int], None],
        *,
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        self.resyncs = 0
        """Full dumps after the first one; each stands for events that were lost."""
        self.undecodable = 0
        """Messages that were not understood and left out."""
        self._on_resync = on_resync
        self._on_link = on_link
        self._on_gone = on_gone
        self._receive_buffer_bytes = receive_buffer_bytes
        self._latest: dict[int, LinkFacts] = {}
        self._is_nic_changed = False
        self._events: AsyncIPRoute | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe, dump and tell the links there are; returns when they are told.

        Raises OSError or pyroute2's NetlinkError when rtnetlink cannot be had.
        """
        self._on_resync(await self._subscribe_and_dump())
        self._task = asyncio.create_task(self._follow(), name="links")

    async def wait(self) -> None:
        """Return when stopped; raises what a callback raised."""
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Tell nothing any more; may be called again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._unsubscribe()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s, last_loss_s = PAUSE_S, loop.time()
        while True:
            try:
                messages = await self._next_batch()
            except (OSError, NetlinkError) as problem:
                level = logging.INFO if problem.args[:1] == (errno.ENOBUFS,) else logging.WARNING
                log.log(level, "link events were lost (%s); all links are read again", problem)
                # In a storm that outruns us, a dump per buffer would feed the storm.
                calm = loop.time() - last_loss_s > CALM_S
                pause_s = PAUSE_S if calm else min(2 * pause_s, LONGEST_PAUSE_S)
                links = await self._resync(pause_s)
                last_loss_s = loop.time()
                self.resyncs += 1
                self._on_resync(links)
                continue
            for message in messages:
                self._tell(message)
            if self._is_nic_changed:
                self._is_nic_changed = False
                try:
                    await self._tell_virtual_functions()
                except (OSError, NetlinkError) as problem:
                    log.warning("virtual functions cannot be counted (%s)", problem)

    async def _next_batch(self) -> list[RawLink]:
        assert self._events is not None  # noqa: S101 - set by start() and each resync
        return [message async for message in self._events.get() if isinstance(message, RawLink)]

    async def _resync(self, pause_s: float) -> list[LinkFacts]:
        while True:
            await asyncio.sleep(pause_s)
            try:
                return await self._subscribe_and_dump()
            except (OSError, NetlinkError) as problem:
                log.warning("links cannot be read (%s); trying again", problem)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _subscribe_and_dump(self) -> list[LinkFacts]:
        self._unsubscribe()
        events = link_socket(rcvbuf=self._receive_buffer_bytes)
        self._events = events
        # Beyond net.core.rmem_max; needs CAP_NET_ADMIN.
        with contextlib.suppress(PermissionError):
            events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, self._receive_buffer_bytes)
        await events.bind(groups=RTMGRP_LINK)
        return await self._dump()

    def _unsubscribe(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            # After an error pyroute2's socket raises that error from every call.
            with contextlib.suppress(OSError):
                events.close()

    async def _dump(self) -> list[LinkFacts]:
        links: list[LinkFacts] = []
        async with link_socket() as asked:
            for _ in range(DUMP_TRIES):
                links.clear()
                interrupted = False
                async for message in await asked.link("dump", ext_mask=ASKED_FOR):
                    interrupted |= bool(message["header"]["flags"] & NLM_F_DUMP_INTR)
                    facts = self._understood(partial(_facts, message))
                    if facts is not None:
                        links.append(facts)
                if not interrupted:
                    break
        self._latest = {link.ifindex: link for link in links}
        self._is_nic_changed = False
        return links

    def _tell(self, raw: RawLink) -> None:
        message = self._understood(raw.read)
        if message is None:
            return
        kind, family, ifindex = message.kind, message.family, message.ifindex
        old = self._latest.get(ifindex)
        # An AF_BRIDGE DELLINK says that a port left its bridge, not that it is gone.
        if family == AF_BRIDGE and kind == RTM_NEWLINK and old is not None:
            facts = self._understood(lambda: member_facts(old, message))
            if facts is not None and facts != old:
                self._tell_link(facts)
        elif family == AF_UNSPEC and kind == RTM_DELLINK:
            self._latest.pop(ifindex, None)
            self._is_nic_changed |= old is not None and _is_nic(old)
            self._on_gone(ifindex)
        elif family == AF_UNSPEC and kind == RTM_NEWLINK:
            facts = self._understood(lambda: facts_from_message(message))
            if facts is None:
                return
            if old is not None and virtual_functions_of(message) is None:
                facts = replace(facts, virtual_functions=old.virtual_functions)
            self._is_nic_changed |= facts != old and _is_nic(facts)
            self._tell_link(facts)

    def _tell_link(self, facts: LinkFacts) -> None:
        self._latest[facts.ifindex] = facts
        self._on_link(facts)

    async def _tell_virtual_functions(self) -> None:
        """Ask each NIC how many it has, and tell those that have another number."""
        nics = [link.ifindex for link in self._latest.values() if _is_nic(link)]
        async with link_socket() as asked:
            for ifindex in nics:
                # One that went meanwhile has an event of its own that waits.
                with contextlib.suppress(NetlinkError):
                    told = await self._virtual_functions(asked, ifindex)
                    latest = self._latest[ifindex]
                    if told is not None and told != latest.virtual_functions:
                        self._tell_link(replace(latest, virtual_functions=told))

    async def _virtual_functions(self, asked: AsyncIPRoute, ifindex: int) -> int | None:
        for message in await asked.link("get", index=ifindex, ext_mask=ASKED_FOR):
            # Beside it comes what acknowledges the request.
            if isinstance(message, RawLink):
                read = self._understood(message.read)
                return None if read is None else virtual_functions_of(read) or 0
        return None

    def _understood(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (TypeError, ValueError) as problem:
            self.undecodable += 1
            log.warning("a link message is not understood (%r); left out", problem)
            return None


def _facts(raw: RawLink) -> LinkFacts:
    return facts_from_message(raw.read())


def _is_nic(link: LinkFacts) -> bool:
    return link.kind == "" and link.ethernet
