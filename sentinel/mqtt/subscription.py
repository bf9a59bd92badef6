# SPDX-License-Identifier: Apache-2.0
"""A subscription that may be refused without harm to what is published."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from sentinel.mqtt.client import Broker
from sentinel.mqtt.explain import clip
from sentinel.mqtt.packets import refusals

TRY_AGAIN_S: Final = 60.0
HOLD_OFF_S: Final = 600.0
SUSPICIOUS: Final = 2
"""Connections in a row that ended with a subscription unanswered."""


class Subscription:
    """One filter, over any number of connections. What is wrong is told in `problem`.

    Some brokers end the connection of who subscribes without a right. Where that seems
    to be so, connections are made without the subscription for a while: what is to be
    published must not wait for it.
    """

    def __init__(self, topic_filter: str, options: SubscribeOptions, what_for: str) -> None:
        """`what_for` completes "the broker gives us no …"."""
        self.problem = ""
        self._filter = topic_filter
        self._options = options
        self._what_for = what_for
        self._unanswered = 0
        self._last_s = 0.0
        self._again = asyncio.Event()

    def renew(self) -> None:
        """Subscribe again soon: the broker then repeats what it has retained."""
        self._again.set()

    async def keep(self, broker: Broker) -> None:
        """Be subscribed for as long as a connection lasts."""
        if self._unanswered >= SUSPICIOUS:
            self.problem = clip(
                f"the broker ends connections over which we subscribe to {self._filter}: see its "
                f"ACL; the next try is within {HOLD_OFF_S / 60:g} min"
            )
            await asyncio.sleep(max(0.0, HOLD_OFF_S - (time.monotonic() - self._last_s)))
        while True:
            self._again.clear()
            is_granted = await self._subscribe(broker)
            if is_granted:
                await self._again.wait()
            await asyncio.sleep(TRY_AGAIN_S)

    async def _subscribe(self, broker: Broker) -> bool:
        self._unanswered += 1
        self._last_s = time.monotonic()
        try:
            if broker.is_v5:
                answer = await broker.subscribe(self._filter, options=self._options)
            else:
                answer = await broker.subscribe(self._filter, qos=1)
        except aiomqtt.MqttError as error:
            # If the connection has ended, who watches over it says so.
            self.problem = clip(f"subscribing to {self._filter}: {error}")
            return False
        self._unanswered = 0
        refused = refusals(answer)
        self.problem = (
            clip(
                f"the broker gives us no {self._what_for} ({refused[0]}): see its ACL for "
                f"{self._filter}"
            )
            if refused
            else ""
        )
        return not refused
