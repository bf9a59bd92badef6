# SPDX-License-Identifier: Apache-2.0
"""The states of DHCP clients are kept, bounded and found again."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel import journal_prune, journal_queue
from sentinel.durations import DAY_NS
from sentinel.errors import JournalError
from sentinel.event import Json
from sentinel.journal import Journal
from sentinel.journal_prune import MOST_LEASES
from sentinel.journal_rows import LARGEST_LEASE_BYTES, LONGEST_KEY_CHARS
from tests.harness.journals import NOON_NS, event, incident, open_journal, small_disk


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture(name="journal")
def _journal(path: Path) -> Iterator[Journal]:
    journal = open_journal(path)
    yield journal
    journal.close()


def keys(journal: Journal) -> list[str]:
    return [lease.key for lease in journal.leases()]


def on_disk_bytes(path: Path) -> int:
    return sum(
        file.stat().st_size for end in ("", "-wal") if (file := Path(f"{path}{end}")).exists()
    )


def test_the_latest_state_of_each_is_found_after_a_restart(path: Path) -> None:
    first = open_journal(path)
    assert first.save_lease("a", "tap0", NOON_NS, {"state": "selecting"})
    assert first.save_lease("b", "tap1", NOON_NS + 1, {"state": "bound", "list": [1, None, "x"]})
    assert first.save_lease("a", "tap0", NOON_NS + 2, {"state": "bound"})
    first.save_lease("c", "tap2", NOON_NS + 3, {})
    first.forget_lease("c")
    first.forget_lease("never there")
    first.close()
    second = open_journal(path)
    assert second.leases() == [
        ("a", "tap0", NOON_NS + 2, {"state": "bound"}),
        ("b", "tap1", NOON_NS + 1, {"state": "bound", "list": [1, None, "x"]}),
    ]
    second.close()
    with pytest.raises(JournalError, match="closed"):
        second.save_lease("a", "tap0", NOON_NS, {})


def test_what_waits_is_laid_over_what_is_on_the_disk(journal: Journal) -> None:
    for number, key in enumerate("abc"):
        journal.save_lease(key, "tap0", NOON_NS + number, {"state": "old"})
    with journal.together():
        journal.forget_lease("b")
        journal.save_lease("a", "tap0", NOON_NS + 9, {"state": "new"})
        journal.forget_lease("d")
        journal.save_lease("e", "tap0", NOON_NS - 1, {})
        assert journal.status().pending == 4
        assert [(one.key, one.state.get("state")) for one in journal.leases()] == [
            ("a", "new"),
            ("c", "old"),
            ("e", None),
        ]
        journal.forget_lease("a")
        journal.save_lease("b", "tap0", NOON_NS + 10, {})
    assert keys(journal) == ["b", "c", "e"]
    assert journal.status().pending == 0


def test_all_that_a_guest_can_put_into_one_is_kept_or_made_harmless(journal: Journal) -> None:
    odd: dict[str, Json] = {"name": "\udc80\x00\x1b[31m", "large": 1 << 80, "nan": float("nan")}
    assert journal.save_lease("tap\udcff\x00", "tap\udcff", 1 << 70, odd)
    (kept,) = journal.leases()
    assert kept.key == "tap\\udcff\x00"
    assert kept.state == {"name": "\\udc80\x00\x1b[31m", "large": str(1 << 80), "nan": None}
    journal.forget_lease("tap\udcff\x00")
    assert journal.leases() == []


def test_what_is_too_large_is_not_kept_and_leaves_nothing_old_behind(journal: Journal) -> None:
    huge = {"name": "ü" * (LARGEST_LEASE_BYTES // 2)}
    assert journal.save_lease("a", "tap0", NOON_NS, {"state": "bound"})
    assert not journal.save_lease("a", "tap0", NOON_NS + 1, huge)
    assert not journal.save_lease("k" * (LONGEST_KEY_CHARS + 1), "tap0", NOON_NS, {})
    journal.forget_lease("k" * (LONGEST_KEY_CHARS + 1))
    assert journal.leases() == []
    assert journal.status().ok


def test_damaged_states_are_read_as_nothing(path: Path, journal: Journal) -> None:
    for key in "abc":
        journal.save_lease(key, "tap0", NOON_NS, {"state": "bound"})
    with sqlite3.connect(path) as other:
        other.execute("UPDATE lease SET state = '{\"state\"' WHERE key = 'a'")
        other.execute("UPDATE lease SET state = '[1]', saved_wall_ns = 'noon' WHERE key = 'b'")
        other.execute("UPDATE lease SET state = x'ff00', port = x'ff' WHERE key = 'c'")
    other.close()
    assert {one.key: one.state for one in journal.leases()} == {"a": {}, "b": {}, "c": {}}


def test_there_are_never_more_than_the_bound_and_the_latest_stay(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_prune, "MOST_LEASES", 50)
    journal = open_journal(path)
    for number in range(80):
        journal.save_lease(f"{number}", "tap0", NOON_NS + number, {})
    assert keys(journal) == [str(number) for number in range(79, 29, -1)]
    journal.close()
    assert MOST_LEASES == 20_000


def test_what_is_older_than_the_age_goes(path: Path) -> None:
    journal = open_journal(path, max_age_ns=30 * DAY_NS)
    now = NOON_NS + 100 * DAY_NS
    journal.save_lease("old", "tap0", now - 31 * DAY_NS, {})
    journal.save_lease("young", "tap0", now - 29 * DAY_NS, {})
    journal.prune(now)
    assert keys(journal) == ["young"]
    journal.close()


def test_leases_count_in_the_size(path: Path) -> None:
    journal = open_journal(path, max_size=1_000_000)
    most = 0
    for first in range(0, 2000, 20):
        with journal.together():
            for number in range(first, first + 20):
                journal.save_lease(f"{number}", "tap0", NOON_NS + number, {"x": "y" * 4000})
        most = max(most, on_disk_bytes(path))
    assert most <= 1_000_000 * 1.1
    kept = keys(journal)
    assert 50 < len(kept) < 300
    assert kept[0] == "1999"
    journal.close()


def test_leases_that_hold_stay_while_history_goes(path: Path) -> None:
    journal = open_journal(path, max_size=1_000_000)
    journal.save_lease("gone long ago", "tap0", NOON_NS - DAY_NS, {})
    for number in range(100):
        journal.save_lease(f"{number}", "tap0", NOON_NS + DAY_NS + number, {"x": "y" * 500})
    journal.append([event(number, padding=500) for number in range(5000)])
    assert keys(journal) == [str(number) for number in range(99, -1, -1)]
    journal.close()


def test_large_states_do_not_make_one_large_transaction(path: Path) -> None:
    journal = open_journal(path, max_size=1_000_000)
    most = 0
    for turn in range(3):
        with journal.together():
            for number in range(150):
                journal.save_lease(f"{turn} {number}", "tap0", NOON_NS + turn, {"x": "y" * 15_000})
                journal.save_incident(
                    incident(updated_wall_ns=NOON_NS + turn, summary="z" * 15_000)
                )
        most = max(most, on_disk_bytes(path))
    assert most <= 1_000_000 * 1.1
    assert journal.status().ok
    journal.close()


def test_leases_wait_for_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "journal.db"
        journal = open_journal(path)
        journal.save_lease("a", "tap0", NOON_NS, {"state": "old"})
        journal.save_lease("b", "tap0", NOON_NS, {"state": "old"})
        disk.fill()
        number = 0
        while journal.status().writing:
            journal.append([event(number, padding=500)])
            number += 1
        for turn in range(100):
            journal.save_lease("a", "tap0", NOON_NS + turn, {"state": turn})
        journal.forget_lease("b")
        journal.save_lease("c", "tap0", NOON_NS, {})
        expected = [("a", "tap0", NOON_NS + 99, {"state": 99}), ("c", "tap0", NOON_NS, {})]
        assert journal.leases() == expected
        with pytest.raises(JournalError, match="not on the disk yet"):
            journal.append([], must_persist=True)
        disk.empty()
        journal.prune(NOON_NS)
        assert journal.status().ok
        assert journal.status().pending == 0
        assert journal.leases() == expected
        journal.close()
        again = open_journal(path)
        assert again.leases() == expected
        again.close()


def test_what_has_no_room_to_wait_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.mkdir()
    journal = open_journal(path)
    for number in range(journal_queue.MOST_STATES + 7):
        journal.save_lease(f"{number}", "tap0", NOON_NS + number, {})
    assert journal.status().lost == 7
    path.rmdir()
    journal.prune(NOON_NS)
    assert len(journal.leases()) == journal_queue.MOST_STATES
    journal.close()
    shutil.rmtree(tmp_path / "journal.db", ignore_errors=True)


def test_large_states_that_wait_are_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.mkdir()
    journal = open_journal(path)
    for number in range(2000):
        journal.save_lease(f"{number}", "tap0", NOON_NS, {"x": "y" * 16_000})
        journal.save_lease("the same", "tap0", NOON_NS, {"x": "y" * (number % 16_000)})
    held = journal_queue.MOST_STATE_BYTES // 16_000
    assert held * 0.9 < journal.status().pending < held + 2
    path.rmdir()
    journal.prune(NOON_NS)
    assert journal.status().pending == 0
    assert journal_queue.Latest[int]().put(1, (1, "x" * journal_queue.MOST_STATE_BYTES)) == 1
    journal.close()
