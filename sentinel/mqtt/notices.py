# SPDX-License-Identifier: Apache-2.0
"""What other hosts learnt, from the broker to the daemon; and what this one did, to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Final

from paho.mqtt.subscribeoptions import SubscribeOptions

from sentinel.errors import NoDaemonError, TapsentinelError
from sentinel.mqtt import topics
from sentinel.mqtt.backoff import Backoff
from sentinel.mqtt.client import Broker
from sentinel.mqtt.explain import clip
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOut, LeftOutError
from sentinel.mqtt.link import DaemonLink
from sentinel.mqtt.looks import Looks
from sentinel.mqtt.notice_keeper import NoticeKeeper
from sentinel.mqtt.notice_queue import NoticeQueue, notice_of
from sentinel.mqtt.outbox import Outbox
from sentinel.mqtt.packets import json_properties
from sentinel.mqtt.subscription import Subscription

PER_S: Final = 200.0
LOOK_S: Final = 5.0
"""How often the daemon's own notices are looked at, if nothing happens."""
DAEMON_AWAY_MOST_S: Final = 2.0
CHANGING: Final = ("quarantine.", "notice.")
"""Kinds of events after which there may be a notice, or one less."""

_log = logging.getLogger("tapsentinel.mqtt")


class Followed:
    """Notices of other hosts. They wait while the daemon is away, and none is believed here."""

    def __init__(
        self, link: DaemonLink, host: str, root: str, via: str, hosts: Iterable[str]
    ) -> None:
        """`hosts` are those whose word counts; what others tell is passed over."""
        self._link = link
        self._root, self._via = root, via
        self._hosts = frozenset(topics.level(name) for name in hosts if name != host)
        self._queue = NoticeQueue()
        self._came = asyncio.Event()
        self._left_out = LeftOut("notices of other hosts")
        self._trouble = ""
        self._subscription = Subscription(
            topics.notices_filter(root), SubscribeOptions(qos=1, noLocal=True), "notices"
        )

    def problems(self, now_ns: int) -> dict[str, str]:
        """By what they are about; an empty one is none. `now_ns` is monotonic."""
        return {
            "notices": self._trouble or self._subscription.problem,
            "notices left out": self._left_out.problem(now_ns),
        }

    def take(self, told: Incoming) -> None:
        """A message on a topic of notices."""
        try:
            found = notice_of(told, self._root, self._hosts)
            if found is not None:
                self._queue.put(*found)
                self._came.set()
        except LeftOutError as why:
            self._left_out.add(str(why), time.monotonic_ns())

    async def subscribe(self, broker: Broker) -> None:
        """Be given notices for as long as a connection lasts."""
        await self._subscription.keep(broker)

    async def carry(self) -> None:
        """Carry notices to the daemon, each until it has been heard, at a bounded rate."""
        backoff = Backoff(DAEMON_AWAY_MOST_S)
        left_out = self._left_out.total
        while True:
            while not self._queue:
                if self._left_out.total != left_out:
                    # What there was no room for is retained: the broker can tell it again.
                    left_out = self._left_out.total
                    self._subscription.renew()
                self._came.clear()
                await self._came.wait()
            began_s = time.monotonic()
            try:
                await self._link.ask(
                    "carry", what="notice", message=self._queue.first(), via=self._via
                )
            except NoDaemonError:
                await asyncio.sleep(backoff.failed(0.5, time.monotonic() - began_s))
                continue
            except TapsentinelError as error:
                trouble = clip(f"the daemon takes no notices: {error}")
                if trouble != self._trouble:
                    _log.warning("%s", trouble)
                self._trouble = trouble
            else:
                self._trouble = ""
            self._queue.drop_first()
            await asyncio.sleep(1 / PER_S)


class Own:
    """This host's own notices."""

    def __init__(self, link: DaemonLink, keeper: NoticeKeeper, *, is_asked_for: bool) -> None:
        """What an earlier publisher told is taken back if nothing `is_asked_for` any more."""
        self._link = link
        self._keeper = keeper
        self._is_asked_for = is_asked_for
        self._looks = Looks(CHANGING)
        self._trouble = ""

    def problems(self) -> dict[str, str]:
        """By what they are about; an empty one is none."""
        return {"own notices": self._trouble or self._keeper.problem}

    def heard(self, kind: str) -> None:
        """An event was told: is another look due?"""
        self._looks.heard(kind)

    async def publish(self, outbox: Outbox, timeout_s: float, *, is_v5: bool) -> None:
        """Keep the broker's retained notices like the daemon's."""
        self._keeper.begin()
        while self._is_asked_for or not self._keeper.is_empty:
            with contextlib.suppress(NoDaemonError):
                await self._compare(outbox, timeout_s, is_v5=is_v5)
            await self._looks.next(LOOK_S)
        await asyncio.Event().wait()

    async def _compare(self, outbox: Outbox, timeout_s: float, *, is_v5: bool) -> None:
        try:
            notices = await self._link.ask("notices") if self._is_asked_for else []
        except NoDaemonError:
            raise
        except TapsentinelError as error:
            self._trouble = clip(f"the daemon gives no notices: {error}")
            return
        self._trouble = ""
        for topic, (notice, life_s) in self._keeper.plan(notices, time.time_ns()).items():
            properties = json_properties(life_s) if is_v5 and notice else None
            refusal = await outbox.document(topic, notice, timeout_s, properties=properties)
            if refusal:
                self._trouble = clip(f"the broker refuses {topic} ({refusal}): see its ACL")
            else:
                self._keeper.told(topic, notice)
