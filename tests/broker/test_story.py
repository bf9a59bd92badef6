# SPDX-License-Identifier: Apache-2.0
"""From a guest's frame to a subscriber, through the real guard, daemon and publisher."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.config import EventsConfig
from sentinel.event_gate import BURST_S
from tests.harness.blast import Blast
from tests.harness.broker import LOOPBACK, PUBLISHER, Listener, Mosquitto
from tests.harness.daemon import COMMAND, Tables
from tests.harness.frames import Bpdu, bpdu
from tests.harness.guarded import OFFENDER, SIZES, Scene, bpdu_frames, guarded, needs_daemon
from tests.harness.publisher import READERS, USER
from tests.harness.usage import memory_bytes
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

RATE_PER_S = EventsConfig().log_per_port_per_second
MORE_BYTES = 8 << 20


def told(broker: Mosquitto, state: Path, action: str) -> Tables:
    return {
        "checks.bpdu": {"action": action},
        "fuse": {"max_quarantined": "100%"},
        "control": {"readers": READERS},
        "events": {"host": PUBLISHER},
        "mqtt": {
            "enabled": True,
            "host": LOOPBACK,
            "port": broker.port,
            "ca_file": str(broker.authority.certificate),
            "cert_file": str(broker.certificate),
            "key_file": str(broker.key),
            "user": USER,
            "state_dir": str(state),
        },
    }


@contextlib.contextmanager
def publishing(
    broker: Mosquitto, action: str, more: Tables | None = None
) -> Iterator[tuple[Scene, subprocess.Popen[bytes]]]:
    state = broker.directory / "publisher"
    state.mkdir()
    shutil.chown(state, USER)
    tables = {**told(broker, state, action), **(more or {})}
    with guarded(tables, taps=[OFFENDER]) as scene:
        scene.sentinel.directory.chmod(0o755)
        with (broker.directory / "publisher.log").open("ab") as log:
            words = [str(COMMAND), "mqtt", "--config", str(scene.sentinel.config)]
            publisher = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            yield scene, publisher
        finally:
            publisher.kill()
            publisher.wait()


def kinds(listener: Listener, prefix: str) -> list[dict[str, Any]]:
    return [one for one in listener.events() if one["type"].startswith(f"tapsentinel.{prefix}")]


def test_who_subscribes_knows_within_a_second(broker: Mosquitto, listener: Listener) -> None:
    with publishing(broker, "quarantine") as (scene, _):
        ports = f"/ports/{OFFENDER}"
        wait_until(lambda: listener.on(ports), 30, "the port's state")
        assert json.loads(listener.on(ports)[-1])["state"] == "watched"
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        began = time.monotonic()
        wait_until(lambda: kinds(listener, "quarantine.set"), 10, "the cut")
        took_s = time.monotonic() - began
        (incident,) = kinds(listener, "incident.opened")
        assert incident["subject"] == OFFENDER
        assert incident["data"]["body"]["verdict"] == "latched"
        wait_until(
            lambda: json.loads(listener.on(ports)[-1])["state"] == "quarantined", 10, "the state"
        )
        assert json.loads(listener.on(ports)[-1])["quarantine"]["cause"] == "bpdu"
        wait_until(
            lambda: scene.sentinel.json("status")["mqtt"].get("state") == "connected",
            10,
            "the report",
        )
        assert scene.sentinel.json("status")["problems"] == []
        shown = scene.sentinel.cli("status").stdout
        assert f"connected to {LOOPBACK}:{broker.port} by MQTT 5" in shown
        assert took_s < 1


def test_a_broker_that_never_acknowledges_is_nothing_to_the_guard(
    broker: Mosquitto, listener: Listener
) -> None:
    with publishing(broker, "quarantine") as (scene, _):
        wait_until(lambda: listener.on("/status"), 30, "the publisher")
        broker.signal(signal.SIGSTOP)
        try:
            scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
            scene.wait_for_state(OFFENDER, "quarantined")
            frames = scene.counters(OFFENDER)["from_guest"]["dropped"]["total"]
            scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
            assert scene.counters(OFFENDER)["from_guest"]["dropped"]["total"] == frames + 1
            wait_until(
                lambda: "has acknowledged none for" in str(scene.sentinel.json("status")),
                30,
                "the complaint",
                0.2,
            )
        finally:
            broker.signal(signal.SIGCONT)
        wait_until(lambda: kinds(listener, "quarantine.set"), 30, "the cut")
        wait_until(lambda: scene.sentinel.json("status")["problems"] == [], 20, "no problem", 0.2)


@pytest.mark.parametrize("size", SIZES)
def test_a_flood_is_a_handful_of_events_with_exact_totals(
    broker: Mosquitto, listener: Listener, size: int
) -> None:
    with publishing(broker, "drop", {"journal": {"max_size": "1MB"}}) as (scene, publisher):
        wait_until(lambda: listener.on(f"/ports/{OFFENDER}"), 30, "the publisher")
        pids = (publisher.pid, scene.sentinel.json("status")["pid"])
        # Once through everything that is imported or made when it is first needed.
        scene.tap(OFFENDER).write(bpdu(Bpdu.STP))
        wait_until(lambda: kinds(listener, "incident.opened"), 30, "the incident")
        before = [memory_bytes(pid) for pid in pids]
        began = time.monotonic()
        with Blast(scene.tap(OFFENDER), bpdu_frames(), size) as blast:
            sent = blast.wait()

        def total() -> int:
            last = {one["data"]["body"]["id"]: one for one in kinds(listener, "incident")}
            return sum(one["data"]["body"]["frames"] for one in last.values())

        wait_until(lambda: total() == sent.frames + 1, 60, "the total", 0.1)
        took_s = time.monotonic() - began
        events = [one for one in listener.events() if one.get("subject") == OFFENDER]
        print(f"{sent.frames_per_second:,.0f} frames a second, {len(events)} events")
        assert len(events) < 30
        assert len(events) < RATE_PER_S * (took_s + BURST_S)
        assert scene.sentinel.json("status")["journal"]["size_bytes"] < 1_100_000
        assert [
            memory_bytes(pid) - was < MORE_BYTES for pid, was in zip(pids, before, strict=True)
        ] == [
            True,
            True,
        ]
