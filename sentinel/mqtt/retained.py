# SPDX-License-Identifier: Apache-2.0
"""What the broker is to retain below one of our topics, through any restart of ours.

What it may retain is listed in a file before it is published, so that what goes while no
publisher runs is taken back by the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sentinel.mqtt.retained_list import RetainedList
from sentinel.mqtt.retained_states import RetainedStates


class Retained:
    """Compares what there is to be with what the broker has."""

    def __init__(self, path: Path, before: str) -> None:
        """`before` is what all its topics begin with."""
        self._list = RetainedList(path, before)
        self._states = RetainedStates(self._list.read())

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

    def changes(self, wanted: Mapping[str, bytes]) -> dict[str, bytes]:
        """What to publish, retained, by topic; empty where it is to go."""
        changes = self._states.changes(wanted)
        if self._states.planned(changes) or self.problem:
            self._list.write(self._states.topics)
        return changes

    def told(self, topic: str, state: bytes) -> None:
        """The broker has a state, or has it no more."""
        self._states.told(topic, state)
        if not state:
            self._list.write(self._states.topics)
