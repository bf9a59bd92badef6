# SPDX-License-Identifier: Apache-2.0
"""`watch --fleet`: the events of all hosts, as the broker tells them."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import aiomqtt
import orjson

from sentinel.config import Config
from sentinel.durations import SECOND_NS
from sentinel.errors import BrokerError, ConfigError
from sentinel.mqtt.backoff import Backoff
from sentinel.mqtt.explain import explain, wants_older
from sentinel.mqtt.packets import refusals
from sentinel.mqtt.settings import account_of

MOST_WAITING: Final = 10_000
"""Events that may wait to be printed; what is beyond is left out."""
Told = Callable[[dict[str, Any]], None]


def follow(config: Config, file: str, told: Told, complain: Callable[[str], None]) -> None:
    """Tell each event as `watch --json` tells those of a host, until interrupted.

    Raises ConfigError if there is no broker, BrokerError for a file that cannot be read.
    """
    if not config.mqtt.host:
        raise ConfigError(file, "mqtt.host", "is empty: there is no broker to ask")
    asyncio.run(_follow(config, told, complain))


def entry_of(payload: bytes) -> dict[str, Any] | None:
    """The entry in an envelope, as `watch --json` tells it; None for anything else."""
    try:
        envelope: Any = orjson.loads(payload)
        entry = dict(envelope["data"])
        kind = str(envelope["type"]).removeprefix("tapsentinel.")
        return {**entry, "kind": kind, "id": envelope["id"], "time": envelope["time"]}
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return None


async def _follow(config: Config, told: Told, complain: Callable[[str], None]) -> None:
    name = config.events.host or socket.gethostname()
    account = account_of(config.mqtt, name)
    who = replace(account, client_id=f"tapsentinel-watch-{os.getpid()}-{secrets.token_hex(4)}")
    backoff = Backoff(config.mqtt.reconnect_max_ns / SECOND_NS)
    version = aiomqtt.ProtocolVersion.V5
    while True:
        try:
            async with aiomqtt.Client(
                who.host,
                who.port,
                username=who.username,
                password=who.password,
                identifier=who.client_id,
                protocol=version,
                keepalive=who.keepalive_s,
                tls_context=who.tls,
                max_queued_incoming_messages=MOST_WAITING,
            ) as client:
                granted = await client.subscribe(f"{config.mqtt.root}/+/events/#", qos=1)
                if refusals(granted):
                    raise BrokerError(
                        f"the broker lets {who.client_id} read no events: see its ACL"
                    )
                async for message in client.messages:
                    entry = entry_of(bytes(message.payload))
                    if entry is not None:
                        told(entry)
        except aiomqtt.MqttError as error:
            if wants_older(str(error)):
                version = aiomqtt.ProtocolVersion.V311
            complain(
                f"{who.host}:{who.port}: {explain(str(error))}; what comes meanwhile is missed"
            )
            await asyncio.sleep(backoff.failed(random.random()))  # noqa: S311 - no secret
