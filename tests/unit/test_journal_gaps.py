# SPDX-License-Identifier: Apache-2.0
"""What a journal removed before a reader had it is named, counted and stands in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.event import Entry, Epoch, Event
from sentinel.journal import Journal
from sentinel.journal_epochs import Epochs
from sentinel.journal_gaps import with_gaps
from tests.harness.journals import NOON_NS, event, open_journal

SMALL_BYTES = 1_000_000


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def append(journal: Journal, count: int) -> None:
    for start in range(0, count, 100):
        journal.append([event(number, padding=500) for number in range(start, start + 100)])


def read_all(journal: Journal, cursor: int) -> tuple[list[int], list[Entry]]:
    """The numbers of entries, and the gaps, in the order of reading."""
    numbers: list[int] = []
    gaps: list[Entry] = []
    while some := journal.follow(cursor, 256):
        cursor = some[-1].seq
        for one in some:
            if one.event.kind == "log.gap":
                gaps.append(one)
            else:
                numbers.append(one.seq)
    return numbers, gaps


def span(entry: Entry) -> tuple[object, object, object]:
    body = entry.event.body
    return body["from_seq"], body["to_seq"], body["missing"]


def test_who_keeps_up_misses_nothing(path: Path) -> None:
    journal = open_journal(path)
    append(journal, 300)
    assert read_all(journal, 0) == ([*range(1, 301)], [])
    assert read_all(journal, 120) == ([*range(121, 301)], [])
    assert read_all(journal, 300) == ([], [])
    journal.close()


def test_every_number_is_told_or_counted(path: Path) -> None:
    journal = open_journal(path, max_size=SMALL_BYTES)
    append(journal, 300)
    (last,) = [one.id for one in journal.events_after(299)]
    append(journal, 5000)
    numbers, (gap,) = read_all(journal, 300)
    first, to, missing = span(gap)
    assert (first, gap.seq) == (301, to)
    assert numbers == [*range(gap.seq + 1, 5301)]
    assert missing == 5000 - len(numbers) > 1000
    assert journal.missing_after(last) == missing
    assert journal.missing_after(gap.id) == 0
    assert read_all(journal, 0)[1] == [], "who never had any misses none"
    journal.close()


def test_a_gap_is_resumed_after_like_any_entry_and_by_another_daemon_too(path: Path) -> None:
    journal = open_journal(path, max_size=SMALL_BYTES)
    append(journal, 300)
    (last,) = [one.id for one in journal.events_after(299)]
    journal.close()
    # The opening that numbered it has no entry left.
    journal = open_journal(path, max_size=SMALL_BYTES)
    append(journal, 5000)
    journal.prune(NOON_NS)
    journal.close()
    journal = open_journal(path, max_size=SMALL_BYTES)
    assert journal.resume([last]) == 300
    numbers, (gap,) = read_all(journal, 300)
    assert numbers[0] == gap.seq + 1
    assert journal.resume([gap.id, last]) == gap.seq
    journal.close()


def test_a_reader_is_told_while_it_reads(path: Path) -> None:
    journal = open_journal(path, max_size=SMALL_BYTES)
    append(journal, 100)
    assert journal.follow(0, 50)[-1].seq == 50
    append(journal, 5000)
    assert span(journal.follow(50, 50)[0])[0] == 51
    journal.close()


def test_a_log_of_which_nothing_is_left(path: Path) -> None:
    journal = Journal(path, 1, 10**8)
    journal.append([event(number) for number in range(20)])
    while journal.prune(NOON_NS + 10**12):
        pass
    (gap,) = journal.follow(5)
    assert span(gap) == (6, 20, 15)
    assert journal.follow(gap.seq) == []
    assert journal.follow(0) == []
    journal.close()


def entry(seq: int, opening: str) -> Entry:
    return Entry(seq, Event("port.gone", 1, None, None, None, {}), Epoch(opening, "host"))


def test_numbers_that_an_opening_passed_over_are_no_gap() -> None:
    epochs = Epochs(Epoch("b", "host"))
    epochs.know([(1, "a", "host")])
    epochs.gave(1000)
    told = [entry(9, "a"), entry(1000, "b"), entry(1001, "b"), entry(1004, "b")]
    made = with_gaps(8, told, epochs, 1, 0)
    assert [one.seq for one in made] == [9, 1000, 1001, 1003, 1004]
    assert span(made[3]) == (1002, 1003, 2)
    # But what was there between, and was removed, is one.
    assert [one.seq for one in with_gaps(8, told[1:], epochs, 1000, 0)][:2] == [999, 1000]
