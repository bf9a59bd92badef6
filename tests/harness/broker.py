# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto on loopback, and somebody who listens to it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.harness import usage
from tests.harness.certificates import Authority
from tests.harness.waiting import wait_until

LOOPBACK = "127.0.0.1"
PUBLISHER = "hv-1"
"""The common name of the publisher's certificate, and what its host is called."""
LISTENER = "listener"
ACL = f"""
user {PUBLISHER}
topic write tapsentinel/{PUBLISHER}/#
topic read tapsentinel/{PUBLISHER}/orders/+
topic read tapsentinel/+/notices/+
user {LISTENER}
topic readwrite #
pattern write tapsentinel/+/orders/%u
pattern read tapsentinel/+/answers/%u/#
"""


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker with TLS, client certificates and an ACL, in a directory of its own.

    It keeps nothing back: what it has acknowledged it has handed on to who listens,
    and its sessions are on disk once `save()` was called.
    """

    def __init__(self, extra: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ts-broker-"))
        self.directory.chmod(0o755)
        self.authority = Authority(self.directory)
        server, server_key = self.authority.issue("server", LOOPBACK)
        self.certificate, self.key = self.authority.issue(PUBLISHER)
        self.listener = self.authority.issue(LISTENER)
        self.port, self.plain_port = free_port(), free_port()
        self.log_file = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        (self.directory / "acl").write_text(ACL)
        (self.directory / "conf").write_text(
            "per_listener_settings true\n"
            f"persistence true\npersistence_location {self.directory}/\n"
            # As good as none; with 0, which means none, 2.0 ends the connection of who
            # publishes without a right instead of refusing.
            "max_queued_messages 10000000\nlog_type error\nlog_type warning\nlog_type notice\n"
            f"set_tcp_nodelay true\nuser root\n{extra}\n"
            # Without TLS and without a name, for what the tests put in between.
            f"listener {self.plain_port} {LOOPBACK}\nallow_anonymous true\n"
            f"listener {self.port} {LOOPBACK}\n"
            f"cafile {self.authority.certificate}\ncertfile {server}\nkeyfile {server_key}\n"
            "require_certificate true\nuse_identity_as_username true\n"
            f"acl_file {self.directory}/acl\n"
        )

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.log_file.exists():
            error.add_note(f"the broker's log:\n{self.log_file.read_text()[-4000:]}")
        if self._process is not None and self._process.poll() is None:
            self.kill()
        subprocess.run(["rm", "-rf", str(self.directory)], check=False)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", str(self.directory / "conf")], stdout=log, stderr=log
            )
        wait_until(self._listens, 20, "mosquitto to listen")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_file.read_text()
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
            return True
        return False

    def save(self) -> None:
        """Have it write its sessions to disk."""
        assert self._process is not None
        database = self.directory / "mosquitto.db"
        before = database.stat().st_mtime_ns if database.exists() else 0
        self._process.send_signal(signal.SIGUSR1)
        wait_until(lambda: database.exists() and database.stat().st_mtime_ns > before, 20, "a save")

    def stop(self) -> None:
        """End it in good order: what waits for a session is kept."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def rewrite_acl(self, text: str) -> None:
        """Change who may do what, and begin anew with it."""
        self.stop()
        (self.directory / "acl").write_text(text)
        self.start()

    @contextlib.contextmanager
    def deaf_subscriber(self) -> Iterator[None]:
        """Somebody who subscribes to everything and then reads no byte more."""
        with socket.create_connection((LOOPBACK, self.plain_port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # CONNECT and SUBSCRIBE of 3.1.1 (§3.1, §3.8).
            deaf.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04deaf")
            deaf.sendall(b"\x82\x06\x00\x01\x00\x01#\x01")
            yield

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes a broker that accepts and never acknowledges."""
        assert self._process is not None
        self._process.send_signal(number)

    def cpu_seconds(self) -> float:
        """What it has used of a CPU."""
        assert self._process is not None
        return usage.cpu_seconds(self._process.pid)

    def memory_bytes(self) -> int:
        """What it holds in memory."""
        assert self._process is not None
        return usage.memory_bytes(self._process.pid)


class Listener:
    """Subscribes with a session that outlives connections; remembers what comes, in order."""

    def __init__(
        self,
        broker: Mosquitto,
        topic: str = "tapsentinel/#",
        *,
        lean: bool = False,
        name: str = LISTENER,
    ) -> None:
        """`lean`: of an event nothing is kept but its id, and nothing is acknowledged.

        (Who writes to a broker that was killed loses what it had yet to read.)
        """
        self._qos = 0 if lean else 1
        self.messages: list[tuple[str, bytes, bool]] = []
        """Topic, payload, and whether it was retained."""
        self.ids: list[str] = []
        """Of the events, as they came."""
        self._is_lean = lean
        self._topic = topic
        self._subscribed = threading.Event()
        self._connected = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
        certificate, key = broker.listener
        self._client.tls_set(str(broker.authority.certificate), str(certificate), str(key))
        self._client.max_inflight_messages_set(0)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        properties.ReceiveMaximum = 65535
        self._client.connect(LOOPBACK, broker.port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(20)

    @property
    def event_count(self) -> int:
        """How many events have come."""
        return len(self.ids)

    @property
    def is_connected(self) -> bool:
        """Whether it listens now."""
        return self._connected.is_set()

    def close(self) -> None:
        """Stop to listen."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Say something oneself, and wait until the broker has it."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(20)

    def on(self, ending: str) -> list[bytes]:
        """Payloads of topics with this ending."""
        return [payload for topic, payload, _ in list(self.messages) if topic.endswith(ending)]

    def events(self) -> list[dict[str, Any]]:
        """The envelopes of events, as they came."""
        return [
            json.loads(payload) for topic, payload, _ in list(self.messages) if "/events/" in topic
        ]

    def metrics(self) -> dict[str, float]:
        """The numbers of the last summary; none if none has come."""
        told = self.on("/metrics")
        return dict(json.loads(told[-1])["metrics"]) if told else {}

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        is_event = "/events/" in message.topic
        if not (is_event and self._is_lean):
            self.messages.append((message.topic, payload, message.retain))
        if is_event:
            self.ids.append(payload.partition(b'"id":"')[2].partition(b'"')[0].decode())

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe(self._topic, self._qos)
        connection = client.socket()
        assert isinstance(connection, socket.socket)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected.set()

    def _on_disconnect(self, *_: object) -> None:
        self._connected.clear()


@contextlib.contextmanager
def listening(broker: Mosquitto, *, lean: bool = False, name: str = LISTENER) -> Iterator[Listener]:
    """A listener that is gone afterwards; a second one needs a name of its own."""
    listener = Listener(broker, lean=lean, name=name)
    try:
        yield listener
    finally:
        listener.close()
