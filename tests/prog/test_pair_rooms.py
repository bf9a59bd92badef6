# SPDX-License-Identifier: Apache-2.0
"""Rows of tags and sizes are bounded for each device; what finds no row is counted all the same."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from sentinel import abi
from sentinel.decode_pairs import REST as REST_TAG
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader.pair_rows import PairRows
from sentinel.tag import Tag as SeenTag
from tests.harness.frames import TPID_C, TPID_OLD, TPID_S
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    TO_GUEST,
    Programs,
)
from tests.harness.waiting import wait_until
from tests.prog.test_pairs import STORY, counted, frame_of, later_tick, only, rows, watch


def vids(count: int, first: int = 1) -> Iterator[bytes]:
    """Frames of so many pairs."""
    for number in range(first, first + count):
        yield frame_of((TPID_C, number & 0xFFF, 0), (TPID_S, number >> 12, 0))


NOBODY = [
    abi.TAP_PAIR_KEY.pack(10**6, abi.TAP_IN, number, 0) for number in range(abi.TAP_MAX_PAIRS)
]


def one_frame() -> bytes:
    """A row in which each CPU has counted a frame."""
    fields = [1, *(0,) * (len(abi.TAP_PAIR.unpack(bytes(abi.TAP_PAIR.size))) - 1)]
    return abi.TAP_PAIR.pack(*fields) * syscall.possible_cpus()


def make_rows(programs: Programs, keys: Sequence[bytes]) -> None:
    """The kernel gets memory ready behind the scenes: where it is not done, wait."""
    fd, value = programs.maps.fd("tap_pairs"), one_frame()

    def is_made(key: bytes) -> bool:
        try:
            syscall.map_update(fd, key, value, "tap_pairs")
        except KernelError as failed:
            if failed.errno != errno.ENOMEM:
                raise
            return False
        return True

    for key in keys:
        wait_until(partial(is_made, key), 10, "memory for a row")


def remove_rows(programs: Programs, keys: Sequence[bytes]) -> None:
    for key in keys:
        syscall.map_delete(programs.maps.fd("tap_pairs"), key, "tap_pairs")


@pytest.fixture
def greedy(programs: Programs) -> Iterator[Programs]:
    """For what takes the kernel's memory for rows: it has some again for the next test."""
    yield programs
    for slot in programs.maps.slots():
        programs.maps.release_slot(slot.ifindex)
    make_rows(programs, NOBODY[: 2 * abi.TAP_PAIRS_PER_PORT])
    remove_rows(programs, NOBODY[: 2 * abi.TAP_PAIRS_PER_PORT])


@pytest.fixture
def full(greedy: Programs) -> Iterator[Programs]:
    """A map that is full, of rows of a device that nobody watches."""
    try:
        make_rows(greedy, NOBODY)
        yield greedy
    finally:
        remove_rows(greedy, NOBODY)


def fill(programs: Programs, uplink: int, count: int) -> None:
    """Rows for so many pairs: where the kernel has no memory at once, the next frame asks again."""

    def all_there() -> bool:
        for frame in vids(count):
            programs.run(FROM_WIRE, frame, uplink)
        return sum(not row.is_rest for row in rows(programs, uplink)) == count

    wait_until(all_there, 30, f"{count} rows")


def test_a_port_has_so_many_rows_and_no_more(programs: Programs) -> None:
    """Both directions share the room; what finds none is counted in the direction's rest."""
    programs.add(PORT)
    programs.add(OTHER_PORT)
    programs.run_beside_model(TO_GUEST, frame_of(*STORY))
    for frame in vids(5000):
        programs.run_beside_model(FROM_GUEST, frame)
    for frame in vids(40):
        programs.run_beside_model(TO_GUEST, frame)
    programs.run_beside_model(TO_GUEST, frame_of(*STORY))
    programs.run_beside_model(FROM_GUEST, frame_of(*STORY), OTHER_PORT)
    programs.assert_model()
    found = rows(programs)
    rest = {row.direction: row for row in found if row.is_rest}
    assert len(found) == abi.TAP_PAIRS_PER_PORT + 2
    assert rest[abi.TAP_IN].frames == 5000 - (abi.TAP_PAIRS_PER_PORT - 1)
    assert rest[abi.TAP_OUT].frames == 40
    assert (rest[abi.TAP_IN].outer, rest[abi.TAP_IN].inner) == (None, None)
    assert [sum(r.frames for r in found if r.direction == way) for way in (0, 1)] == counted(
        programs
    )
    assert only(programs, OTHER_PORT).frames == 1
    assert programs.maps.state().pairs_lost == 0


def test_a_role_says_how_many(greedy: Programs) -> None:
    """An uplink has all VLANs of the host; the room belongs to the slot."""
    ifindex = watch(greedy, FROM_WIRE)
    lost_before = greedy.maps.state().pairs_lost
    fill(greedy, ifindex, abi.TAP_PAIRS_PER_UPLINK)
    before = sum(row.frames for row in rows(greedy, ifindex) if row.is_rest)
    for frame in vids(3, first=10_000):
        greedy.run(FROM_WIRE, frame, ifindex)
    found = rows(greedy, ifindex)
    assert len(found) == abi.TAP_PAIRS_PER_UPLINK + 1
    assert [row.frames for row in found if row.is_rest] == [before + 3]
    # While the kernel had no memory at all, not even for the rest's row, frames were lost count of.
    lost = greedy.maps.state().pairs_lost - lost_before
    assert sum(row.frames for row in found) + lost == counted(greedy, ifindex)[abi.TAP_IN]
    assert greedy.maps.pair_rooms()[greedy.slot(ifindex)] == abi.TAP_PAIRS_PER_UPLINK


def test_a_map_that_is_full(full: Programs) -> None:
    """A frame finds its own row, or the rest's if that is there, or it is counted as lost."""
    fd = full.maps.fd("tap_pairs")
    lost_before = full.maps.state().pairs_lost
    full.add()
    for _ in range(5):
        full.run(FROM_GUEST, frame_of(*STORY))
    assert full.maps.state().pairs_lost == lost_before + 5
    assert rows(full) == []
    assert full.maps.pair_rooms()[full.slot()] == 0
    row_bytes = abi.TAP_PAIR.size * syscall.possible_cpus()
    rest = abi.TAP_PAIR_KEY.pack(PORT, abi.TAP_IN, REST_TAG, REST_TAG)
    syscall.map_delete(fd, NOBODY[0], "tap_pairs")
    syscall.map_update(fd, rest, bytes(row_bytes), "tap_pairs")
    for frame in vids(3):
        full.run(FROM_GUEST, frame)
    assert [(row.is_rest, row.frames) for row in rows(full)] == [(True, 3)]
    assert full.maps.pair_rooms()[full.slot()] == 0
    assert full.maps.state().pairs_lost == lost_before + 5


def test_a_map_that_has_a_row_left(full: Programs) -> None:
    lost_before = full.maps.state().pairs_lost
    full.add()
    syscall.map_delete(full.maps.fd("tap_pairs"), NOBODY[0], "tap_pairs")

    def has_row() -> bool:
        full.run(FROM_GUEST, frame_of(*STORY))
        return bool(rows(full))

    # The kernel may have no memory for it at once.
    wait_until(has_row, 10, "a row")
    full.run(FROM_GUEST, frame_of((TPID_C, 9, 0)))
    (row,) = rows(full)
    lost = full.maps.state().pairs_lost - lost_before
    assert row.frames + lost == counted(full)[abi.TAP_IN]
    assert full.maps.pair_rooms()[full.slot()] == (not row.is_rest)


def test_a_port_begins_anew(programs: Programs) -> None:
    programs.add()
    for frame in vids(abi.TAP_PAIRS_PER_PORT + 5):
        programs.run(FROM_GUEST, frame)
    programs.add(OTHER_PORT)
    programs.run_beside_model(FROM_GUEST, frame_of(*STORY), OTHER_PORT)
    slot = programs.slot()
    programs.remove(PORT)
    assert {row.ifindex for row in programs.pairs.read()} == {OTHER_PORT}
    assert programs.maps.pair_rooms()[slot] == 0
    programs.add()
    programs.check(FROM_GUEST, frame_of(*STORY))
    assert only(programs).frames == 1


def test_the_oldest_make_room(programs: Programs) -> None:
    """At most half, those longest unseen, and none that was seen just now."""
    programs.add()
    programs.add(OTHER_PORT)
    early, late = list(vids(20)), list(vids(30, first=100))
    for frame in early:
        programs.run(FROM_GUEST, frame)
    programs.run(FROM_GUEST, frame_of(*STORY), OTHER_PORT)
    between_ns = later_tick()
    for frame in late:
        programs.run(FROM_GUEST, frame)
    evicting = PairRows(programs.maps)
    now_ns = later_tick()
    assert evicting.evict(now_ns) == 0
    assert len(rows(programs)) == abi.TAP_PAIRS_PER_PORT + 1
    assert evicting.evict(between_ns, idle_ns=0) == abi.TAP_PAIRS_PER_PORT // 2
    assert (evicting.evicted, evicting.evicted_frames) == (16, 16)
    left = rows(programs)
    assert sum(row.outer.vid < 100 for row in left if row.outer) == 20 - 16
    assert sum(row.is_rest for row in left) == 1
    assert programs.maps.pair_rooms()[programs.slot()] == 16
    assert only(programs, OTHER_PORT).frames == 1
    # With room again nothing more goes.
    assert evicting.evict(now_ns + 10**12) == evicting.evict(now_ns + 10**12, evicting.read()) == 0
    programs.run(FROM_GUEST, frame_of((TPID_OLD, 7, 0)))
    assert any(row.outer == SeenTag(TPID_OLD, 7) for row in rows(programs))


def test_rooms_are_set_right(programs: Programs) -> None:
    programs.add()
    programs.run(FROM_GUEST, frame_of(*STORY))
    slot = programs.slot()
    programs.maps.add_pair_room(slot, -2)
    assert programs.maps.pair_rooms()[slot] == 0xFFFFFFFF
    assert programs.pairs.evict(time.monotonic_ns()) == 0
    assert programs.maps.pair_rooms()[slot] == 1


def test_rows_of_nobody_go(programs: Programs) -> None:
    programs.add()
    programs.run(FROM_GUEST, frame_of(*STORY))
    nobody = abi.TAP_PAIR_KEY.pack(OTHER_PORT, abi.TAP_IN, TPID_C << 16 | 5, 0)
    syscall.map_update(programs.maps.fd("tap_pairs"), nobody, one_frame(), "tap_pairs")
    seen = programs.pairs.read()
    assert len(seen) == 2
    assert programs.pairs.evict(time.monotonic_ns(), seen) == 0
    assert [row.ifindex for row in programs.pairs.read()] == [PORT]


def test_read_one_by_one_is_the_same(greedy: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel reads no batches, and where a batch is too small for a bucket."""
    ifindex = watch(greedy, FROM_WIRE)
    fill(greedy, ifindex, 700)
    whole = {(row.outer, row.inner): row for row in greedy.pairs.read()}
    assert len(whole) >= 700
    monkeypatch.setattr("sentinel.loader.pair_rows._BATCH_BYTES", 1)
    assert {(row.outer, row.inner): row for row in greedy.pairs.read()} == whole
    monkeypatch.setattr(syscall.Batches, "take", refuse)
    assert {(row.outer, row.inner): row for row in greedy.pairs.read()} == whole


def refuse(_batches: syscall.Batches) -> tuple[bytes, bytes]:
    syscall.check(-22, "read tap_pairs")
    raise AssertionError
