# SPDX-License-Identifier: Apache-2.0
"""How often a refusal is told of, and what it stands for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sentinel.control_peer import SEVERAL_UIDS, RefusalGate
from sentinel.protocol import Peer

WINDOW_NS = 60


def peer(uid: int, pid: int = 1) -> Peer:
    return Peer(pid, uid, uid, frozenset())


def test_the_first_is_told_at_once_and_the_rest_when_the_window_ends() -> None:
    gate = RefusalGate(WINDOW_NS)
    assert gate.refused(peer(7), 0) == 1
    assert [gate.refused(peer(7, pid), 1) for pid in range(2, 6)] == [0] * 4
    assert gate.due(WINDOW_NS - 1) == []
    assert gate.due(WINDOW_NS) == [(peer(7, 5), 4)]
    assert not gate.is_idle()
    assert gate.refused(peer(7), WINDOW_NS + 1) == 0
    assert gate.due(2 * WINDOW_NS) == [(peer(7), 1)]
    assert gate.due(3 * WINDOW_NS) == []
    assert gate.is_idle()
    assert gate.refused(peer(7), 4 * WINDOW_NS) == 1


def test_users_do_not_hide_each_other() -> None:
    gate = RefusalGate(WINDOW_NS)
    assert [gate.refused(peer(uid), 0) for uid in (7, 8, 7)] == [1, 1, 0]


def test_more_users_than_are_told_apart_are_told_of_together() -> None:
    gate = RefusalGate(WINDOW_NS, max_uids=4)
    assert sum(gate.refused(peer(uid), 0) for uid in range(1000)) == 5
    assert [(whose.uid, times) for whose, times in gate.due(WINDOW_NS)] == [(SEVERAL_UIDS, 995)]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30)), max_size=200))
def test_no_refusal_is_lost_or_told_twice(knocks: list[tuple[int, int]]) -> None:
    gate = RefusalGate(WINDOW_NS, max_uids=3)
    now_ns, told = 0, 0
    for uid, later_ns in knocks:
        now_ns += later_ns
        told += sum(times for _, times in gate.due(now_ns))
        told += gate.refused(peer(uid), now_ns)
    while not gate.is_idle():
        now_ns += WINDOW_NS
        told += sum(times for _, times in gate.due(now_ns))
    assert told == len(knocks)
