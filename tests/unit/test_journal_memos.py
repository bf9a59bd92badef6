# SPDX-License-Identifier: Apache-2.0
"""What counts until a moment is kept through restarts, damage and a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentinel.errors import JournalError
from sentinel.journal import Journal
from sentinel.journal_rows import LARGEST_MEMO_BYTES, Memo
from tests.harness.journals import NOON_NS, event, open_journal, small_disk


def keys(journal: Journal, kind: str = "known") -> list[str]:
    return [memo.key for memo in journal.memos(kind)]


def test_the_latest_state_of_each_is_found_after_a_restart(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db")
    journal.keep_memo("known", "a", NOON_NS, {"n": 1})
    journal.keep_memo("known", "a", NOON_NS + 1, {"n": 2})
    journal.keep_memo("order", "a", NOON_NS, {})
    journal.keep_memo("known", "b", NOON_NS, {})
    journal.forget_memo("known", "b")
    journal.forget_memo("known", "never there")
    for _ in range(2):
        assert journal.memos("known") == [Memo("a", NOON_NS + 1, {"n": 2})]
        assert journal.memos("order") == [Memo("a", NOON_NS, {})]
        journal.close()
        journal = open_journal(tmp_path / "journal.db")
    journal.close()


def test_what_is_too_large_is_not_kept_and_leaves_nothing_old_behind(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db")
    assert journal.keep_memo("known", "a", NOON_NS, {"n": 1})
    assert not journal.keep_memo("known", "a", NOON_NS, {"n": "x" * LARGEST_MEMO_BYTES})
    assert journal.memos("known") == []
    journal.close()


def test_what_is_long_over_goes_though_nobody_forgets_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "journal.db", max_age_ns=1000)
    journal.keep_memo("known", "old", NOON_NS, {})
    journal.keep_memo("known", "new", NOON_NS + 2000, {})
    journal.prune(NOON_NS + 2000)
    assert keys(journal) == ["new"]
    journal.close()


def test_it_waits_for_a_full_disk_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        journal = open_journal(disk.path / "journal.db")
        disk.fill()
        with journal.together():
            journal.keep_memo("order", "alice 1", NOON_NS, {"n": "x" * 3000})
            for number in range(200):
                journal.keep_memo("known", f"{number}", NOON_NS, {"n": "x" * 3000})
        with pytest.raises(JournalError, match="not on the disk yet"):
            journal.append([event(1)], must_persist=True)
        assert keys(journal, "order") == ["alice 1"], "it waits in memory"
        disk.empty()
        journal.append([event(2)], must_persist=True)
        journal.close()
        again = open_journal(disk.path / "journal.db")
        assert (keys(again, "order"), len(keys(again))) == (["alice 1"], 200)
        again.close()


def test_of_a_damaged_file_notices_are_saved_and_orders_are_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = open_journal(path)
    journal.keep_memo("known", "hv-2 1", NOON_NS, {"n": 1})
    journal.keep_memo("order", "since", NOON_NS, {"since_ns": 1})
    journal.close()
    content = path.read_bytes()
    # The version says that it is none of ours; all the rest can be read.
    path.write_bytes(content[:60] + (99).to_bytes(4, "big") + content[64:])
    again = open_journal(path)
    assert again.memos("known") == [Memo("hv-2 1", NOON_NS, {"n": 1})]
    assert again.memos("order") == [], "whether all are there is not known"
    again.close()
