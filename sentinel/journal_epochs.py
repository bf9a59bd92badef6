# SPDX-License-Identifier: Apache-2.0
"""Which opening of the journal gave a number: what makes an entry's name unique for ever.

A journal may be lost and begun anew, or put back from a copy; then numbers that were
told to somebody come again. Each opening has a random name of its own, its epoch, and
an entry is named by both. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Iterable
from typing import Final, NamedTuple

from sentinel.event import NO_EPOCH, Epoch

LONGEST_HOST_CHARS: Final = 255
MOST_EPOCHS: Final = 10_000
"""Openings that are remembered, the latest ones."""
_ID: Final = re.compile(r"([0-9a-f]{16})-([0-9]{1,19})")


class Beginning(NamedTuple):
    """An epoch and the first number that it gave; a row of the journal."""

    first_seq: int
    id: str
    host: str


class Epochs:
    """The openings that a journal knows, and the one that is now."""

    def __init__(self, own: Epoch) -> None:
        self._own = own
        self._own_first: int | None = None
        self._past: list[Beginning] = []

    @property
    def own(self) -> Beginning | None:
        """The opening that is now, once it has given a number."""
        first = self._own_first
        return None if first is None else Beginning(first, self._own.id, self._own.host)

    def gave(self, seq: int) -> None:
        """Take note of a number that this opening gave."""
        if self._own_first is None:
            self._own_first = seq

    def renumbered(self, first_seq: int) -> None:
        """Take note that all that this opening gave was numbered anew."""
        self._own_first = first_seq

    def know(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Take the openings that a file tells of."""
        for first_seq, name, host in rows:
            if not isinstance(first_seq, int):
                continue
            known = Beginning(first_seq, str(name), str(host)[:LONGEST_HOST_CHARS])
            if known.id != self._own.id and known not in self._past:
                insort(self._past, known)

    def of(self, seq: int) -> Epoch:
        """The epoch of a number."""
        if self._own_first is not None and seq >= self._own_first:
            return self._own
        at = bisect_right(self._past, seq, key=lambda one: one.first_seq)
        if not at:
            return NO_EPOCH
        found = self._past[at - 1]
        return Epoch(found.id, found.host)

    def resume(self, ids: Iterable[str], highest: int) -> int | None:
        """The number to go on after, for a reader that had these entries.

        The first that this journal knows (and has reached) decides; None: it knows none.
        """
        for name in ids:
            found = _ID.fullmatch(name)
            if found is not None:
                seq = int(found[2])
                if seq <= highest and self.of(seq).id == found[1]:
                    return seq
        return None
