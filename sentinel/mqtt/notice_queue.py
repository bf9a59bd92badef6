# SPDX-License-Identifier: Apache-2.0
"""Notices of other hosts on their way to the daemon: bounded, and fair between hosts. Pure.

A broker tells all that it has retained at once. Who tells more than there is room for
pushes out none but its own.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from sentinel import signed
from sentinel.errors import UntrustedError
from sentinel.mqtt import topics
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOutError

MOST: Final = 8192
MOST_PER_HOST: Final = 512
MOST_BYTES: Final = 16 << 20

NO_NOTICE: Final = "no signed message"
OF_ANOTHER: Final = "in another's name than the topic's"
NO_ROOM: Final = "without room to wait"


def notice_of(told: Incoming, root: str, followed: frozenset[str]) -> tuple[str, str] | None:
    """Host and message; None for what is nothing to us. Raises LeftOutError.

    `followed` are the hosts whose word counts here, as topics write them.
    """
    if not told.payload:
        return None  # taken back by its host, or outlived: the daemon knows by its expiry
    host = told.topic.removeprefix(f"{root}/").partition("/notices/")[0]
    if host not in followed:
        return None
    try:
        by = signed.named(told.payload)
        message = told.payload.decode()
    except (UntrustedError, UnicodeDecodeError):
        raise LeftOutError(NO_NOTICE) from None
    if topics.level(by) != host:
        raise LeftOutError(OF_ANOTHER)
    return by, message


class NoticeQueue:
    """First in, first out."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, str]] = deque()
        self._by_host: Counter[str] = Counter()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, host: str, message: str) -> None:
        """Raises LeftOutError if there is no room."""
        size = len(message)
        if (
            len(self._waiting) >= MOST
            or self._by_host[host] >= MOST_PER_HOST
            or self._bytes + size > MOST_BYTES
        ):
            raise LeftOutError(NO_ROOM)
        self._waiting.append((host, message))
        self._by_host[host] += 1
        self._bytes += size

    def first(self) -> str:
        """The message whose turn it is. Raises IndexError if there is none."""
        return self._waiting[0][1]

    def drop_first(self) -> None:
        """It has been carried. Raises IndexError if there is none."""
        host, message = self._waiting.popleft()
        self._bytes -= len(message)
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
