# SPDX-License-Identifier: Apache-2.0
"""States of ports at the broker, and which of them are there, through any restart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from sentinel.mqtt import documents, topics
from sentinel.mqtt.port_states import PortStates
from sentinel.mqtt.retained_list import RetainedList

SOONEST_S: Final = 1.0
"""Between two looks, however much happens."""
CHANGING: Final = ("port.", "guard.", "quarantine.")
"""Kinds of events after which a port's state may be another."""


class PortKeeper:
    """Compares the daemon's ports with what the broker has.

    What the broker may retain is listed in a file before it is published, so that the
    state of a port that goes while no publisher runs is removed by the next.
    """

    def __init__(self, path: Path, host: str, root: str) -> None:
        self._host = host
        self._root = root
        self._list = RetainedList(path, topics.base(host, root) + "/ports/")
        self._states = PortStates(self._list.read())
        self._wake = asyncio.Event()

    @property
    def problem(self) -> str:
        """Why the list is not kept; empty: it is."""
        return self._list.problem

    def begin(self) -> None:
        """A new connection: everything is told again."""
        self._states.forget()

    def heard(self, kind: str) -> None:
        """An event was told: is another look due?"""
        if kind.startswith(CHANGING):
            self._wake.set()

    async def next_look(self, interval_s: float) -> None:
        """Wait until it is time to compare again."""
        await asyncio.sleep(SOONEST_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, interval_s - SOONEST_S))
        self._wake.clear()

    def plan(self, ports: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
        """What to publish, retained, by topic; empty where a port has gone."""
        wanted = {
            topics.port(self._host, str(port["name"]), self._root): orjson.dumps(
                documents.port_document(self._host, port)
            )
            for port in ports
        }
        changes = self._states.changes(wanted)
        if self._states.planned(changes) or self.problem:
            self._list.write(self._states.topics)
        return changes

    def told(self, topic: str, state: bytes) -> None:
        """The broker has a state, or has it no more."""
        self._states.told(topic, state)
        if not state:
            self._list.write(self._states.topics)
