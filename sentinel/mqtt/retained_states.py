# SPDX-License-Identifier: Apache-2.0
"""What of ours the broker retains, and what of it is to be told anew. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class RetainedStates:
    """States by topic, as they are retained at the broker."""

    def __init__(self, left: Iterable[str] = ()) -> None:
        """`left`: topics that an earlier publisher may have left there."""
        self._retained: dict[str, bytes | None] = dict.fromkeys(left)

    @property
    def topics(self) -> list[str]:
        """Topics where something is or may be retained."""
        return sorted(self._retained)

    def changes(self, wanted: Mapping[str, bytes]) -> dict[str, bytes]:
        """What to publish, retained, by topic; an empty state removes it."""
        told = {
            topic: state for topic, state in wanted.items() if self._retained.get(topic) != state
        }
        return told | {topic: b"" for topic in self._retained if topic not in wanted}

    def planned(self, changes: Iterable[str]) -> bool:
        """Take note that these may soon be there; whether any was not noted before."""
        new = [topic for topic in changes if topic not in self._retained]
        self._retained.update(dict.fromkeys(new))
        return bool(new)

    def told(self, topic: str, state: bytes) -> None:
        """Take note that the broker has a state, or has it no more."""
        if state:
            self._retained[topic] = state
        else:
            self._retained.pop(topic, None)

    def forget(self) -> None:
        """Another connection: a broker may have lost what it retained."""
        self._retained = dict.fromkeys(self._retained)
