# SPDX-License-Identifier: Apache-2.0
"""What is under way to the broker, in order, and how far it has acknowledged. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _UnderWay:
    id: str
    sent_ns: int
    is_acknowledged: bool = False


class Window:
    """Entries that were sent and not yet acknowledged, with all before them.

    A broker should acknowledge in order (MQTT 5.0 §4.6); one that does not is waited
    for: the cursor is the last entry before which nothing is missing.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _UnderWay] = {}
        self.acknowledged = 0
        """How many were acknowledged, ever."""

    def __len__(self) -> int:
        return len(self._entries)

    def sent(self, mid: int, name: str, now_ns: int) -> None:
        """Take note of an entry that was sent under a message identifier."""
        self._entries[mid] = _UnderWay(name, now_ns)

    def acknowledge(self, mid: int) -> str | None:
        """Take an acknowledgement; the name of the new cursor, if it moves."""
        found = self._entries.get(mid)
        if found is None:
            return None
        if not found.is_acknowledged:
            found.is_acknowledged = True
            self.acknowledged += 1
        cursor = None
        while self._entries:
            first = next(iter(self._entries))
            if not self._entries[first].is_acknowledged:
                break
            cursor = self._entries.pop(first).id
        return cursor

    def oldest_ns(self, now_ns: int) -> int:
        """For how long the oldest has waited; 0 if nothing is under way."""
        for entry in self._entries.values():
            return max(0, now_ns - entry.sent_ns)
        return 0
