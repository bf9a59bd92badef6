# SPDX-License-Identifier: Apache-2.0
"""What the kernel counted of some devices, asked for at this moment by RTM_GETSTATS."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterable
from typing import Final

from sentinel.link import LinkCounters
from sentinel.netlink_library import (
    RTM_NEWSTATS,
    AsyncIPRoute,
    NetlinkDecodeError,
    NetlinkError,
)

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 1.0
MOST_DEVICES: Final = 256
"""At once: more than any path has."""
IFLA_STATS_LINK_64: Final = 1 << 0
"""In a filter mask."""


async def link_counters(ifindexes: Iterable[int]) -> dict[int, LinkCounters]:
    """Counters of those devices that are there, in TIMEOUT_S at the latest; else none at all.

    No more than the first MOST_DEVICES of them. Raises nothing.
    """
    wanted = list(dict.fromkeys(ifindexes))[:MOST_DEVICES]
    try:
        async with asyncio.timeout(TIMEOUT_S):
            # A request waits inside send(2) for the kernel's rtnl lock: not in the loop.
            return await asyncio.to_thread(_read, wanted)
    except (OSError, NetlinkError) as problem:
        log.info("the counters of links cannot be read: %r", problem)
        return {}


def _read(ifindexes: list[int]) -> dict[int, LinkCounters]:
    return asyncio.run(_ask(ifindexes))


async def _ask(ifindexes: list[int]) -> dict[int, LinkCounters]:
    found: dict[int, LinkCounters] = {}
    async with asyncio.timeout(TIMEOUT_S), AsyncIPRoute() as asked:
        for ifindex in ifindexes:
            try:
                answers = await asked.stats("get", ifindex=ifindex, filter_mask=IFLA_STATS_LINK_64)
            except (NetlinkError, NetlinkDecodeError, struct.error):
                # Gone, or an index that does not fit.
                continue
            for message in answers:
                if message["header"]["type"] == RTM_NEWSTATS:
                    stats = message.get_attr("IFLA_STATS_LINK_64")
                    found[ifindex] = LinkCounters(
                        *(stats[f"{way}_{what}"] for way in ("rx", "tx") for what in _COUNTED)
                    )
    return found


_COUNTED: Final = ("packets", "bytes", "dropped")
