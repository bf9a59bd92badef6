# SPDX-License-Identifier: Apache-2.0
"""The log arrives at a real broker, whole, in order and once; and what stands beside it."""

from __future__ import annotations

import json
import pwd
from pathlib import Path

from tests.harness.broker import Listener, Mosquitto
from tests.harness.publisher import USER, Host
from tests.harness.waiting import wait_until

TOPIC = "tapsentinel/hv-1"


def expect_all(listener: Listener, count: int, timeout_s: float = 60) -> list[str]:
    """The ids of events, once there are so many; in order and each once."""
    wait_until(lambda: listener.event_count >= count, timeout_s, f"{count} events", 0.02)
    events = listener.events()
    ids = [one["id"] for one in events]
    assert len(ids) == len(set(ids)) == count
    sequence = [one["sequence"] for one in events]
    assert sequence == sorted(sequence)
    return ids


def test_the_log_comes_whole_and_in_order(listener: Listener, host: Host) -> None:
    host.start_daemon()
    host.append(1000)
    host.start()
    expect_all(listener, 1000)
    host.append(500)
    expect_all(listener, 1500)
    topic, payload, retained = next(one for one in listener.messages if "/events/" in one[0])
    assert (topic, retained) == (f"{TOPIC}/events/incident.updated", False)
    told = json.loads(payload)
    assert (told["specversion"], told["source"]) == ("1.0", "/tapsentinel/hv-1")
    wait_until(lambda: host.status()["mqtt"]["lag"] == 0, 10, "no lag", 0.1)
    status = host.status()
    assert status["problems"] == []
    assert status["mqtt"]["protocol"] == "5"
    assert status["mqtt"]["acknowledged"] == 1500
    assert status["mqtt"]["cursor_seq"] == 1500


def test_it_is_nobody_and_can_do_nothing(listener: Listener, host: Host) -> None:
    host.start_daemon()
    host.append(500)
    host.start()
    expect_all(listener, 500)
    told = Path(f"/proc/{host.publisher_pid}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert set(facts["Uid"].split()) == {str(pwd.getpwnam(USER).pw_uid)}
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    words = Path(f"/proc/{host.publisher_pid}/cmdline").read_bytes()
    assert b".key" not in words


def test_birth_will_and_a_stop_that_was_meant(listener: Listener, host: Host) -> None:
    def states() -> list[tuple[str, str]]:
        told = [json.loads(one) for one in listener.on("/status")]
        return [(one["state"], one["reason"]) for one in told]

    host.start_daemon()
    host.start()
    wait_until(lambda: states()[-1:] == [("online", "connected")], 20, "the birth")
    wait_until(lambda: b'"guard":"up"' in listener.on("/status")[-1], 20, "the guard to be seen")
    host.kill()
    wait_until(lambda: states()[-1] == ("offline", "lost"), 20, "the will")
    host.start()
    wait_until(lambda: states()[-1] == ("online", "connected"), 20, "the second birth")
    host.kill_daemon()
    wait_until(
        lambda: b'"guard":"down"' in listener.on("/status")[-1], 20, "the guard to be missed"
    )
    host.start_daemon()
    wait_until(lambda: b'"guard":"up"' in listener.on("/status")[-1], 20, "the guard to be back")
    assert host.stop() == 0
    wait_until(lambda: states()[-1] == ("offline", "stopped"), 20, "the farewell")


def test_states_of_ports_are_retained_and_go_with_the_port(listener: Listener, host: Host) -> None:
    ports = f"{TOPIC}/ports/"

    def retained() -> dict[str, bytes]:
        last: dict[str, bytes] = {}
        for topic, payload, _ in list(listener.messages):
            if topic.startswith(ports):
                last[topic.removeprefix(ports)] = payload
        return {name: payload for name, payload in last.items() if payload}

    host.configure(ports_interval="1s")
    host.start_daemon()
    host.set_ports(["tap1", "tap2"])
    host.start()
    wait_until(lambda: set(retained()) == {"tap1", "tap2"}, 20, "two ports", 0.05)
    state = json.loads(retained()["tap1"])
    assert (state["name"], state["state"], state["role"]) == ("tap1", "watched", "port")
    assert "counters" not in state
    host.set_ports(["tap2", "tap3"])
    wait_until(lambda: set(retained()) == {"tap2", "tap3"}, 20, "one gone, one new", 0.05)
    host.kill()
    host.set_ports(["tap3"])
    host.start()
    wait_until(lambda: set(retained()) == {"tap3"}, 20, "one that went meanwhile", 0.05)


def test_a_restart_repeats_nothing(listener: Listener, host: Host) -> None:
    host.start_daemon()
    for round_ in range(1, 4):
        host.append(500)
        host.start()
        expect_all(listener, 500 * round_)
        assert host.stop() == 0
    host.kill_daemon()
    host.start_daemon()
    host.append(500)
    host.start()
    expect_all(listener, 2000)


def test_a_journal_begun_anew_is_published_and_repeats_no_name(
    listener: Listener, host: Host
) -> None:
    host.start_daemon()
    host.append(500)
    host.start()
    before = expect_all(listener, 500)
    host.kill_daemon()
    for file in host.directory.glob("journal.db*"):
        file.unlink()
    host.start_daemon()
    assert host.append(500) == 500, "the same numbers"
    wait_until(lambda: listener.event_count >= 1000, 30, "the new log")
    ids = [one["id"] for one in listener.events()]
    assert ids[:500] == before
    assert len(set(ids)) == len(ids) == 1000


def test_a_broker_that_was_away_is_told_all_of_it(
    broker: Mosquitto, listener: Listener, host: Host
) -> None:
    broker.save()
    host.start_daemon()
    host.start()
    host.append(500)
    expect_all(listener, 500)
    broker.stop()
    host.append(3000)
    host.wait_for("3000 events wait in the journal")
    broker.start()
    expect_all(listener, 3500)
    wait_until(lambda: host.status()["problems"] == [], 20, "no problem", 0.1)
    assert host.status()["mqtt"]["connects"] == 2
    assert "refused" in host.status()["mqtt"]["last_error"]


def test_a_second_publisher_is_refused(listener: Listener, host: Host) -> None:
    host.start_daemon()
    host.append(500)
    host.start()
    expect_all(listener, 500)
    done = host.run_once()
    assert done.returncode == 1
    assert "another publisher runs with it" in done.stderr
