# SPDX-License-Identifier: Apache-2.0
"""Entries that went before a reader had them, named and counted in their place. Pure.

A journal is bounded: a reader that is away for longer than `journal.max_age`, or for more
than `journal.max_size`, misses what was removed meanwhile. It is told so by an entry of
kind `log.gap`, which has the number of the last one missing, so that order and resuming
are those of any other entry. Numbers that are passed over at an opening of the journal
were never given to anything and are no gap.
"""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.event import Entry, Event, Kind
from sentinel.event_bodies import LogGap, members
from sentinel.journal_epochs import Epochs


def is_whole(cursor: int, entries: Sequence[Entry], last_seq: int) -> bool:
    """Whether `entries`, read after `cursor`, show by their numbers alone that none is missing."""
    if not entries:
        return not cursor or cursor >= last_seq
    first = cursor + 1 if cursor else entries[0].seq
    return entries[-1].seq - first + 1 == len(entries)


def with_gaps(
    cursor: int, entries: Sequence[Entry], epochs: Epochs, oldest_seq: int, now_ns: int
) -> list[Entry]:
    """`entries`, which come next after `cursor`, with what is missing before and among them.

    `oldest_seq` is the lowest number that is still there. A reader that had nothing yet
    (`cursor` 0) has missed nothing before the first.
    """
    told: list[Entry] = []
    last = cursor
    for entry in entries:
        is_one_opening = epochs.of(last).id == entry.epoch.id
        if last and entry.seq > last + 1 and (is_one_opening or last < oldest_seq):
            told.append(gap(last + 1, entry.seq - 1, epochs, now_ns))
        told.append(entry)
        last = entry.seq
    return told


def gap(from_seq: int, to_seq: int, epochs: Epochs, now_ns: int) -> Entry:
    """The entry that stands for those from one number to another, both included."""
    missing = to_seq - from_seq + 1
    message = (
        f"{missing} entries, #{from_seq} to #{to_seq}, are no longer in the journal and were not "
        "read in time: see journal.max_age and journal.max_size"
    )
    body = members(LogGap(message, from_seq, to_seq, missing))
    return Entry(to_seq, Event(Kind.LOG_GAP, now_ns, None, None, None, body), epochs.of(to_seq))
