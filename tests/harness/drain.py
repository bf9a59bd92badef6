# SPDX-License-Identifier: Apache-2.0
"""How fast a log that has waited reaches the broker, against a client that only publishes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.harness.broker import LOOPBACK, PUBLISHER, Mosquitto
from tests.harness.publisher import Host
from tests.harness.usage import cpu_seconds
from tests.harness.waiting import wait_until

PAYLOAD = bytes(1100)
"""About as large as an event in its envelope."""
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Pace:
    """How long so many events took, and what of a CPU."""

    events: int
    seconds: float
    cpu_seconds: float

    @property
    def per_event_us(self) -> float:
        """Wall time of one."""
        return self.seconds / self.events * 1e6

    @property
    def cpu_per_event_us(self) -> float:
        """CPU time of one."""
        return self.cpu_seconds / self.events * 1e6


@dataclass(frozen=True, slots=True)
class Drained:
    """The publisher's pace, what the daemon's part cost, and the pace of a bare client."""

    publisher: Pace
    daemon_cpu_seconds: float
    bare: Pace

    @property
    def against_bare(self) -> float:
        """How much longer an event took than one of the bare client's."""
        return self.publisher.seconds / self.publisher.events * self.bare.events / self.bare.seconds


def drain(events: int) -> Drained:
    """Journal so many with no publisher there, then let it catch up; in the same run, the bare."""
    with Mosquitto() as broker, Host(broker) as host:
        host.start_daemon()
        last = host.append(events)
        daemon_before = cpu_seconds(host.daemon_pid)
        host.start()
        wait_until(
            lambda: (host.state / "cursor").exists() and host.cursor_seq() > 0, 60, "the first"
        )
        first = host.cursor_seq()
        began, before = time.monotonic(), cpu_seconds(host.publisher_pid)
        wait_until(lambda: host.cursor_seq() >= last, TIMEOUT_S, "the last", 0.02)
        ours = Pace(
            last - first, time.monotonic() - began, cpu_seconds(host.publisher_pid) - before
        )
        daemon = cpu_seconds(host.daemon_pid) - daemon_before
        host.stop()
        return Drained(ours, daemon, bare(broker, max(1000, events // 5)))


def bare(broker: Mosquitto, events: int) -> Pace:
    """paho alone: the same broker, TLS, QoS, size and window, and no log behind it."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "bare", protocol=paho.MQTTv5)
    client.tls_set(str(broker.authority.certificate), str(broker.certificate), str(broker.key))
    client.max_inflight_messages_set(20)
    client.max_queued_messages_set(0)
    all_there = threading.Event()
    acknowledged: list[int] = []

    def on_publish(_client: object, _data: object, mid: int, *_: object) -> None:
        acknowledged.append(mid)
        if len(acknowledged) == events:
            all_there.set()

    client.on_publish = on_publish
    client.connect(LOOPBACK, broker.port)
    client.loop_start()
    try:
        wait_until(client.is_connected, 20, "the bare client")
        began, before = time.monotonic(), time.process_time()
        for _ in range(events):
            client.publish(f"tapsentinel/{PUBLISHER}/events/bare", PAYLOAD, 1)
        if not all_there.wait(TIMEOUT_S):
            raise TimeoutError(f"{len(acknowledged)} of {events} were acknowledged")
        return Pace(events, time.monotonic() - began, time.process_time() - before)
    finally:
        client.disconnect()
        client.loop_stop()
