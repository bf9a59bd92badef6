# SPDX-License-Identifier: Apache-2.0
"""One of a key and window at once, the rest together when it is over. Pure.

Who has no right may knock as often as it likes, and must not fill the journal with it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ItemT = TypeVar("ItemT")


class WindowGate(Generic[KeyT, ItemT]):
    """Tells at most `most` keys apart; those that come when there are so many are `beyond`.

    `window_ns` is how long a key's window stays open; clocks are passed in and rise.
    """

    def __init__(self, window_ns: int, most: int, beyond: KeyT) -> None:
        self._window_ns = window_ns
        self._most = most
        self._beyond = beyond
        self._opened_ns: dict[KeyT, int] = {}
        self._waiting: dict[KeyT, tuple[ItemT, int]] = {}

    def key_of(self, key: KeyT) -> KeyT:
        """By which key it is told apart now."""
        is_beyond = key not in self._opened_ns and len(self._opened_ns) >= self._most
        return self._beyond if is_beyond else key

    def note(self, key: KeyT, item: ItemT, now_ns: int) -> bool:
        """Whether to tell of it now: not while the window of its key is open."""
        if key not in self._opened_ns:
            self._opened_ns[key] = now_ns
            return True
        _, times = self._waiting.get(key, (item, 0))
        self._waiting[key] = (item, times + 1)
        return False

    def due(self, now_ns: int) -> list[tuple[ItemT, int]]:
        """What came in windows that are over by now: the last of each, and how many."""
        over = [key for key, at in self._opened_ns.items() if now_ns - at >= self._window_ns]
        told: list[tuple[ItemT, int]] = []
        for key in over:
            del self._opened_ns[key]
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                told.append(waiting)
                self._opened_ns[key] = now_ns
        return told

    def is_idle(self) -> bool:
        """No window is open."""
        return not self._opened_ns
