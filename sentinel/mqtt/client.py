# SPDX-License-Identifier: Apache-2.0
"""One connection to a broker: aiomqtt, and what it leaves to be done.

aiomqtt waits for each acknowledgement by itself, does not look at its reason, and does
not know how many a broker lets be under way. Here a message is sent without waiting, and
each acknowledgement comes back with the broker's refusal, if it is one. What is reached
into is private to aiomqtt 2; pyproject.toml keeps it below 3.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import aiomqtt
from paho.mqtt.client import (
    MQTT_CLEAN_START_FIRST_ONLY,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from sentinel.cloud_event import CONTENT_TYPE
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.packets import REFUSED

DEFAULT_RECEIVE_MAXIMUM: Final = 65_535
"""MQTT 5.0 §3.2.2.3.3; 3.1.1 has no word for it."""
PUBLISH: Final = 0x30
LARGEST_WRITE_BYTES: Final = 16 * 1024
"""What a TLS record holds (RFC 8446 §5.1)."""
RECEIVE_MAXIMUM: Final = 64
"""Messages that a broker may send us before we acknowledge one."""
LARGEST_INCOMING_BYTES: Final = 64 * 1024
"""A broker keeps what is larger to itself (MQTT 5.0 §3.1.2.11.4)."""
Acknowledged = Callable[[int, str | None], None]
"""Called with a message identifier, and why the broker refused, if it did."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are to a broker, and how it is reached."""

    host: str
    port: int
    client_id: str
    keepalive_s: int
    tls: ssl.SSLContext | None
    username: str | None
    password: str | None


class _Heard(logging.Handler):
    """Remembers what paho complains of and tells nobody else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class _Packed(Properties):
    """Properties that never change, in bytes once and for all."""

    packed: bytes

    def __init__(self, given: Properties) -> None:
        Properties.__init__(self, PacketTypes.PUBLISH)
        object.__setattr__(self, "packed", given.pack())

    def pack(self) -> bytes:
        return self.packed


def _event_properties() -> Properties:
    """UTF-8 text that is a CloudEvent in structured mode (its MQTT binding, §3.2)."""
    given = Properties(PacketTypes.PUBLISH)
    given.PayloadFormatIndicator = 1
    given.ContentType = CONTENT_TYPE
    return _Packed(given)


def _connect_properties(largest_incoming_bytes: int) -> Properties:
    given = Properties(PacketTypes.CONNECT)
    given.ReceiveMaximum = RECEIVE_MAXIMUM
    given.MaximumPacketSize = largest_incoming_bytes
    return given


class Broker(aiomqtt.Client):
    """A connection, as a context; what it tells of acknowledgements goes to a callback."""

    def __init__(
        self,
        account: Account,
        will: aiomqtt.Will | None,
        acknowledged: Acknowledged,
        *,
        is_v5: bool,
        largest_incoming_bytes: int = LARGEST_INCOMING_BYTES,
    ) -> None:
        self._heard = _Heard()
        logger = logging.Logger("mqtt", logging.WARNING)
        logger.addHandler(self._heard)
        super().__init__(
            account.host,
            account.port,
            username=account.username,
            password=account.password,
            identifier=account.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if is_v5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if is_v5 else True,
            clean_start=MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=account.keepalive_s,
            tls_context=account.tls,
            will=will,
            max_inflight_messages=0,
            # A window of small messages would otherwise wait for delayed acknowledgements.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            properties=_connect_properties(largest_incoming_bytes) if is_v5 else None,
            logger=logger,
        )
        self._handle_rest = self._client._handle_pubackcomp
        self._client._handle_pubackcomp = self._handle_puback  # type: ignore[method-assign]
        self.is_v5 = is_v5
        self.receive_maximum = DEFAULT_RECEIVE_MAXIMUM
        self.largest_packet_bytes: int | None = None
        self._acknowledged = acknowledged
        self._under_way: set[int] = set()
        self._asked: dict[int, asyncio.Future[ReasonCode]] = {}
        self.heard: Callable[[Incoming], None] | None = None
        """Called with each message that comes; None: nobody listens."""
        self._properties_of_events = _event_properties() if is_v5 else None

    @property
    def complaint(self) -> str:
        """What the socket or TLS said last."""
        return self._heard.last

    def send(self, topic: str, payload: bytes) -> int:
        """Send an event with QoS 1; its message identifier. Raises aiomqtt.MqttError."""
        info = self._client.publish(topic, payload, 1, False, self._properties_of_events)
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, self.complaint or "the connection is lost")
        self._under_way.add(info.mid)
        return info.mid

    def _on_socket_register_write(self, client: Client, _userdata: Any, sock: Any) -> None:
        def write() -> None:
            try:
                _join(client._out_packet)
                client.loop_write()
            except Exception as error:  # as aiomqtt has it: whatever it is, the connection ends
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        # The first packet is registered by the thread that connects.
        self._loop.call_soon_threadsafe(self._loop.add_writer, sock.fileno(), write)

    async def tell(
        self,
        topic: str,
        payload: bytes,
        timeout_s: float,
        *,
        retain: bool,
        properties: Properties | None = None,
    ) -> ReasonCode:
        """Publish with QoS 1 and wait for what the broker says to it.

        Raises aiomqtt.MqttError.
        """
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, self.complaint or "the connection is lost")
        answered: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._asked[info.mid] = answered
        try:
            async with asyncio.timeout(timeout_s):
                return await answered
        except TimeoutError:
            raise aiomqtt.MqttError(f"not acknowledged for {timeout_s:g} s") from None
        finally:
            del self._asked[info.mid]

    async def lost(self) -> None:
        """Wait until the connection ends; raises why, as aiomqtt.MqttError."""
        self._disconnected.add_done_callback(_retrieved)
        try:
            # Whoever no longer wants to wait must not cancel what aiomqtt goes by.
            await asyncio.shield(self._disconnected)
        except aiomqtt.MqttError as error:
            raise aiomqtt.MqttError(self.complaint or str(error)) from error
        except Exception as error:
            raise aiomqtt.MqttError(str(error)) from error
        raise aiomqtt.MqttError("the broker ended the connection")

    def _on_connect(
        self,
        client: Client,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if properties is not None:
            told = properties.json()
            self.receive_maximum = told.get("ReceiveMaximum", DEFAULT_RECEIVE_MAXIMUM)
            self.largest_packet_bytes = told.get("MaximumPacketSize")
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: Client,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            # aiomqtt would wait for an answer that will not come.
            why = self.complaint or "the broker closed the connection without an answer"
            self._connected.set_exception(aiomqtt.MqttError(why))
            return
        if reason_code.is_failure and flags.is_disconnect_packet_from_server:
            self._heard.last = str(reason_code)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _handle_puback(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """What paho does with an acknowledgement, without making objects that nobody reads.

        That is for an event that was not refused: a PUBACK of two bytes means success, a
        third is the reason (MQTT 5.0 §3.4.2). All else is paho's.
        """
        packet = self._client._in_packet["packet"]
        mid = int.from_bytes(packet[:2], "big")
        is_refused = len(packet) > 2 and packet[2] >= REFUSED
        if cmd != "PUBACK" or is_refused or mid not in self._under_way:
            return self._handle_rest(cmd)
        with self._client._out_message_mutex:
            self._client._out_messages.pop(mid, None)
            self._client._inflight_messages -= 1
        self._under_way.discard(mid)
        self._acknowledged(mid, None)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_publish(
        self,
        _client: Client,
        _userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        _properties: Properties,
    ) -> None:
        if mid in self._under_way:
            self._under_way.discard(mid)
            self._acknowledged(mid, str(reason_code) if reason_code.is_failure else None)
        elif (asked := self._asked.get(mid)) is not None and not asked.done():
            asked.set_result(reason_code)

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        if self.heard is None:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        given = message.properties
        self.heard(
            Incoming(
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(given, "ResponseTopic", None),
                getattr(given, "CorrelationData", None),
            )
        )


def _join(waiting: deque[Any]) -> None:
    """Have neighbouring events go out in one write: one TLS record, one system call.

    What waits is paho's: of an event that was sent it asks only for acknowledgement.
    """
    if len(waiting) < 2:
        return
    joined: list[Any] = []
    parts: list[bytes] = []
    size = 0
    for packet in [*waiting, None]:
        fits = packet is not None and _is_event(packet) and size < LARGEST_WRITE_BYTES
        if fits and joined and _is_event(joined[-1]):
            parts.append(packet["packet"])
            size += len(packet["packet"])
            continue
        if len(parts) > 1:
            joined[-1]["packet"] = b"".join(parts)
            joined[-1]["to_process"] += size - len(parts[0])
        if packet is not None:
            joined.append(packet)
            parts, size = [packet["packet"]], len(packet["packet"])
    waiting.clear()
    waiting.extend(joined)


def _is_event(packet: Any) -> bool:
    """A PUBLISH with QoS 1 (MQTT 5.0 §3.3.1)."""
    return bool(packet["command"] & 0xF0 == PUBLISH and packet["qos"] == 1)


def _retrieved(ended: asyncio.Future[None]) -> None:
    """Whoever stopped waiting for it has heard why by another way."""
    if not ended.cancelled():
        ended.exception()
