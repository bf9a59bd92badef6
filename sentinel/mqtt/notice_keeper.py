# SPDX-License-Identifier: Apache-2.0
"""This host's own notices at the broker, and which of them are there, through any restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sentinel.durations import SECOND_NS
from sentinel.mqtt import topics
from sentinel.mqtt.port_states import PortStates
from sentinel.mqtt.retained_list import RetainedList

LONGEST_EXPIRY_S: Final = 2**32 - 1
"""MQTT 5.0 §3.3.2.3.3."""


class NoticeKeeper:
    """Compares the notices that the daemon has signed with what the broker has.

    A notice that the daemon names no more is taken from the broker, one of an earlier
    publisher too.
    """

    def __init__(self, path: Path, host: str, root: str) -> None:
        self._host = host
        self._root = root
        self._list = RetainedList(path, topics.base(host, root) + "/notices/")
        self._states = PortStates(self._list.read())

    @property
    def problem(self) -> str:
        """Why the list is not kept; empty: it is."""
        return self._list.problem

    @property
    def is_empty(self) -> bool:
        """Nothing of ours is or may be at the broker."""
        return not self._states.topics

    def begin(self) -> None:
        """A new connection: everything is told again."""
        self._states.forget()

    def plan(
        self, notices: Iterable[Mapping[str, Any]], now_ns: int
    ) -> dict[str, tuple[bytes, int]]:
        """What to publish, retained, and for how many seconds, by topic.

        Empty where a notice is over. `notices` are the control socket's; `now_ns` is
        wall clock.
        """
        lives: dict[str, int] = {}
        wanted: dict[str, bytes] = {}
        for one in notices:
            life_s = -((now_ns - int(one["expires_wall_ns"])) // SECOND_NS)
            if life_s > 0:
                topic = topics.notice(self._host, str(one["id"]), self._root)
                wanted[topic] = str(one["message"]).encode()
                lives[topic] = min(life_s, LONGEST_EXPIRY_S)
        changes = self._states.changes(wanted)
        if self._states.planned(changes) or self.problem:
            self._list.write(self._states.topics)
        return {topic: (told, lives.get(topic, 0)) for topic, told in changes.items()}

    def told(self, topic: str, notice: bytes) -> None:
        """The broker has a notice, or has it no more."""
        self._states.told(topic, notice)
        if not notice:
            self._list.write(self._states.topics)
