# SPDX-License-Identifier: Apache-2.0
"""Somebody with a certificate who gives orders through a broker."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.harness.broker import LOOPBACK, PUBLISHER, Mosquitto
from tests.harness.waiting import wait_until


class Principal:
    """A client of a broker with a certificate; remembers what is answered to it."""

    def __init__(self, broker: Mosquitto, name: str) -> None:
        self.name = name
        self.certificate, self.tls_key = broker.authority.issue(name)
        self.answers: list[tuple[str, bytes, dict[str, Any]]] = []
        """Topic, correlation data and document."""
        self.reasons: dict[int, Any] = {}
        """What the broker said, by message."""
        subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"{name}-{secrets.token_hex(4)}", protocol=paho.MQTTv5
        )
        self._client.tls_set(
            str(broker.authority.certificate), str(self.certificate), str(self.tls_key)
        )
        self._client.on_connect = lambda client, *_: client.subscribe(
            f"tapsentinel/+/answers/{name}/#", 1
        )
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(1000)
        self._client.connect(LOOPBACK, broker.port)
        self._client.loop_start()
        assert subscribed.wait(20)
        connection = self._client.socket()
        assert isinstance(connection, socket.socket)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def answer_topic(self) -> str:
        """Where an answer may go."""
        return f"tapsentinel/{PUBLISHER}/answers/{self.name}/1"

    def send(
        self,
        message: bytes,
        *,
        topic: str | None = None,
        answer_topic: str | None = None,
        correlation: bytes = b"",
        retain: bool = False,
    ) -> int:
        """Publish an order; its message identifier. `answer_topic` "": wants no answer."""
        properties = Properties(PacketTypes.PUBLISH)
        where = self.answer_topic if answer_topic is None else answer_topic
        if where:
            properties.ResponseTopic = where
        if correlation:
            properties.CorrelationData = correlation
        to = topic or f"tapsentinel/{PUBLISHER}/orders/{self.name}"
        return self._client.publish(to, message, 1, retain, properties).mid

    def told(self, mid: int) -> str:
        """What the broker said to a message."""
        wait_until(lambda: mid in self.reasons, 30, "the broker's word")
        return str(self.reasons[mid])

    def ask(self, message: bytes, **given: Any) -> dict[str, Any]:
        """Send an order and wait for the answer to it."""
        correlation = secrets.token_bytes(8)
        self.send(message, correlation=correlation, **given)
        wait_until(lambda: self.answers_to(correlation), 30, "an answer", 0.02)
        return self.answers_to(correlation)[0]

    def answers_to(self, correlation: bytes) -> list[dict[str, Any]]:
        """Documents with this correlation data."""
        return [document for _, with_it, document in list(self.answers) if with_it == correlation]

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", b"")
        self.answers.append((message.topic, correlation, json.loads(message.payload)))

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, reason: object, _properties: object
    ) -> None:
        self.reasons[mid] = reason


@contextlib.contextmanager
def principal(broker: Mosquitto, name: str) -> Iterator[Principal]:
    """Somebody who is gone afterwards."""
    one = Principal(broker, name)
    try:
        yield one
    finally:
        one.close()
