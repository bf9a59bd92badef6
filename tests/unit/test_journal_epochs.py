# SPDX-License-Identifier: Apache-2.0
"""An entry's name is unique for ever: whatever becomes of the journal, none comes twice."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from sentinel.event import NO_EPOCH, Epoch
from sentinel.journal import Journal
from sentinel.journal_epochs import Beginning, Epochs
from sentinel.journal_prune import PAST_EPOCHS_KEPT
from tests.harness.journals import NOON_NS, event, open_journal, small_disk


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def names(journal: Journal) -> list[str]:
    return [entry.id for entry in journal.events_after(0, 10_000)]


def test_each_opening_has_a_name_of_its_own_and_entries_keep_theirs(path: Path) -> None:
    seen: list[str] = []
    for count in range(1, 4):
        journal = open_journal(path)
        journal.append([event(1), event(2)])
        assert names(journal)[: len(seen)] == seen
        seen = names(journal)
        assert len(set(seen)) == len(seen) == 2 * count
        assert len({name.split("-")[0] for name in seen}) == count
        journal.close()


def test_the_host_is_that_of_the_opening(path: Path) -> None:
    for host in ("one", "two"):
        journal = Journal(path, 10**18, 10**8, host=host)
        journal.append([event(1)])
        journal.close()
    told = [entry.to_dict()["host"] for entry in open_journal(path).events_after(0)]
    assert told == ["one", "two"]


def test_a_journal_that_was_lost_repeats_no_name(path: Path) -> None:
    journal = open_journal(path)
    journal.append([event(1)])
    before = names(journal)
    journal.close()
    for file in list(path.parent.iterdir()):
        file.unlink()
    again = open_journal(path)
    again.append([event(1)])
    assert again.last_seq() == 1, "the number comes again"
    assert not set(names(again)) & set(before)
    assert again.resume(before) is None
    again.close()


def test_a_journal_put_back_from_a_copy_repeats_no_name(path: Path, tmp_path: Path) -> None:
    journal = open_journal(path)
    journal.append([event(1)])
    journal.close()
    shutil.copytree(path.parent, tmp_path / "copy")
    told: list[set[str]] = []
    for place in (path, tmp_path / "copy" / "journal.db"):
        once = open_journal(place)
        (number,) = once.append([event(2)])
        assert number == 2
        told.append(set(names(once)))
        once.close()
    assert len(told[0] & told[1]) == 1, "only what was there before"


def test_names_outlive_damage(path: Path) -> None:
    journal = open_journal(path)
    journal.append([event(number) for number in range(20)])
    before = names(journal)
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute("DROP INDEX incident_open")
    other.close()
    again = open_journal(path)
    assert names(again)[:20] == before
    assert again.resume([before[-1]]) == 20
    again.close()


def test_names_while_the_disk_is_full_are_the_same_afterwards(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        journal = open_journal(path)
        journal.append([event(1)])
        disk.fill()
        for number in range(300):
            journal.append([event(number, padding=1000)])
        assert not journal.status().writing
        waiting = names(journal)
        disk.empty()
        journal.append([event(2)], must_persist=True)
        assert names(journal)[: len(waiting)] == waiting
        journal.close()
        again = open_journal(path)
        assert names(again)[: len(waiting)] == waiting
        again.close()


def test_openings_without_entries_go_with_age(path: Path) -> None:
    for number in range(PAST_EPOCHS_KEPT + 5):
        journal = open_journal(path)
        journal.append([event(number)])
        journal.close()
    journal = Journal(path, 1, 10**8)
    journal.append([event(7, time_ns=NOON_NS + 10**12)])
    while journal.prune(NOON_NS + 10**12):
        pass
    journal.close()
    with sqlite3.connect(path) as other:
        assert len(other.execute("SELECT * FROM epoch").fetchall()) == PAST_EPOCHS_KEPT
    other.close()


def test_a_reader_goes_on_where_it_was() -> None:
    epochs = Epochs(Epoch("c" * 16, "host"))
    epochs.know([(1, "a" * 16, "old"), (10, "b" * 16, "host"), ("x", "d", "e")])
    epochs.gave(20)
    epochs.gave(21)
    assert epochs.own == Beginning(20, "c" * 16, "host")
    assert [epochs.of(seq).id[0] for seq in (1, 9, 10, 19, 20, 10**9)] == list("aabbcc")
    assert epochs.of(0) == NO_EPOCH
    assert epochs.resume([f"{'b' * 16}-15"], 21) == 15
    assert epochs.resume([f"{'b' * 16}-20"], 21) is None, "another opening gave that"
    assert epochs.resume([f"{'c' * 16}-22"], 21) is None, "not given yet"
    assert epochs.resume([f"{'e' * 16}-16", "nonsense", f"{'a' * 16}-3"], 21) == 3
    assert epochs.resume([], 21) is None
