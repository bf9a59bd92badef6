# SPDX-License-Identifier: Apache-2.0
"""This host's own notices at the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sentinel.durations import SECOND_NS
from sentinel.mqtt import topics
from sentinel.mqtt.retained import Retained

LONGEST_EXPIRY_S: Final = 2**32 - 1
"""MQTT 5.0 §3.3.2.3.3."""


class NoticeKeeper(Retained):
    """Compares the notices that the daemon has signed with what the broker has.

    A notice that the daemon names no more is taken from the broker, one of an earlier
    publisher too.
    """

    def __init__(self, path: Path, host: str, root: str) -> None:
        super().__init__(path, topics.base(host, root) + "/notices/")
        self._host = host
        self._root = root

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
        return {topic: (told, lives.get(topic, 0)) for topic, told in self.changes(wanted).items()}
