# SPDX-License-Identifier: Apache-2.0
"""The messages of a conversation as they were seen, bounded: what a ladder is drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from sentinel.dhcp.step import OF_SERVER, Act, Step

MOST_SIGHTS: Final = 32
KEPT_FIRST: Final = 12
MOST_OF_LOSS: Final = 12
"""Of a conversation that a lost lease remembers."""
LONGEST_NOTE_CHARS: Final = 80


@dataclass(slots=True)
class Sight:
    """A message where it was seen; the same again folded into `count`."""

    time_ns: int
    last_ns: int
    count: int
    role: str
    ifindex: int
    direction: int
    passed: bool
    name: str
    act: Act
    xid: int
    address: str | None
    server: str | None
    note: str | None

    def is_again(self, step: Step) -> bool:
        """Whether a step is the same message once more."""
        return (
            step.name == self.name
            and step.act is self.act
            and step.xid == self.xid
            and step.ifindex == self.ifindex
            and step.direction == self.direction
            and step.passed == self.passed
            and step.server_address == self.server
        )


@dataclass(slots=True)
class Sights:
    """The first ones and the latest, in the order in which they were seen."""

    kept: list[Sight] = field(default_factory=list)
    left_out: int = 0
    """Between the first and the latest, for want of room."""
    first: int = KEPT_FIRST
    """How many of `kept` stand before those that were left out."""

    def __iter__(self) -> Iterator[Sight]:
        return iter(self.kept)

    def see(self, step: Step) -> None:
        """Keep a message; one that repeats itself without an answer between is folded."""
        is_answer = step.act in OF_SERVER
        for sight in reversed(self.kept):
            if (sight.act in OF_SERVER) != is_answer:
                break
            if sight.is_again(step):
                sight.count += 1
                sight.last_ns = max(sight.last_ns, step.time_ns)
                return
        if len(self.kept) >= MOST_SIGHTS:
            del self.kept[KEPT_FIRST]
            self.left_out += 1
        self.kept.append(
            Sight(
                time_ns=step.time_ns,
                last_ns=step.time_ns,
                count=1,
                role=step.role,
                ifindex=step.ifindex,
                direction=step.direction,
                passed=step.passed,
                name=step.name,
                act=step.act,
                xid=step.xid,
                address=step.addresses[0] if step.addresses else None,
                server=step.server_address,
                note=None if step.note is None else step.note[:LONGEST_NOTE_CHARS],
            )
        )

    def fewer(self, most: int) -> Sights:
        """A copy of the first and the latest of them, `most` (two or more) in all."""
        kept = [replace(sight) for sight in self.kept]
        if len(kept) <= most:
            return Sights(kept, self.left_out)
        first = most // 2
        left_out = self.left_out + len(kept) - most
        return Sights([*kept[:first], *kept[first - most :]], left_out, first)
