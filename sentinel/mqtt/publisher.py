# SPDX-License-Identifier: Apache-2.0
"""`tapsentinel mqtt`: the log to the broker, for as long as it runs.

Three things may be away at any time, the broker, the daemon and the disk; none of them
stops it, and each is said in `status` as soon as the daemon can hear it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import aiomqtt
import orjson

from sentinel import __version__, event
from sentinel.config import Config
from sentinel.config_mqtt import MqttConfig
from sentinel.durations import SECOND_NS
from sentinel.errors import BrokerError, ConfigError, TapsentinelError
from sentinel.event import Kind
from sentinel.mqtt import documents, topics
from sentinel.mqtt.backoff import Backoff
from sentinel.mqtt.carry import Carrier
from sentinel.mqtt.client import Broker
from sentinel.mqtt.cursor import CursorFile, advanced
from sentinel.mqtt.explain import clip, explain, wants_older
from sentinel.mqtt.health import Health
from sentinel.mqtt.link import DaemonLink
from sentinel.mqtt.looks import Looks
from sentinel.mqtt.metrics import metrics_document
from sentinel.mqtt.outbox import Outbox, events_topic, will_of
from sentinel.mqtt.port_keeper import PortKeeper
from sentinel.mqtt.reread import reread
from sentinel.mqtt.settings import account_of
from sentinel.mqtt.window import Window
from sentinel.notify import notify, notify_reloading, watchdog_interval_s

REPORT_S: Final = 2.0
SYNC_S: Final = 1.0
DAEMON_AWAY_MOST_S: Final = 2.0
FAREWELL_S: Final = 3.0

_log = logging.getLogger("tapsentinel.mqtt")


class Publisher:
    """One host's publisher."""

    def __init__(
        self, config: Config, file: Path, host: str, cursor: CursorFile, state: Path
    ) -> None:
        """`file` is where the configuration came from, `state` the directory of what it keeps."""
        self._config, self._file, self._state = config, file, state
        self._host = host
        self._cursor = cursor
        self._ports = PortKeeper(state / "ports.json", host, config.mqtt.root)
        self._port_looks = Looks(("port.", "guard.", "quarantine."))
        self._link = DaemonLink(config.paths.control_socket)
        self._carrier = Carrier(config.mqtt, host, self._link, state)
        self._health = Health(f"{config.mqtt.host}:{config.mqtt.port}")
        self._window = Window()
        self._acknowledged_before = 0
        self._is_v5 = True
        self._guard = "unknown"
        self._guard_changed = asyncio.Event()
        self._is_stopping = False
        self._enough = asyncio.Event()
        """The connection of now, or the pause, is to end."""
        self._is_signalled = asyncio.Event()
        self._news = asyncio.Event()
        if cursor.was_damaged:
            self._health.problems["cursor"] = (
                "the cursor file was damaged: the journal is published from its beginning"
            )

    async def run(self) -> None:
        """Publish until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._is_signalled.set)
        works = (
            self._report_forever(),
            self._sync_forever(),
            self._reread_forever(),
            self._live_forever(),
        )
        beside = [asyncio.create_task(work) for work in works]
        notify(f"READY=1\nSTATUS=connecting to {self._health.broker}")
        try:
            await self._connect_until_stopped()
        finally:
            notify("STOPPING=1")
            for task in beside:
                task.cancel()
            self._health.stopped(time.time_ns())
            await self._report()
            self._cursor.close()

    def _stop(self) -> None:
        self._is_stopping = True
        self._enough.set()

    @property
    def _mqtt(self) -> MqttConfig:
        return self._config.mqtt

    @property
    def _ack_timeout_s(self) -> float:
        return self._mqtt.ack_timeout_ns / SECOND_NS

    @property
    def _document_timeout_s(self) -> float:
        # Whoever waits for silence is to speak first.
        return 2 * self._ack_timeout_s

    async def _live_forever(self) -> None:
        interval_s = watchdog_interval_s()
        while interval_s is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    async def _reread_forever(self) -> None:
        while True:
            await self._is_signalled.wait()
            self._is_signalled.clear()
            notify_reloading()
            try:
                self._config = await asyncio.to_thread(reread, self._file, self._config)
            except ConfigError as wrong:
                self._health.problems["configuration"] = clip(f"not taken: {wrong}")
                _log.error("%s; the configuration of before holds", clip(str(wrong)))
                how = "a changed configuration was refused"
            else:
                self._health.problems.pop("configuration", None)
                self._health.broker = f"{self._mqtt.host}:{self._mqtt.port}"
                # Another broker may speak what the one of before did not.
                self._is_v5 = True
                how = f"configuration read anew, connecting to {self._health.broker}"
                self._enough.set()
            notify(f"READY=1\nSTATUS={how}")
            self._news.set()

    async def _connect_until_stopped(self) -> None:
        backoff = Backoff(self._mqtt.reconnect_max_ns / SECOND_NS)
        while not self._is_stopping:
            self._enough.clear()
            backoff.most_s = self._mqtt.reconnect_max_ns / SECOND_NS
            began_s = time.monotonic()
            was_v5 = self._is_v5
            try:
                await self._connection()
            except (aiomqtt.MqttError, TapsentinelError, OSError) as error:
                is_ours = isinstance(error, TapsentinelError)
                why = clip(str(error)) if is_ours else explain(str(error))
                if wants_older(str(error)) and self._is_v5:
                    self._is_v5 = False
                self._health.disconnected(why, time.time_ns())
                notify(f"STATUS=not connected to {self._health.broker}: {why}")
                self._news.set()
                _log.warning("%s: %s", self._health.broker, why)
            self._acknowledged_before += self._window.acknowledged
            self._window = Window()
            if self._is_v5 == was_v5:
                chance = random.random()  # noqa: S311 - spreads load, keeps no secret
                pause_s = backoff.failed(chance, time.monotonic() - began_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), pause_s)

    async def _connection(self) -> None:
        """One connection, from birth to will."""
        account = await asyncio.to_thread(account_of, self._mqtt, self._host)
        will = will_of(self._status_topic, self._status("offline", "lost"))
        outbox: Outbox | None = None

        def acknowledged(mid: int, refusal: str | None) -> None:
            if outbox is not None:
                outbox.acknowledged(mid, refusal)

        if self._carrier.mqtt is not self._mqtt:
            self._carrier = Carrier(self._mqtt, self._host, self._link, self._state)
        async with Broker(account, will, acknowledged, is_v5=self._is_v5) as broker:
            outbox = Outbox(
                broker,
                self._window,
                self._cursor,
                events_topic(self._host, self._mqtt.root),
                self._mqtt.window,
                self._host,
                self._health.problems,
            )
            self._health.connected("5" if self._is_v5 else "3.1.1", time.time_ns())
            self._news.set()
            notify(f"STATUS=connected to {self._health.broker}")
            _log.info("connected to %s", self._health.broker)
            enough = asyncio.create_task(self._enough.wait(), name="enough")
            works = [enough, *map(asyncio.create_task, self._works(broker, outbox))]
            try:
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                # A refusal says more than the end of the connection, which may follow it.
                outbox.check()
                for work in works:
                    if work.done() and not work.cancelled():
                        work.result()
            finally:
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)
            await self._farewell(outbox)

    def _works(self, broker: Broker, outbox: Outbox) -> list[Coroutine[Any, Any, None]]:
        return [
            broker.lost(),
            outbox.refused(),
            self._events_forever(outbox),
            self._births_forever(outbox),
            self._ports_forever(outbox),
            self._metrics_forever(outbox),
            self._wait_for_silence(),
            *self._carrier.works(broker, outbox),
        ]

    async def _farewell(self, outbox: Outbox) -> None:
        """It ends: wait a moment for acknowledgements, and say that it is meant."""
        reason = "stopped" if self._is_stopping else "reconnecting"
        with contextlib.suppress(TimeoutError, aiomqtt.MqttError, BrokerError):
            async with asyncio.timeout(FAREWELL_S):
                await outbox.emptied()
                said = self._status("offline", reason)
                await outbox.document(self._status_topic, said, FAREWELL_S)

    # Events.

    async def _events_forever(self, outbox: Outbox) -> None:
        names = self._cursor.names
        backoff = Backoff(DAEMON_AWAY_MOST_S)
        while True:
            began_s = time.monotonic()
            try:
                async for entries in self._link.follow(names):
                    self._tell_guard("up")
                    if not entries:
                        self._begun(names)
                    for entry in entries:
                        await outbox.event(entry)
                        self._port_looks.heard(entry["kind"])
                        self._carrier.told(entry["kind"])
                        if entry["kind"] == Kind.LOG_GAP:
                            self._skipped(entry["body"])
                    if entries:
                        names = advanced(names, entries[-1]["id"])
                        await self._pace(len(entries))
            except (BrokerError, aiomqtt.MqttError):
                raise
            except TapsentinelError as error:
                self._health.problems["daemon"] = clip(f"the log is not readable: {error}")
                _log.warning("%s", error)
            self._tell_guard("down")
            await asyncio.sleep(backoff.failed(0.5, time.monotonic() - began_s))

    def _begun(self, names: tuple[str, ...]) -> None:
        problem = ""
        if not self._link.is_known:
            self._health.missed_to_seq = 0
            problem = (
                f"the journal does not know {names[0]}, the last event that was told: it was begun "
                "anew or put back from a copy, and what came between is missing"
            )
        self._health.problems["log"] = problem

    def _skipped(self, gap: dict[str, Any]) -> None:
        self._health.skipped(gap["from_seq"], gap["to_seq"], time.time_ns())
        self._news.set()
        _log.warning("%s", gap["message"])

    async def _pace(self, count: int) -> None:
        if self._mqtt.per_second:
            await asyncio.sleep(count / self._mqtt.per_second)

    def _tell_guard(self, state: str) -> None:
        if state == "up":
            self._health.problems.pop("daemon", None)
        if state != self._guard:
            self._guard = state
            self._guard_changed.set()

    # What is retained, and what is told at an interval.

    async def _births_forever(self, outbox: Outbox) -> None:
        while True:
            self._guard_changed.clear()
            said = self._status("online", "connected")
            await outbox.document(self._status_topic, said, self._document_timeout_s)
            await self._guard_changed.wait()

    async def _ports_forever(self, outbox: Outbox) -> None:
        self._ports.begin()
        while True:
            with contextlib.suppress(TapsentinelError):
                ports = await self._link.ask("ports")
                self._health.problems["ports"] = self._ports.problem
                for topic, state in self._ports.plan(ports).items():
                    await outbox.document(topic, state, self._document_timeout_s)
                    self._ports.told(topic, state)
            await self._port_looks.next(self._mqtt.ports_interval_ns / SECOND_NS)

    async def _metrics_forever(self, outbox: Outbox) -> None:
        topic = topics.metrics(self._host, self._mqtt.root)
        while True:
            with contextlib.suppress(TapsentinelError):
                status, ports = await self._link.ask("status"), await self._link.ask("ports")
                now = event.rfc3339(time.time_ns())
                said = metrics_document(self._host, now, status, ports, self._told())
                await outbox.document(
                    topic, orjson.dumps(said), self._document_timeout_s, retain=False
                )
            await asyncio.sleep(self._mqtt.metrics_interval_ns / SECOND_NS)

    async def _wait_for_silence(self) -> None:
        """Ends a connection over which nothing is acknowledged."""
        while self._window.oldest_ns(time.monotonic_ns()) < self._mqtt.ack_timeout_ns:  # noqa: ASYNC110
            await asyncio.sleep(min(1.0, self._ack_timeout_s / 4))
        raise BrokerError(
            f"the broker takes messages and has acknowledged none for {self._ack_timeout_s:g} s"
        )

    def _status(self, state: str, reason: str) -> bytes:
        return orjson.dumps(
            {
                "version": documents.VERSION,
                "host": self._host,
                "state": state,
                "reason": reason,
                "guard": self._guard if state == "online" else "unknown",
                "since": event.rfc3339(time.time_ns()),
                "program": __version__,
            }
        )

    @property
    def _status_topic(self) -> str:
        return topics.status(self._host, self._mqtt.root)

    # What is said of ourselves.

    def _told(self) -> dict[str, Any]:
        cursor = self._cursor.names[0] if self._cursor.names else ""
        self._health.problems["disk"] = self._cursor.problem or ""
        self._health.problems |= self._carrier.problems(time.monotonic_ns())
        return self._health.report(
            cursor,
            self._acknowledged_before + self._window.acknowledged,
            len(self._window),
            self._window.oldest_ns(time.monotonic_ns()),
        )

    async def _report(self) -> None:
        with contextlib.suppress(TapsentinelError):
            await self._link.ask("report", **self._told())

    async def _report_forever(self) -> None:
        while True:
            self._news.clear()
            await self._report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), REPORT_S)

    async def _sync_forever(self) -> None:
        synced: tuple[str, ...] = ()
        while True:
            await asyncio.sleep(SYNC_S)
            if self._cursor.names != synced:
                synced = self._cursor.names
                await asyncio.to_thread(self._cursor.sync)
