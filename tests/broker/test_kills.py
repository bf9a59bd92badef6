# SPDX-License-Identifier: Apache-2.0
"""Broker, publisher and daemon are killed at random; nothing that was journaled is lost.

What a broker has acknowledged is its own to keep, and mosquitto keeps it in memory. So
that a SIGKILL of it loses nothing of that, this one hands everything on before it
acknowledges, to a subscriber that writes nothing back, and it is killed, in the midst of
the stream, while that keeps up: what is left is in the kernel's buffers, and is read.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.broker import Listener, Mosquitto, listening
from tests.harness.journals import open_journal
from tests.harness.publisher import Host
from tests.harness.waiting import wait_until

WINDOW = 20
"""What a mosquitto as it is shipped lets be under way."""
CHUNK = 2000
RATE = int(os.environ.get("TAPSENTINEL_RATE", "2500"))
"""Events a second: as many as a subscriber in Python keeps up with."""
BEHIND = 200
"""Events that a subscriber may be behind and still keeps up."""


class Outcome(NamedTuple):
    """What came of a run."""

    journaled: list[str]
    received: list[str]
    kills: int
    seconds: float

    @property
    def duplicates(self) -> int:
        return len(self.received) - len(set(self.received))


@contextlib.contextmanager
def stage() -> Iterator[tuple[Mosquitto, Listener, Host]]:
    with (
        Mosquitto("max_inflight_messages 0\nqueue_qos0_messages true") as broker,
        listening(broker, lean=True) as listener,
        Host(broker, window=WINDOW) as host,
    ):
        broker.save()
        host.start_daemon()
        host.start()
        yield broker, listener, host


def play(events: int, kills: int, seed: int) -> Outcome:
    chance = random.Random(seed)
    began = time.monotonic()
    with stage() as (broker, listener, host):
        wait_until(lambda: listener.on("/status"), 30, "the publisher")
        asked = done = 0
        while asked < events or done < kills:
            count = max(500, min(CHUNK, events - asked))
            host.ask_for(count, RATE)
            if done < kills * (asked + count) / events:
                time.sleep(chance.uniform(0, 0.4))  # the moment is what is tried, at random
                what = chance.choice(("broker", "publisher", "daemon"))
                kill(what, broker, listener, host)
                done += 1
                if what == "daemon":
                    continue  # what it had been asked for went with it
            host.appended(count)
            asked += count
        wait_until(lambda: host.status()["mqtt"].get("lag") == 0, 120, "no lag", 0.2)
        last = host.append(500)
        wait_until(lambda: seq_of(listener.ids[-1]) == last, 120, "the last", 0.2)
        host.kill_daemon()
        journaled = entries(host.directory / "journal.db")
        received = list(listener.ids)
    return Outcome(journaled, received, done, time.monotonic() - began)


def kill(what: str, broker: Mosquitto, listener: Listener, host: Host) -> None:
    match what:
        case "broker":
            wait_until(lambda: keeps_up(listener, host), 120, "the listener to keep up", 0.001)
            broker.kill()
            broker.start()
            wait_until(lambda: listener.is_connected, 60, "the listener to be back")
        case "publisher":
            host.kill()
            host.start()
        case _:
            host.kill_daemon()
            host.start_daemon()


def keeps_up(listener: Listener, host: Host) -> bool:
    if not listener.is_connected:
        return False
    # In this order: what was acknowledged by now, and then how far the listener is.
    acknowledged = host.cursor_seq()
    return bool(listener.ids) and acknowledged - seq_of(listener.ids[-1]) < BEHIND


def entries(path: Path) -> list[str]:
    journal = open_journal(path, max_size=4 * 10**9)
    found: list[str] = []
    cursor = 0
    while some := journal.events_after(cursor, 10_000):
        found += [one.id for one in some]
        cursor = some[-1].seq
    journal.close()
    return found


def seq_of(name: str) -> int:
    return int(name.split("-")[1])


def expect_nothing_lost(outcome: Outcome) -> None:
    missing = set(outcome.journaled) - set(outcome.received)
    assert not missing, f"{len(missing)} of {len(outcome.journaled)}: {sorted(missing)[:5]}"
    first = [*dict.fromkeys(outcome.received)]
    assert first == sorted(first, key=seq_of), "order"
    assert outcome.duplicates <= WINDOW * outcome.kills


def test_a_few_kills() -> None:
    outcome = play(events=6000, kills=6, seed=random.randrange(10**6))
    expect_nothing_lost(outcome)


@pytest.mark.slow
@pytest.mark.alone
def test_a_hundred_kills() -> None:
    events = int(os.environ.get("TAPSENTINEL_EVENTS", "200000"))
    outcome = play(events, kills=100, seed=random.randrange(10**6))
    print(
        f"{len(outcome.journaled)} journaled, {outcome.kills} kills, "
        f"{outcome.duplicates} duplicates, {outcome.seconds:.0f} s"
    )
    expect_nothing_lost(outcome)
    # 0.1 % of a million with a hundred kills: ten a kill.
    assert outcome.duplicates <= 10 * outcome.kills
