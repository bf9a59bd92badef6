# SPDX-License-Identifier: Apache-2.0
"""Troubles into incidents: one per cause and port, opened, updated, closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from sentinel.detect.evidence import bounded
from sentinel.detect.left_open import LeftOpen, ended
from sentinel.detect.pace import Pace
from sentinel.dhcp.drain import Draining
from sentinel.dhcp.sentences import Scene, summary
from sentinel.dhcp.timeline import evidence
from sentinel.dhcp.verdict import Cause, Trouble
from sentinel.effect import Effect, Keep
from sentinel.event import Incident, Kind

CHECK: Final = "dhcp"

_Key = tuple[int, str]
"""(ifindex of the port, cause)"""


@dataclass(slots=True)
class _Open:
    key: int
    incident: Incident
    draining: Draining
    """What was known of the receive queue when it was last told of."""
    pace: Pace

    def is_due(self, frames: int, draining: Draining, now_ns: int) -> bool:
        """Whether there is something new, and it is time to tell it."""
        is_known_now = self.draining is Draining.UNKNOWN and draining is not Draining.UNKNOWN
        return self.pace.allows(now_ns) and (frames > self.incident.frames or is_known_now)


class DhcpIncidents:
    """The open incidents of leases. Times of its own are wall clock."""

    def __init__(self, next_key: Callable[[], int]) -> None:
        """`next_key` gives numbers that no other incident has."""
        self._next_key = next_key
        self._open: dict[_Key, _Open] = {}
        self._left_open: LeftOpen[_Key] = LeftOpen()

    def __len__(self) -> int:
        return len(self._open)

    def causes(self, ifindex: int) -> list[str]:
        """What is open at a port."""
        return [cause for at, cause in self._open if at == ifindex]

    def left_open(self, incident: Incident, now_ns: int) -> int:
        """Take an incident that an earlier daemon left open; returns its key from now on."""
        key = self._next_key()
        self._left_open.take((incident.ifindex, incident.detail), key, incident, now_ns)
        return key

    def settle(self, found: list[tuple[Trouble, Scene]], now_ns: int) -> Iterator[Effect]:
        """Make the open incidents what the troubles of this moment say."""
        holding: dict[_Key, list[tuple[Trouble, Scene]]] = {}
        for trouble, scene in found:
            key = (trouble.client.ifindex, str(trouble.cause))
            holding.setdefault(key, []).append((trouble, scene))
        for key in [key for key in self._open if key not in holding]:
            yield from self._close(key, now_ns)
        for key, same in holding.items():
            if key in self._open:
                yield from self._update(self._open[key], same, now_ns)
            elif (left := self._left_open.claim(key)) is not None:
                yield self._go_on(key, *left, same, now_ns)
            elif any(trouble.is_sure for trouble, _ in same):
                yield from self._begin(key, same, now_ns)
        yield from self._left_open.end_unclaimed(now_ns)

    def _begin(self, key: _Key, same: list[tuple[Trouble, Scene]], now_ns: int) -> Iterator[Effect]:
        trouble, scene = next(one for one in same if one[0].is_sure)
        incident = Incident(
            id=0,
            check=CHECK,
            detail=str(trouble.cause),
            port=scene.port,
            ifindex=key[0],
            vm=scene.vm,
            mac=trouble.client.mac,
            opened_wall_ns=now_ns,
            updated_wall_ns=now_ns,
            closed_wall_ns=None,
            frames=_frames(same),
            action="count",
            verdict="passed",
            frame_hex="",
            summary=_said(trouble, scene, same),
            evidence=bounded(evidence(trouble, scene)),
        )
        number = self._next_key()
        self._open[key] = _Open(number, incident, trouble.draining, Pace.opened(now_ns))
        yield Keep(number, incident, Kind.INCIDENT_OPENED)

    def _update(
        self, one: _Open, same: list[tuple[Trouble, Scene]], now_ns: int
    ) -> Iterator[Effect]:
        # Of several clients the one that it began with, as long as that is in trouble.
        trouble, scene = next(
            (each for each in same if each[0].client.mac == one.incident.mac), same[0]
        )
        if scene.port != one.incident.port:
            one.incident = replace(one.incident, port=scene.port)
            yield Keep(one.key, one.incident, None)
        frames = _frames(same)
        if not one.is_due(frames, trouble.draining, now_ns):
            return
        one.incident = replace(
            one.incident,
            frames=max(frames, one.incident.frames),
            summary=_said(trouble, scene, same),
            evidence=bounded(evidence(trouble, scene)),
            updated_wall_ns=now_ns,
        )
        one.draining = trouble.draining
        one.pace.told(now_ns)
        yield Keep(one.key, one.incident, Kind.INCIDENT_UPDATED)

    def _go_on(
        self,
        key: _Key,
        number: int,
        incident: Incident,
        same: list[tuple[Trouble, Scene]],
        now_ns: int,
    ) -> Keep:
        """It holds still: what was said of it stands until there is more to say."""
        incident = replace(incident, port=same[0][1].port, updated_wall_ns=now_ns)
        self._open[key] = _Open(
            number,
            incident,
            # What the daemon before read of the queue is in its words already.
            Draining.DRAINED,
            Pace.opened(now_ns),
        )
        return Keep(number, incident, None)

    def device_gone(self, ifindex: int, now_ns: int) -> Iterator[Effect]:
        """The port is gone, and what was wrong with it."""
        for key in [key for key in self._open if key[0] == ifindex]:
            yield from self._close(key, now_ns, "the port is gone")
        yield from self._left_open.end(lambda name: name[0] == ifindex, now_ns, "the port is gone")

    def flush(self) -> Iterator[Effect]:
        """Keep what is open without telling of it: the daemon stops."""
        for one in self._open.values():
            yield Keep(one.key, one.incident, None)

    def _close(self, key: _Key, now_ns: int, why: str = "") -> Iterator[Effect]:
        one = self._open.pop(key)
        yield ended(one.key, one.incident, now_ns, why or _OVER[Cause(key[1])])


_OVER: Final = {
    Cause.UNANSWERED: "a server answered, or the client asks no more",
    Cause.REPLY_LOST: "an answer came through to the guest, or the client asks no more",
    Cause.IGNORED: "the client took an answer, or asks no more",
    Cause.QUEUE_STALLED: "the guest takes what is sent to it again, or asks no more",
    Cause.GUEST_SILENT: "the guest asked, or its lease has run out",
    Cause.LEASE_LOST: "the client has a lease again, or was not heard of for an hour",
    Cause.NAK_LOOP: "the server refuses no more, or the client asks no more",
    Cause.ADDRESS_CONFLICT: "the address is one client's again, or it was long ago",
}


def _frames(same: list[tuple[Trouble, Scene]]) -> int:
    return sum(trouble.count for trouble, _ in same)


def _said(trouble: Trouble, scene: Scene, same: list[tuple[Trouble, Scene]]) -> str:
    said = summary(trouble, scene)
    others = len(same) - 1
    if not others:
        return said
    more = "1 more client" if others == 1 else f"{others} more clients"
    return f"{said} {more} behind this port {'has' if others == 1 else 'have'} the same trouble."
