# SPDX-License-Identifier: Apache-2.0
"""What the engine wants kept reaches the journal, in order, and takes no more room than it may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sentinel import event as events
from sentinel import scribe as module
from sentinel.config import EventsConfig
from sentinel.effect import ForgetLease, IncidentKeys, Keep, KeepCut, KeepLease, Log, Open
from sentinel.event import Kind, Moment
from sentinel.journal import Journal
from sentinel.scribe import Scribe
from tests.harness.journals import NOON_NS, event, incident, open_journal, quarantine


def lease(key: str, at: int = 0, state: str = "bound") -> KeepLease:
    return KeepLease(key, "tap0", NOON_NS + at, {"state": state})


def run(path: Path, work: Callable[[Scribe], Awaitable[None]]) -> None:
    """Do it with a scribe that is started, and stop it."""

    async def with_scribe() -> None:
        scribe = Scribe(open_journal(path), lambda: None)
        scribe.start()
        try:
            await work(scribe)
        finally:
            await scribe.stop()

    asyncio.run(with_scribe())


def kept(path: Path) -> dict[str, object]:
    journal = open_journal(path)
    found: dict[str, object] = {one.key: one.state["state"] for one in journal.leases()}
    journal.close()
    return found


async def until(scribe: Scribe, true: Callable[[Journal], bool]) -> None:
    async with asyncio.timeout(10):
        while not await scribe.ask(true):
            pass


def hold(scribe: Scribe) -> threading.Event:
    """Keep the journal's thread busy, as a slow disk does, until the event is set."""
    go_on = threading.Event()
    scribe._thread.submit(go_on.wait, 30)
    return go_on


async def busy(scribe: Scribe) -> threading.Event:
    """As `hold`, with a batch that the scribe has taken and cannot write yet."""
    go_on = hold(scribe)
    scribe.put([Log(event(0))])
    for _ in range(3):
        await asyncio.sleep(0)
    assert not scribe._waiting
    return go_on


def test_leases_are_written_without_being_asked_for(tmp_path: Path) -> None:
    async def work(scribe: Scribe) -> None:
        scribe.put([lease("a"), lease("b"), Log(event(1)), Open(7), ForgetLease("b")])
        await until(scribe, lambda journal: [one.key for one in journal.leases()] == ["a"])
        await until(scribe, lambda journal: journal.last_seq() == 1)
        assert await scribe.persist([ForgetLease("a"), lease("c"), Log(event(2))])
        await until(scribe, lambda journal: [one.key for one in journal.leases()] == ["c"])

    run(tmp_path / "journal.db", work)
    assert kept(tmp_path / "journal.db") == {"c": "bound"}


def test_of_each_client_the_newest_state_alone_waits(tmp_path: Path) -> None:
    saved: list[str] = []

    async def work(scribe: Scribe) -> None:
        journal = scribe._journal
        save = journal.save_lease
        journal.save_lease = (  # type: ignore[method-assign]
            lambda key, *rest: saved.append(key) or save(key, *rest)  # type: ignore[func-returns-value]
        )
        go_on = await busy(scribe)
        for number in range(5000):
            scribe.put([lease("a", number, f"{number}"), lease("b", number, f"{number}")])
        scribe.put([ForgetLease("b"), ForgetLease("c"), lease("c", 1, "again")])
        go_on.set()
        await until(scribe, lambda journal: len(journal.leases()) == 2)

    run(tmp_path / "journal.db", work)
    assert kept(tmp_path / "journal.db") == {"a": "4999", "c": "again"}
    assert saved == ["a", "c"]


def test_an_order_s_entry_does_not_bring_an_older_state_back(tmp_path: Path) -> None:
    async def work(scribe: Scribe) -> None:
        go_on = await busy(scribe)
        scribe.put([lease("a", 1, "old")])
        order = asyncio.ensure_future(scribe.persist([lease("a", 2, "new"), Log(event(1))]))
        await asyncio.sleep(0)
        go_on.set()
        assert await order

    run(tmp_path / "journal.db", work)
    assert kept(tmp_path / "journal.db") == {"a": "new"}


def test_leases_take_no_event_s_place_and_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 100)

    async def work(scribe: Scribe) -> None:
        go_on = hold(scribe)
        scribe.put([lease(f"{number}") for number in range(150)])
        assert scribe.lost == 50
        scribe.put([lease("7", 1, "newer")])
        scribe.put([Log(event(number)) for number in range(100)])
        assert scribe.lost == 50
        go_on.set()

    run(tmp_path / "journal.db", work)
    found = kept(tmp_path / "journal.db")
    assert len(found) == 100
    assert found["7"] == "newer"
    journal = open_journal(tmp_path / "journal.db")
    assert journal.last_seq() == 100
    journal.close()


def test_all_that_waits_is_written_at_the_end(tmp_path: Path) -> None:
    async def work(scribe: Scribe) -> None:
        hold(scribe).set()
        scribe.put([lease(f"{number}") for number in range(9000)])
        scribe.put([Log(event(number)) for number in range(1200)])

    run(tmp_path / "journal.db", work)
    assert len(kept(tmp_path / "journal.db")) == 9000
    journal = open_journal(tmp_path / "journal.db")
    assert (journal.last_seq(), journal.status().ok) == (1200, True)
    journal.close()


def test_what_was_taken_when_it_is_told_to_stop_is_written(tmp_path: Path) -> None:
    async def work(scribe: Scribe) -> None:
        go_on = await busy(scribe)
        asyncio.get_running_loop().call_later(0.05, go_on.set)

    run(tmp_path / "journal.db", work)
    journal = open_journal(tmp_path / "journal.db")
    assert journal.last_seq() == 1
    journal.close()


def test_whether_something_is_on_the_disk_is_said_of_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.mkdir()

    async def work(scribe: Scribe) -> None:
        many = [Log(event(number)) for number in range(module.BATCH)]
        assert not await scribe.persist([*many, KeepCut(quarantine())])
        assert not await scribe.persist([])
        path.rmdir()
        await scribe.ask(lambda journal: journal.prune(NOON_NS))
        assert await scribe.persist([])
        assert await scribe.persist([*many, KeepCut(quarantine())])

    run(path, work)
    journal = open_journal(path)
    numbers = [entry.event.body.get("number") for entry in journal.events_after(0, 5000)]
    found = [number for number in numbers if number is not None]
    assert found == [*range(module.BATCH), *range(module.BATCH)]
    journal.close()


def test_an_incident_s_time_line_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    keys = IncidentKeys()
    key, other = keys.new(), keys.new()
    first = incident(evidence=(Moment(NOON_NS, "tap0", "DHCPOFFER"),))
    then = incident(evidence=(*first.evidence, Moment(NOON_NS + 1, "tap0", "DHCPACK")))

    async def work(scribe: Scribe) -> None:
        scribe.know_incident(other, 77)
        assert await scribe.persist(
            [
                Keep(key, first, Kind.INCIDENT_OPENED),
                Keep(key, then, Kind.INCIDENT_UPDATED),
                Keep(other, first, None),
            ]
        )

    run(path, work)
    journal = open_journal(path)
    told = [entry.event.body["evidence"] for entry in journal.events_after(0)]
    assert told == [
        [{"time_ns": NOON_NS, "place": "tap0", "text": "DHCPOFFER"}],
        [
            {"time_ns": NOON_NS, "place": "tap0", "text": "DHCPOFFER"},
            {"time_ns": NOON_NS + 1, "place": "tap0", "text": "DHCPACK"},
        ],
    ]
    assert {one.id: one.evidence for one in journal.incidents()} == {
        1: then.evidence,
        77: first.evidence,
    }
    journal.close()


def test_what_is_over_the_rate_is_told_later_and_says_for_how_many(tmp_path: Path) -> None:
    async def play() -> list[int]:
        journal = open_journal(tmp_path / "journal.db")
        scribe = Scribe(journal, lambda: None, EventsConfig(log_per_port_per_second=1))
        scribe.start()
        gone = events.port_gone(NOON_NS, "tap0", 7, None, role="port")
        assert await scribe.persist([Log(gone)] * 50)
        await scribe.tend(NOON_NS, is_due=False)
        told = await scribe.ask(lambda kept: kept.events_after(0))
        counts = [one.event.body.get("stands_for", 1) for one in told]
        assert len(counts) <= 11
        assert scribe.coalesced > 30
        await scribe.stop()
        again = open_journal(tmp_path / "journal.db")
        held = [one.event.body.get("stands_for", 1) for one in again.events_after(0)]
        again.close()
        return [times for times in held if isinstance(times, int)]

    assert sum(asyncio.run(play())) == 50, "none is missing, at the end at the latest"
