# SPDX-License-Identifier: Apache-2.0
"""What is under way to the broker, in order, and how far it has acknowledged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice


@dataclass(slots=True)
class _UnderWay:
    id: str
    sent_ns: int
    is_acknowledged: bool = False


class Window:
    """Entries that were sent and not yet acknowledged, with all before them; and documents.

    A broker should acknowledge in order (MQTT 5.0 §4.6); one that does not is waited
    for: the cursor is the last entry before which nothing is missing.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _UnderWay] = {}
        self._others: list[int] = []
        self.acknowledged = 0
        """How many were acknowledged, ever."""

    def __len__(self) -> int:
        return len(self._entries) + len(self._others)

    @property
    def entries(self) -> int:
        """How many of them are entries."""
        return len(self._entries)

    def begun(self, now_ns: int) -> None:
        """Take note of something else that was sent, at a time."""
        self._others.append(now_ns)

    def ended(self, began_ns: int) -> None:
        """What was sent at that time is no longer under way."""
        self._others.remove(began_ns)

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
        since = self._others[:1] + [entry.sent_ns for entry in islice(self._entries.values(), 1)]
        return max((now_ns - sent_ns for sent_ns in since), default=0)
