# SPDX-License-Identifier: Apache-2.0
"""Orders from the broker to the daemon, one after the other, and its answers back.

Nothing is believed here: whose order it is and whether it may be, the daemon finds out.
What it is asked is bounded for each principal of the configuration, and for all other
names together, so that nobody's rubbish is in the way of another's order.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

import orjson
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from sentinel import envelope
from sentinel.errors import NoDaemonError, RefusedError, TapsentinelError
from sentinel.mqtt import order_rules, topics
from sentinel.mqtt.client import Broker
from sentinel.mqtt.explain import clip
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOut, LeftOutError
from sentinel.mqtt.link import DaemonLink
from sentinel.mqtt.order_rules import Order
from sentinel.mqtt.outbox import Outbox
from sentinel.mqtt.packets import json_properties
from sentinel.mqtt.subscription import Subscription
from sentinel.mqtt.token_bucket import TokenBucket
from sentinel.orders.order import refused

PER_S: Final = 20.0
BURST: Final = 100.0
MOST_WAITING: Final = 200
ANSWER_LIFE_S: Final = 60
"""How long a broker keeps an answer for who is away."""


class Orders:
    """Takes orders at any time, and carries them while a connection lasts."""

    def __init__(
        self, link: DaemonLink, host: str, root: str, via: str, principals: Iterable[str]
    ) -> None:
        """`via` is what the journal calls the broker."""
        self._link = link
        self._host, self._root, self._via = host, root, via
        self._buckets = {topics.level(name): TokenBucket(PER_S, BURST) for name in principals}
        self._others = TokenBucket(PER_S, BURST)
        self._waiting: deque[Order] = deque()
        self._waiting_others: deque[Order] = deque()
        """Of names that the configuration lacks: the daemon refuses them, when there is time."""
        self._came = asyncio.Event()
        self._left_out = LeftOut("orders")
        self._trouble = ""
        # Retained ones are replays: a new subscription asks for none, and those that
        # come later keep the flag by which they are known (MQTT 5.0 §3.8.3.1).
        options = SubscribeOptions(
            qos=1,
            retainAsPublished=True,
            retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND,
        )
        self._subscription = Subscription(topics.orders_filter(host, root), options, "orders")

    def problems(self, now_ns: int) -> dict[str, str]:
        """By what they are about; an empty one is none. `now_ns` is monotonic."""
        return {
            "orders": self._trouble or self._subscription.problem,
            "orders left out": self._left_out.problem(now_ns),
        }

    def take(self, told: Incoming) -> None:
        """A message on a topic of orders."""
        now_ns = time.monotonic_ns()
        try:
            principal = order_rules.principal_of(told.topic, self._host, self._root)
            is_known = principal in self._buckets
            bucket = self._buckets[principal] if is_known else self._others
            waiting = self._waiting if is_known else self._waiting_others
            if not bucket.allows(now_ns) or len(waiting) >= MOST_WAITING:
                raise LeftOutError(order_rules.TOO_MANY)
            order = order_rules.order_of(told, self._host, self._root)
        except LeftOutError as why:
            self._left_out.add(str(why), now_ns)
            return
        waiting.append(order)
        self._came.set()

    async def subscribe(self, broker: Broker) -> None:
        """Be given orders for as long as a connection lasts."""
        if not broker.is_v5:
            self._trouble = "orders need MQTT 5, and the broker speaks 3.1.1: none is taken"
            await asyncio.Event().wait()
        self._trouble = ""
        await self._subscription.keep(broker)

    async def carry(self, outbox: Outbox, timeout_s: float) -> None:
        """Carry orders, and publish the answers, for as long as a connection lasts."""
        while True:
            while not self._waiting and not self._waiting_others:
                self._came.clear()
                await self._came.wait()
            order = (self._waiting or self._waiting_others).popleft()
            answer = await self._answer(order.message)
            if order.answer_topic is None:
                continue
            refusal = await outbox.document(
                order.answer_topic,
                answer,
                timeout_s,
                retain=False,
                properties=_answer_properties(order.correlation),
            )
            self._trouble = (
                clip(
                    f"the broker refuses answers to orders ({refusal}): see its ACL for "
                    f"{topics.answers(self._host, self._root)}/#"
                )
                if refusal
                else ""
            )

    async def _answer(self, message: str) -> bytes:
        try:
            told = await self._link.ask("carry", what="order", message=message, via=self._via)
            return orjson.dumps(told)
        except TapsentinelError as error:
            code = envelope.REFUSED if isinstance(error, RefusedError) else envelope.INTERNAL
            why = str(error)
            if isinstance(error, NoDaemonError):
                code = envelope.NO_DAEMON
                # Of one that went away meanwhile nobody knows how far it came.
                why = f"{why}; whether the order was carried out is not known"
            return orjson.dumps(refused(None, self._host, time.time_ns(), code, why))


def _answer_properties(correlation: bytes | None) -> Properties:
    given = json_properties(ANSWER_LIFE_S)
    if correlation is not None:
        given.CorrelationData = correlation
    return given
