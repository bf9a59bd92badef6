# SPDX-License-Identifier: Apache-2.0
"""How far the guest's side of a port has got with its frames, asked when a doubt arises.

A tap counts a frame as transmitted when the process behind it reads it, so
`taken` that stands still while frames pass says that nobody drains the queue. A
queue that is full shows in `dropped`, or in the qdisc's backlog where the driver
stops its queue instead of dropping.

Two requests for one device, whatever else the host has: RTM_GETSTATS with its
64-bit counters alone, and RTM_GETQDISC for its root. The latter must ask for an
echo, without which the kernel answers to `tc monitor` only; a dump of qdiscs
ignores the device and tells those of all.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from sentinel.netlink_library import (
    RTM_NEWQDISC,
    RTM_NEWSTATS,
    TC_H_ROOT,
    AsyncIPRoute,
    NetlinkDecodeError,
    NetlinkError,
)

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 1.0
IFLA_STATS_LINK_64: Final = 1 << 0
"""In a filter mask."""
WITHOUT_A_QUEUE: Final = frozenset({"noqueue", "noop"})
UNREADABLE: Final = (
    OSError,
    NetlinkError,
    NetlinkDecodeError,
    # Closed meanwhile.
    RuntimeError,
    # An index or an answer that does not fit, in pyroute2 or here.
    struct.error,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


class QueueNow(NamedTuple):
    """One reading of one device."""

    taken: int
    """Its tx_packets: frames that were read from the tap, ever."""
    dropped: int
    """Its tx_dropped: frames that found its queue full, ever."""
    backlog_packets: int | None
    """In its root qdisc and those below; None: it has none that queues."""
    backlog_bytes: int | None


class Queues:
    """Reads devices of this network namespace; `close` when done."""

    def __init__(self) -> None:
        # A request waits inside send(2) for the kernel's rtnl lock: not in the loop.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="queues")
        self._turn = asyncio.Lock()

    async def read(self, ifindex: int) -> QueueNow | None:
        """A device's counters, TIMEOUT_S after its turn at the latest; None if they cannot be had.

        Turns are taken in the order of asking, one at a time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with self._turn, asyncio.timeout(TIMEOUT_S):
                return await loop.run_in_executor(self._worker, _read, ifindex)
        except UNREADABLE as problem:
            log.info("the queue of device %d cannot be read: %r", ifindex, problem)
            return None

    def close(self) -> None:
        """Begin no reading any more; one that runs ends by itself."""
        self._worker.shutdown(wait=False, cancel_futures=True)


def _read(ifindex: int) -> QueueNow:
    return asyncio.run(_ask(ifindex))


async def _ask(ifindex: int) -> QueueNow:
    # A socket of its own for each reading: pyroute2 keeps acknowledgements nobody
    # waits for as long as the socket lives.
    async with asyncio.timeout(TIMEOUT_S), AsyncIPRoute(nlm_echo=True) as asked:
        counted = await asked.stats("get", ifindex=ifindex, filter_mask=IFLA_STATS_LINK_64)
        qdiscs = await asked.tc("get", index=ifindex, parent=TC_H_ROOT)
    (counters,) = _of_type(counted, RTM_NEWSTATS)
    stats = counters.get_attr("IFLA_STATS_LINK_64")
    return QueueNow(
        stats["tx_packets"], stats["tx_dropped"], *_backlog(_of_type(qdiscs, RTM_NEWQDISC))
    )


def _of_type(messages: list[Any], kind: int) -> list[Any]:
    """Without the acknowledgement, which pyroute2 hands out if nothing came before it."""
    return [message for message in messages if message["header"]["type"] == kind]


def _backlog(qdiscs: list[Any]) -> tuple[int, int] | tuple[None, None]:
    """(packets, bytes) that wait; mq's own figures are the sum of its queues'."""
    # A device that was never up has no qdisc that the kernel would tell of.
    if not qdiscs:
        return None, None
    root = qdiscs[0]
    if root.get_attr("TCA_KIND") in WITHOUT_A_QUEUE:
        return None, None
    queue = root.get_nested("TCA_STATS2", "TCA_STATS_QUEUE")
    return queue["qlen"], queue["backlog"]
