# SPDX-License-Identifier: Apache-2.0
"""The cursor survives what may happen to a process, a disk and a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.mqtt.cursor import (
    MOST_NAMES,
    SLOT_BYTES,
    CursorFile,
    advanced,
    read_slot,
    slot_bytes,
)
from tests.harness.journals import small_disk

ONE, TWO = "a" * 16, "b" * 16


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "cursor"


def reopened(path: Path) -> tuple[str, ...]:
    cursor = CursorFile(str(path))
    names = cursor.names
    cursor.close()
    return names


def test_it_is_where_it_was_without_being_closed(path: Path) -> None:
    cursor = CursorFile(str(path))
    assert (cursor.names, cursor.was_damaged) == ((), False)
    for seq in range(1, 12):
        cursor.advance(f"{ONE}-{seq}")
        assert reopened(path) == (f"{ONE}-{seq}",)
    cursor.advance(f"{TWO}-12")
    assert reopened(path) == (f"{TWO}-12", f"{ONE}-11")
    assert path.stat().st_size == 2 * SLOT_BYTES


def test_of_each_opening_the_last_is_kept_and_only_so_many() -> None:
    names: tuple[str, ...] = ()
    for number in range(20):
        for seq in (2 * number, 2 * number + 1):
            names = advanced(names, f"{number:016x}-{seq}")
    assert len(names) == MOST_NAMES
    assert names[0] == f"{19:016x}-39"
    assert names[1] == f"{18:016x}-37"
    longest = tuple(f"{number:016x}-{10**18}" for number in range(MOST_NAMES))
    assert len(slot_bytes(10**19, longest)) == SLOT_BYTES


@pytest.mark.parametrize("cut", [0, 1, 30, 60, 200, SLOT_BYTES - 1])
def test_a_torn_slot_leaves_the_other(path: Path, cut: int) -> None:
    cursor = CursorFile(str(path))
    cursor.advance(f"{ONE}-1")
    cursor.advance(f"{ONE}-2")
    cursor.close()
    raw = bytearray(path.read_bytes())
    newest = slice(0, SLOT_BYTES)
    assert read_slot(bytes(raw[newest])) == (2, (f"{ONE}-2",))
    for at in range(cut, SLOT_BYTES):
        raw[at] = 0
    path.write_bytes(raw)
    # Behind the names there is nothing but spaces: those may be torn as they like.
    assert reopened(path) in {(f"{ONE}-1",)} | ({(f"{ONE}-2",)} if cut >= 200 else set())


@settings(deadline=None)
@given(st.binary(max_size=2 * SLOT_BYTES + 9))
def test_anything_may_be_in_the_file(raw: bytes) -> None:
    assert read_slot(raw[:SLOT_BYTES]) is None


def test_damage_is_noticed_and_overcome(path: Path) -> None:
    path.write_bytes(b"x" * 2 * SLOT_BYTES)
    cursor = CursorFile(str(path))
    assert (cursor.names, cursor.was_damaged) == ((), True)
    cursor.advance(f"{ONE}-1")
    cursor.close()
    assert reopened(path) == (f"{ONE}-1",)


def test_a_full_disk_takes_what_has_its_place(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "cursor"
        cursor = CursorFile(str(path))
        disk.fill()
        for seq in range(100):
            cursor.advance(f"{ONE}-{seq}")
        cursor.sync()
        assert cursor.problem is None
        assert reopened(path) == (f"{ONE}-99",)
        cursor.close()


def test_without_a_place_there_is_no_cursor(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            CursorFile(str(disk.path / "cursor"))


def test_one_digit_that_changed_makes_a_slot_worthless(path: Path) -> None:
    cursor = CursorFile(str(path))
    cursor.advance(f"{ONE}-1")
    cursor.advance(f"{ONE}-1234")
    cursor.close()
    path.write_bytes(path.read_bytes().replace(b"-1234", b"-1294"))
    assert reopened(path) == (f"{ONE}-1",)
