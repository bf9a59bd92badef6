# SPDX-License-Identifier: Apache-2.0
"""Any messages in any order: nothing raises, all stays bounded, a restart changes nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.dhcp.book import MOST_OF_PORT
from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.lease import MOST_ADDRESSES
from sentinel.dhcp.sight import MOST_SIGHTS
from sentinel.dhcp.step import INFINITE_NS, OF_CLIENT, Act
from sentinel.dhcp.store import dump, load
from sentinel.durations import DAY_NS
from sentinel.journal_rows import lease_row
from tests.harness.dhcp_play import PORT, Play

NEIGHBOUR = 8
MESSAGES = st.fixed_dictionaries(
    {
        "act": st.sampled_from(list(Act)),
        "role": st.sampled_from(["port", "uplink"]),
        "passed": st.sampled_from([True, True, True, False]),
        "xid": st.integers(0, 3),
        "port": st.sampled_from([PORT, PORT, NEIGHBOUR, 99]),
        "mac": st.sampled_from(["aa", "bb", "cc"]),
        "family": st.sampled_from([4, 6]),
        "address": st.sampled_from(["10.0.0.7", "10.0.0.8", None]),
        "lease_s": st.sampled_from([None, 0, 0.5, 10, 60, 3600, INFINITE_NS / SECOND_NS]),
        "t1_s": st.sampled_from([None, 0, 5, 10**6]),
        "t2_s": st.sampled_from([None, 0, 8, 10**6]),
        "vid": st.sampled_from([None, 5]),
        "note": st.sampled_from([None, "no", "\x1b" * 300]),
    }
)
EVENTS = st.one_of(
    MESSAGES,
    MESSAGES,
    st.builds(lambda seconds: {"wait": seconds}, st.sampled_from([0.1, 1, 3, 7, 30, 100])),
    st.sampled_from([{"drains": True}, {"drains": False}, {"missed": 1}, {"missed": -1}]),
    st.sampled_from([{"jump": 20}, {"jump": 5000}, {"reads": True}, {"reads": False}]),
    st.sampled_from([{"gone": NEIGHBOUR}, {"cut": True}, {"cut": False}]),
)


def new_play() -> Play:
    play = Play()
    play.add_port(NEIGHBOUR, "tap8")
    return play


def do(play: Play, event: dict[str, Any]) -> None:
    match event:
        case {"wait": seconds}:
            play.wait(seconds)
        case {"jump": seconds}:
            play.now_ns += seconds * SECOND_NS
        case {"drains": drains}:
            play.queue.drains = drains
        case {"missed": by}:
            play.missed = max(0, play.missed + by)
        case {"reads": reads}:
            play.reads = reads
        case {"cut": cut}:
            play.is_cut = cut
        case {"gone": ifindex}:
            play.apply(play.watch.gone(ifindex, play.dial.wall_ns(play.now_ns)))
        case _:
            play.queues[event["port"]].passed += event["act"] not in OF_CLIENT
            play.sent_ns = play.now_ns - SECOND_NS
            play.step(**event)
            play.now_ns += 1_000_000


def check_bounds(play: Play) -> None:
    book = play.watch._book
    assert sum(len(port.clients) for port in book.ports()) == len(book)
    holders = 0
    for port in book.ports():
        assert len(port.clients) <= MOST_OF_PORT
        for client in port.clients.values():
            holders += client.lease is not None
            for lease in (client.lease, client.before, client.granted):
                if lease is not None:
                    assert 0 < len(lease.addresses) <= MOST_ADDRESSES
                    assert 0 <= lease.t1_ns <= lease.t2_ns <= lease.lease_ns
            if client.exchange is not None:
                assert len(client.exchange.sights.kept) <= MOST_SIGHTS
                assert len(client.exchange.asked) <= 8
                assert len(client.exchange.arrivals) <= 8
                assert client.exchange.ignored_for_sure <= client.exchange.ignored
            assert len(client.naks) <= 16
            # Whoever waits for something is looked at, now or at its time.
            due_ns = client.due_ns()
            who = (client.ifindex, (client.family, client.key))
            assert due_ns is None or who in book._awake or who in book._alarms._set
    assert len(book._claims) <= holders * MOST_ADDRESSES
    open_now = [
        (one.ifindex, one.detail)
        for _, one in play.incidents.values()
        if (one.closed_wall_ns is None)
    ]
    assert len(open_now) == len(set(open_now))


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=60))
def test_nothing_raises_and_all_is_bounded(events: list[dict[str, Any]]) -> None:
    play = new_play()
    for event in events:
        do(play, event)
        play.tick()
        check_bounds(play)
        for document in play.leases():
            assert document["remaining_ns"] is None or document["remaining_ns"] >= 0
        play.watch.exchanges(PORT, play.now_ns, play.dial)
    for _, incident in play.told:
        assert incident.summary.startswith("tap")
        assert incident.frames >= 1


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.sampled_from([0, 5000, -DAY_NS]))
def test_a_client_that_went_through_the_journal_is_the_same(
    events: list[dict[str, Any]], other_clock_ns: int
) -> None:
    play = new_play()
    for event in events:
        do(play, event)
    for port in play.watch._book.ports():
        for client in port.clients.values():
            state = dump(client, 77)
            assert lease_row("key", "tap7", 0, state) is not None
            after = load(state, 77)
            after_boot = load(state, 77 + other_clock_ns)
            assert after is not None
            assert after_boot is not None
            after.is_changed = client.is_changed
            assert after == client
            assert dump(after_boot, 77 + other_clock_ns) == state


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=30), st.lists(MESSAGES, max_size=20))
def test_behind_a_restart_everything_goes_on_as_it_would_have(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    """But for who only ever asked once, whom nobody keeps."""
    plays = [new_play(), new_play()]
    for play in plays:
        for event in before:
            do(play, event)
        play.wait(1)
    plays[1].restart()
    kept = {(one["ifindex"], one["family"], one["client"]) for one in plays[1].leases()}
    for event in after:
        for play in plays:
            do(play, event)
    shown = [
        [
            {**one, "trouble": None}
            for one in play.leases()
            if (one["ifindex"], one["family"], one["client"]) in kept
        ]
        for play in plays
    ]
    assert shown[0] == shown[1]
