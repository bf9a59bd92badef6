# SPDX-License-Identifier: Apache-2.0
"""A large journal is looked through for damage without anybody waiting for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sentinel import journal_file
from tests.harness.journals import event, open_journal
from tests.harness.waiting import wait_until

PAGE = 4096


def filled(path: Path) -> None:
    journal = open_journal(path)
    journal.append([event(number, padding=2000) for number in range(500)])
    journal.close()


def test_damage_is_found_beside_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    with path.open("r+b") as file:
        file.seek(200 * PAGE)
        file.write(b"\xff" * PAGE)
    monkeypatch.setattr(journal_file, "LARGEST_LOOKED_AT_ONCE_BYTES", PAGE)
    may_look = threading.Event()
    look_through = journal_file._look_through

    def slow(connection: object) -> None:
        assert may_look.wait(10)
        look_through(connection)  # type: ignore[arg-type]

    monkeypatch.setattr(journal_file, "_look_through", slow)
    again = open_journal(path)
    assert again.status().ok, "the start does not wait"
    assert again.append([event(1)], must_persist=True) == [501]
    may_look.set()

    def is_found() -> bool:
        again.prune(0)
        return bool(list(tmp_path.glob("*.damaged-*")))

    wait_until(is_found, 10, "the damage to be found")
    assert "was damaged" in str(again.status().problem)
    kept = [one.event for one in again.events_after(0, 10_000)]
    assert any(one.kind == "journal.damaged" for one in kept)
    assert len(kept) > 400, "what can be read is saved"
    again.close()


def test_a_sound_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    monkeypatch.setattr(journal_file, "LARGEST_LOOKED_AT_ONCE_BYTES", PAGE)
    again = open_journal(path)
    wait_until(
        lambda: not any(one.name == "journal check" for one in threading.enumerate()), 10, "it"
    )
    assert again.append([event(1)], must_persist=True) == [501]
    assert again.status().ok
    assert again.status().entries == 501
    assert not list(tmp_path.glob("*.damaged-*"))
    again.close()
