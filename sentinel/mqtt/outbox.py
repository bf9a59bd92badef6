# SPDX-License-Identifier: Apache-2.0
"""One connection's worth of publishing: events in a window, documents between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import aiomqtt
import orjson
from paho.mqtt.properties import Properties

from sentinel.cloud_event import envelope_of
from sentinel.errors import BrokerError
from sentinel.mqtt import topics
from sentinel.mqtt.client import Broker
from sentinel.mqtt.cursor import CursorFile
from sentinel.mqtt.window import Window

PACKET_OVERHEAD_BYTES: Final = 512
"""More than what a topic and the properties add to a payload."""


class Outbox:
    """Sends events without waiting for each, and moves the cursor as they are acknowledged."""

    def __init__(
        self,
        broker: Broker,
        window: Window,
        cursor: CursorFile,
        topic_of: Callable[[str], str],
        most_in_flight: int,
        host: str,
        problems: dict[str, str],
    ) -> None:
        """`topic_of` gives the topic of a kind; `host` stands for one that is not known.

        What is left out is told in `problems`.
        """
        self._broker = broker
        self._window = window
        self._cursor = cursor
        self._topics: dict[str, str] = {}
        self._topic_of = topic_of
        self._host = host
        self._problems = problems
        self._most = max(1, min(most_in_flight, broker.receive_maximum))
        # A broker that refuses events is asked with one of them, not with a window full.
        self._limit = 1
        self._waiting = 0
        self._moved = asyncio.Event()
        self._newest: str | None = None
        self._refusal: str | None = None

    def acknowledged(self, mid: int, refusal: str | None) -> None:
        """Take an acknowledgement of the broker's."""
        self._moved.set()
        if refusal is not None:
            self._refusal = refusal
            return
        self._limit = self._most
        cursor = self._window.acknowledge(mid)
        if cursor is not None:
            if self._newest is None:
                # Acknowledgements come many at a time: one write for all of them.
                asyncio.get_running_loop().call_soon(self._advance)
            self._newest = cursor

    async def event(self, entry: dict[str, Any]) -> None:
        """Send an event as soon as there is room. Raises BrokerError, aiomqtt.MqttError."""
        while len(self._window) + self._waiting >= self._limit:
            await self._room()
        kind = entry["kind"]
        topic = self._topics.get(kind)
        if topic is None:
            topic = self._topics[kind] = self._topic_of(kind)
        entry["host"] = entry["host"] or self._host
        mid = self._broker.send(topic, self._payload(entry))
        self._window.sent(mid, entry["id"], time.monotonic_ns())

    async def document(
        self,
        topic: str,
        payload: bytes,
        timeout_s: float,
        *,
        retain: bool = True,
        properties: Properties | None = None,
    ) -> str | None:
        """Publish a document and wait, at most `timeout_s`, until the broker has it.

        Returns why the broker refused it, if it did.

        One that is too large for the broker is left out: it is not the log.
        """
        if not self._fits(payload):
            self._problems["size"] = (
                f"{topic} has {len(payload)} bytes, too many for the broker, and is left out"
            )
            return "too large"
        self._waiting += 1
        try:
            while len(self._window) >= self._limit:
                await self._room()
        finally:
            self._waiting -= 1
        began_ns = time.monotonic_ns()
        self._window.begun(began_ns)
        try:
            reason = await self._broker.tell(
                topic, payload, timeout_s, retain=retain, properties=properties
            )
        finally:
            self._window.ended(began_ns)
            self._moved.set()
        return str(reason) if reason.is_failure else None

    async def emptied(self) -> None:
        """Wait until every event that was sent is acknowledged."""
        while self._window.entries:
            await self._room()

    async def refused(self) -> None:
        """Wait until the broker refuses an event; raises BrokerError then."""
        while True:
            await self._room()

    async def _room(self) -> None:
        self._moved.clear()
        await self._moved.wait()
        self.check()

    def check(self) -> None:
        """Raise BrokerError if the broker has refused an event."""
        if self._refusal is not None:
            raise BrokerError(
                f"the broker refuses events ({self._refusal}): see its ACL for "
                f"{self._topic_of('x').removesuffix('x')}#"
            )

    def _advance(self) -> None:
        newest, self._newest = self._newest, None
        if newest is not None:
            self._cursor.advance(newest)

    def _payload(self, entry: dict[str, Any]) -> bytes:
        payload = orjson.dumps(envelope_of(entry))
        if not self._fits(payload):
            body = {"message": "too large for the broker", "bytes": len(payload)}
            payload = orjson.dumps(envelope_of({**entry, "body": body}))
        return payload

    def _fits(self, payload: bytes) -> bool:
        most = self._broker.largest_packet_bytes
        return most is None or len(payload) + PACKET_OVERHEAD_BYTES <= most


def will_of(topic: str, document: bytes) -> aiomqtt.Will:
    """What the broker is to tell when the connection is lost."""
    return aiomqtt.Will(topic, document, qos=1, retain=True)


def events_topic(host: str, root: str) -> Callable[[str], str]:
    """The topic of events, by kind."""
    return lambda kind: topics.event(host, kind, root)
