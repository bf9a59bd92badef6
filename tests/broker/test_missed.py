# SPDX-License-Identifier: Apache-2.0
"""A journal is bounded: what it removed before the broker was told is counted and said."""

from __future__ import annotations

from typing import Any

from tests.harness.broker import Listener, Mosquitto
from tests.harness.publisher import Host
from tests.harness.waiting import wait_until

FIRST = 500
MEANWHILE = 6000
SMALL_BYTES = 1_000_000


def expect_every_number_told_or_counted(listener: Listener, last_seq: int) -> int:
    """How many were counted; the rest were told, in order. What comes again has its first id."""
    wait_until(
        lambda: bool(listener.ids) and listener.ids[-1].endswith(f"-{last_seq}"), 60, "the last"
    )
    expected, missing = 1, 0
    for one in {one["id"]: one for one in listener.events()}.values():
        data: dict[str, Any] = one["data"]
        if one["type"] == "tapsentinel.log.gap":
            body = data["body"]
            assert (body["from_seq"], body["to_seq"]) == (expected, data["seq"])
            assert body["missing"] == data["seq"] - expected + 1
            missing += body["missing"]
        else:
            assert data["seq"] == expected
        expected = data["seq"] + 1
    return missing


def test_a_broker_that_is_away_for_longer_than_the_journal_reaches(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    host.configure(metrics_interval="1s")
    broker.save()
    host.start_daemon(SMALL_BYTES)
    host.start()
    host.append(FIRST)
    wait_until(lambda: listener.event_count == FIRST, 30, "the first events")
    broker.stop()
    host.append(MEANWHILE)
    host.wait_for("events are gone from the journal before the broker was told of them")
    said = host.status()["mqtt"]
    assert said["missing"] + said["lag"] == MEANWHILE
    broker.start()
    missing = expect_every_number_told_or_counted(listener, FIRST + MEANWHILE)
    assert missing > MEANWHILE // 2
    wait_until(lambda: listener.metrics().get("tapsentinel_mqtt_missed_total") == missing, 20, "it")
    host.wait_for(f"{missing} events were gone from the journal before they could be told")
    assert host.status()["mqtt"]["missed"] == missing


def test_a_publisher_that_is_away_for_longer_than_the_journal_reaches(
    listener: Listener, host: Host
) -> None:
    host.start_daemon(SMALL_BYTES)
    host.start()
    host.append(FIRST)
    wait_until(lambda: listener.event_count == FIRST, 30, "the first events")
    assert host.stop() == 0
    host.append(MEANWHILE)
    host.kill_daemon()
    host.start_daemon(SMALL_BYTES)
    last = host.append(FIRST)
    host.start()
    missing = expect_every_number_told_or_counted(listener, last)
    assert missing > MEANWHILE // 2
    assert host.stop() == 0
    host.append(FIRST)
    host.start()
    assert expect_every_number_told_or_counted(listener, last + FIRST) == missing, "told once"


def test_a_journal_that_does_not_know_what_was_told(listener: Listener, host: Host) -> None:
    host.start_daemon()
    host.start()
    host.append(FIRST)
    wait_until(lambda: listener.event_count == FIRST, 30, "the first events")
    host.kill_daemon()
    for file in host.directory.glob("journal.db*"):
        file.unlink()
    host.start_daemon()
    host.wait_for("the last event that was told: it was begun anew")
