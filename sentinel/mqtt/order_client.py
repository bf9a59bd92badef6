# SPDX-License-Identifier: Apache-2.0
"""The command's end of an order from afar: signed here, carried by the broker, answered."""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import secrets
import socket
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import aiomqtt
import orjson
from paho.mqtt.properties import Properties

from sentinel import envelope, event, signed
from sentinel.config import Config
from sentinel.durations import SECOND_NS, format_duration
from sentinel.errors import BrokerError, ConfigError, NoAnswerError
from sentinel.mqtt import topics
from sentinel.mqtt.client import Broker
from sentinel.mqtt.explain import explain, wants_older
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.packets import json_properties, refusals
from sentinel.mqtt.settings import account_of
from sentinel.orders.order import OrderPayload, write_order

SHORTEST_LIFE_NS: Final = 60 * SECOND_NS
"""Clocks differ: an order is valid for longer than it takes."""
LARGEST_KEY_BYTES: Final = 16 * 1024
LARGEST_ANSWER_BYTES: Final = 4 << 20
NO_SUBSCRIBER: Final = 0x10
"""A broker took the order and knows nobody to give it to (MQTT 5.0 §3.4.2.1)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`op` is quarantine, release or status; `on` is what the host is called in topics.

    `hold_ns` None: until released. `wait_ns` is how long an answer is waited for.
    """

    op: Literal["quarantine", "release", "status"]
    on: str
    principal: str
    key_file: str
    wait_ns: int
    port: str = ""
    hold_ns: int | None = None
    reason: str = ""


def order(config: Config, file: str, ask: Ask) -> bytes:
    """Give an order; the result is as the control socket has it.

    Raises ConfigError for a file or a setting, BrokerError where the broker refuses,
    NoAnswerError where nobody answers, and what `envelope.unwrap` raises for what the
    host answers.
    """
    if not config.mqtt.host:
        raise ConfigError(file, "mqtt.host", "is empty: there is no broker to ask")
    private_pem = _key(ask.key_file)
    sender = f"{_user()}@{socket.gethostname()}"
    issued_ns = time.time_ns()
    life_ns = max(SHORTEST_LIFE_NS, ask.wait_ns)
    expires = event.rfc3339(issued_ns + life_ns)
    says = OrderPayload(
        id=uuid.uuid4(),
        host=ask.on,
        op=ask.op,
        port=ask.port,
        for_ns=ask.hold_ns,
        reason=ask.reason,
        issued=event.rfc3339(issued_ns),
        expires=expires,
        sender=sender[: signed.MAX_NAME_CHARACTERS],
    )
    payload, name = write_order(says), str(says.id)
    try:
        message = signed.sign(private_pem, ask.principal, signed.ORDER_DOMAIN, payload)
    except ValueError as error:
        raise ConfigError(ask.key_file, "", str(error)) from None
    given = _Given(config, ask, message, name, expires, math.ceil(life_ns / SECOND_NS))
    return _result(asyncio.run(given.answer()), ask.on)


class _Given:
    """An order on its way, and the topic on which its answer is waited for."""

    def __init__(
        self, config: Config, ask: Ask, message: bytes, name: str, expires: str, life_s: int
    ) -> None:
        root = config.mqtt.root
        below = f"{topics.answers(ask.on, root)}/{topics.level(ask.principal)}"
        self._answers_filter = f"{below}/#"
        self._answer_topic = f"{below}/{secrets.token_hex(8)}"
        self._topic = topics.order(ask.on, ask.principal, root)
        self._correlation = secrets.token_bytes(16)
        self._config = config
        self._ask = ask
        self._message, self._name, self._expires, self._life_s = message, name, expires, life_s
        self._is_sent = False

    async def answer(self) -> bytes:
        """The answer document. Raises BrokerError, NoAnswerError."""
        mqtt = self._config.mqtt
        account = replace(
            account_of(mqtt, socket.gethostname()),
            client_id=f"tapsentinel-order-{os.getpid()}-{secrets.token_hex(4)}",
        )
        broker = Broker(
            account,
            None,
            lambda *_: None,
            is_v5=True,
            largest_incoming_bytes=LARGEST_ANSWER_BYTES,
        )
        try:
            async with asyncio.timeout(self._ask.wait_ns / SECOND_NS), broker:
                return await self._converse(broker)
        except TimeoutError:
            waited = format_duration(self._ask.wait_ns)
            raise self._unanswered(f"no answer from {self._ask.on} within {waited}") from None
        except aiomqtt.MqttError as error:
            why = explain(str(error))
            if wants_older(str(error)):
                why = "orders need MQTT 5, and the broker speaks an older one"
            raise self._unanswered(f"{mqtt.host}:{mqtt.port}: {why}") from None

    async def _converse(self, broker: Broker) -> bytes:
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(told: Incoming) -> None:
            is_mine = told.topic == self._answer_topic and told.correlation == self._correlation
            if is_mine and not answered.done():
                answered.set_result(told.payload)

        broker.heard = heard
        granted = await broker.subscribe(self._answer_topic, qos=1)
        refused = refusals(granted)
        if refused:
            raise BrokerError(
                f"the broker lets us read no answers ({refused[0]}): see its ACL for "
                f"{self._answers_filter}; no order was given"
            )
        self._is_sent = True
        wait_s = self._ask.wait_ns / SECOND_NS
        reason = await broker.tell(
            self._topic, self._message, wait_s, retain=False, properties=self._properties()
        )
        if reason.is_failure:
            raise BrokerError(
                f"the broker does not take the order ({reason}): see its ACL for {self._topic}"
            )
        if reason.value == NO_SUBSCRIBER:
            self._is_sent = False
            raise self._unanswered(f"nobody at the broker takes orders for {self._ask.on}")
        lost = asyncio.create_task(broker.lost())
        lost.add_done_callback(lambda _: answered.cancel())
        try:
            return await answered
        except asyncio.CancelledError:
            if lost.done() and not lost.cancelled():
                lost.result()
            raise
        finally:
            lost.cancel()

    def _properties(self) -> Properties:
        given = json_properties(self._life_s)
        given.ResponseTopic = self._answer_topic
        given.CorrelationData = self._correlation
        return given

    def _unanswered(self, why: str) -> NoAnswerError:
        if not self._is_sent:
            return NoAnswerError(f"{why}; no order was given")
        if self._ask.op == "status":
            return NoAnswerError(f"{why}: does {self._ask.on} take orders, and from you?")
        return NoAnswerError(
            f"{why}; the order may still be carried out until {self._expires} "
            f"(its id is {self._name})"
        )


def _result(answer: bytes, host: str) -> bytes:
    """Raises what `envelope.unwrap` raises."""
    try:
        document: Any = orjson.loads(answer)
        if "result" in document:
            return orjson.dumps(document["result"])
        error = document["error"]
        code, message = str(error["code"]), str(error["message"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        code, message = envelope.INTERNAL, "what came as its answer is none"
    if code == envelope.NO_DAEMON:
        raise NoAnswerError(f"{host}: {message}")
    envelope.unwrap(envelope.complaint(code, f"{host}: {message}"))
    raise BrokerError(f"{host}: {message}")


def _key(name: str) -> bytes:
    """Raises ConfigError."""
    path = Path(name)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(LARGEST_KEY_BYTES + 1)
    except OSError as error:
        raise ConfigError(name, "", error.strerror or str(error)) from None
    if mode & 0o077:
        raise ConfigError(
            name, "", f"is a private key that others may read: `chmod 600 {name}`, or make another"
        )
    if len(raw) > LARGEST_KEY_BYTES:
        raise ConfigError(name, "", "is too large to be a key")
    return raw


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
