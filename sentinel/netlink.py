# SPDX-License-Identifier: Apache-2.0
"""Links of this network namespace as facts, followed by rtnetlink.

Two sockets: one only listens, one only asks. A notification bears the sequence
number of the request that caused it, so answers and events on one socket could
be taken for each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, Literal

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import NLM_F_DUMP_INTR
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK, RTMGRP_LINK

from sentinel.link import LinkFacts, device_name

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES: Final = 8 << 20
AF_UNSPEC: Final = 0
IFF_UP: Final = 0x1
IFF_LOWER_UP: Final = 0x10000
ARPHRD_ETHER: Final = 1
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3
SO_RCVBUFFORCE: Final = 33
TUN_TYPES: Final[dict[int, Literal["tun", "tap"]]] = {1: "tun", 2: "tap"}

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

    async def _next_batch(self) -> list[Any]:
        assert self._events is not None  # noqa: S101 - set by start() and each resync
        return [message async for message in self._events.get()]

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
        events = AsyncIPRoute(rcvbuf=self._receive_buffer_bytes)
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
        async with AsyncIPRoute() as asked:
            for _ in range(DUMP_TRIES):
                links.clear()
                interrupted = False
                async for message in await asked.link("dump", ext_mask=RTEXT_FILTER_SKIP_STATS):
                    interrupted |= bool(message["header"]["flags"] & NLM_F_DUMP_INTR)
                    facts = self._facts(message)
                    if facts is not None:
                        links.append(facts)
                if not interrupted:
                    break
        return links

    def _tell(self, message: Any) -> None:
        # An AF_BRIDGE DELLINK says that a port left its bridge, not that it is gone.
        if message.get("family") != AF_UNSPEC:
            return
        # message["event"] may say otherwise.
        kind = message["header"]["type"]
        if kind == RTM_DELLINK:
            self._on_gone(message["index"])
        elif kind == RTM_NEWLINK and (facts := self._facts(message)) is not None:
            self._on_link(facts)

    def _facts(self, message: Any) -> LinkFacts | None:
        try:
            return facts_from_message(message)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            self.undecodable += 1
            log.warning("a link message is not understood (%r); left out", problem)
            return None


def facts_from_message(message: Any) -> LinkFacts:
    """Facts of an AF_UNSPEC NEWLINK; raises ValueError for one without index or name."""
    name = message.get_attr("IFLA_IFNAME")
    if not message["index"] or not name:
        raise ValueError(f"no index or no name: {message['index']!r} {name!r}")
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    ethernet = message["ifi_type"] == ARPHRD_ETHER
    lower = message.get_attr("IFLA_LINK")
    is_elsewhere = message.get_attr("IFLA_LINK_NETNSID") is not None
    return LinkFacts(
        ifindex=message["index"],
        name=device_name(name),
        kind=kind,
        tun_type=_tun_type(info, ethernet) if kind == "tun" else None,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu_bytes=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or None,
        # A physical device may name itself.
        lower=None if is_elsewhere or lower in (0, message["index"]) else lower,
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP),
        ethernet=ethernet,
        alias=device_name(message.get_attr("IFLA_IFALIAS") or ""),
    )


def _tun_type(info: Any, ethernet: bool) -> Literal["tun", "tap"]:
    data = info.get_attr("IFLA_INFO_DATA")
    number = data.get_attr("IFLA_TUN_TYPE") if data else None
    # Only a tap carries Ethernet, should a kernel not name the type.
    return TUN_TYPES.get(number or 0) or ("tap" if ethernet else "tun")
