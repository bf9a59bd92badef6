# SPDX-License-Identifier: Apache-2.0
"""Orders and notices, as works of a connection beside the events."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sentinel.config_mqtt import MqttConfig
from sentinel.durations import SECOND_NS
from sentinel.mqtt import topics
from sentinel.mqtt.client import Broker
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.link import DaemonLink
from sentinel.mqtt.notice_keeper import NoticeKeeper
from sentinel.mqtt.notices import Followed, Own
from sentinel.mqtt.orders import Orders
from sentinel.mqtt.outbox import Outbox


class Carrier:
    """What of it the configuration asks for; nothing is subscribed to without."""

    def __init__(self, mqtt: MqttConfig, host: str, link: DaemonLink, state: Path) -> None:
        """`state` is the publisher's directory."""
        self.mqtt = mqtt
        """What it goes by."""
        via = f"{mqtt.host}:{mqtt.port}"
        self._timeout_s = mqtt.ack_timeout_ns / SECOND_NS
        self._orders_before = topics.orders_filter(host, mqtt.root).removesuffix("+")
        self._orders = (
            Orders(link, host, mqtt.root, via, mqtt.orders.keys()) if mqtt.orders.enabled else None
        )
        self._followed = (
            Followed(link, host, mqtt.root, via, mqtt.fleet.keys()) if mqtt.fleet.follow else None
        )
        keeper = NoticeKeeper(state / "notices.json", host, mqtt.root)
        self._own = Own(link, keeper, is_asked_for=mqtt.fleet.publish)

    def works(self, broker: Broker, outbox: Outbox) -> list[Coroutine[Any, Any, None]]:
        """What is to be done for as long as a connection lasts."""
        broker.heard = self._heard
        works = [self._own.publish(outbox, self._timeout_s, is_v5=broker.is_v5)]
        if self._orders is not None:
            works += [self._orders.subscribe(broker), self._orders.carry(outbox, self._timeout_s)]
        if self._followed is not None:
            works += [self._followed.subscribe(broker), self._followed.carry()]
        return works

    def told(self, kind: str) -> None:
        """An event was published."""
        self._own.heard(kind)

    def problems(self, now_ns: int) -> dict[str, str]:
        """By what they are about; an empty one is none. `now_ns` is monotonic."""
        found = self._own.problems()
        for part in (self._orders, self._followed):
            if part is not None:
                found |= part.problems(now_ns)
        return found

    def _heard(self, told: Incoming) -> None:
        if told.topic.startswith(self._orders_before):
            if self._orders is not None:
                self._orders.take(told)
        elif self._followed is not None and "/notices/" in told.topic:
            self._followed.take(told)
