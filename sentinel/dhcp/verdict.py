# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a client's lease, and whose fault it is. Times are CLOCK_MONOTONIC.

A verdict is a function of what a client's messages show and of what was read about
its port: nothing is remembered here. One that is sure opens an incident; one that is
not only keeps one open, so that a fault that lasts is one incident. The words are in
`sentences`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sentinel.dhcp.client import CONFLICT_KEPT_NS, GIVEN_UP_NS, SECOND_NS, Client
from sentinel.dhcp.drain import Draining
from sentinel.dhcp.exchange import Exchange
from sentinel.dhcp.wait import Wait


class Cause(StrEnum):
    """Names of verdicts, as an incident's `detail`."""

    UNANSWERED = "unanswered"
    REPLY_LOST = "reply_lost"
    IGNORED = "ignored"
    QUEUE_STALLED = "queue_stalled"
    GUEST_SILENT = "guest_silent"
    LEASE_LOST = "lease_lost"
    NAK_LOOP = "nak_loop"
    ADDRESS_CONFLICT = "address_conflict"


SURE_QUESTIONS: Final = 3
SURE_NS: Final = 6 * SECOND_NS
ANSWER_NS: Final = 2 * SECOND_NS
"""Without an answer: so many questions over so long, and the last one this long ago,"""
SURE_OF_TWO_NS: Final = 60 * SECOND_NS
ANSWER_OF_TWO_NS: Final = 10 * SECOND_NS
"""or two of them over this long: some clients ask again after minutes only."""
SURE_LOST: Final = 2
SURE_IGNORED: Final = 2
SURE_NAKS: Final = 3
NAK_WINDOW_NS: Final = 120 * SECOND_NS
NAK_OVER_NS: Final = 60 * SECOND_NS
"""A client that has a lease, and was not refused for this long, is in no loop."""
UNDECIDED_NS: Final = 5 * SECOND_NS
"""How long a reading of the port is waited for before a verdict does without."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another client that holds the same address."""

    port: str
    mac: str


class Look(NamedTuple):
    """What was read about a port since a doubt about it arose."""

    draining: Draining = Draining.UNKNOWN
    read_ns: int = 0
    """When it was read last; 0: never."""
    doubt_ns: int = 0
    """When the doubt arose; 0: there is none."""
    is_cut: bool = False
    """Its latch is shut: this guard lets nothing pass."""

    def is_fresh(self, since_ns: int, now_ns: int) -> bool:
        """Whether it was read after something happened, or this was waited for in vain."""
        if self.read_ns >= since_ns:
            return True
        return bool(self.doubt_ns) and now_ns - max(self.doubt_ns, since_ns) >= UNDECIDED_NS


@dataclass(frozen=True, slots=True)
class Trouble:
    """One cause at one client."""

    cause: Cause
    client: Client
    since_ns: int
    count: int
    """Messages that it stands for; at least 1."""
    draining: Draining
    rival: Rival | None = None
    is_sure: bool = True


class _Held(NamedTuple):
    cause: Cause
    since_ns: int
    messages: int
    is_sure: bool


def find_troubles(
    client: Client, look: Look, now_ns: int, rival: Rival | None = None
) -> list[Trouble]:
    """Every cause that holds at this moment; `rival` is who else holds its address."""
    found = (
        _of_exchange(client, look, now_ns),
        _of_silence(client, look, now_ns),
        _of_loss(client),
        _of_naks(client, now_ns),
        _of_address(client, now_ns, rival),
    )
    return [
        Trouble(
            held.cause, client, held.since_ns, max(1, held.messages), look.draining, rival,
            held.is_sure,
        )
        for held in found
        if held is not None
    ]  # fmt: skip


def is_doubtful(client: Client, now_ns: int) -> bool:
    """Whether it should be read how the port does: something is or may soon be wrong."""
    exchange = client.exchange
    if exchange is not None and _still_asks(client, now_ns):
        for wait in (exchange.finding, exchange.taking):
            if wait.asked > 1 or wait.lost:
                return True
        if exchange.ignored or exchange.is_stalled:
            return True
    return client.granted is not None or client.is_overdue(now_ns) or client.is_expired(now_ns)


def _of_exchange(client: Client, look: Look, now_ns: int) -> _Held | None:
    exchange = client.exchange
    if exchange is None or not _still_asks(client, now_ns):
        return None
    ignoring = _of_ignoring(exchange, look, now_ns) if exchange.ignored else None
    if ignoring is not None:
        return ignoring
    for wait in (exchange.taking, exchange.finding):
        if wait.lost and (wait.lost > 1 or wait.asked > 1):
            is_sure = wait.lost_rounds >= SURE_LOST
            return _Held(Cause.REPLY_LOST, wait.lost_since_ns, wait.lost, is_sure)
    for wait in (exchange.taking, exchange.finding):
        if wait.asked > 1 and exchange.is_stalled:
            return _Held(Cause.QUEUE_STALLED, wait.since_ns, exchange.unanswered, wait.sure > 1)
        if wait.asked > 1:
            is_sure = _is_unanswered(wait, now_ns) and look.is_fresh(wait.last_ns, now_ns)
            return _Held(Cause.UNANSWERED, wait.since_ns, exchange.unanswered, is_sure)
    if exchange.is_stalled:
        # An answer has passed, and it is not known yet whether it lies in the queue, too.
        return _Held(Cause.QUEUE_STALLED, exchange.started_ns, exchange.answers, False)
    return None


def _is_unanswered(wait: Wait, now_ns: int) -> bool:
    waited_ns, last_ns = now_ns - wait.sure_since_ns, now_ns - wait.last_ns
    if wait.sure >= SURE_QUESTIONS and waited_ns >= SURE_NS and last_ns >= ANSWER_NS:
        return True
    return wait.sure > 1 and waited_ns >= SURE_OF_TWO_NS and last_ns >= ANSWER_OF_TWO_NS


def _of_ignoring(exchange: Exchange, look: Look, now_ns: int) -> _Held | None:
    since_ns, count = exchange.started_ns, exchange.answers
    if exchange.is_stalled:
        is_sure = exchange.ignored_for_sure > 0
        return _Held(Cause.QUEUE_STALLED, since_ns, count, is_sure)
    if exchange.ignored < SURE_IGNORED:
        return None
    is_sure = exchange.ignored_for_sure >= SURE_IGNORED and (
        look.draining is Draining.DRAINED or now_ns - exchange.last_question_ns >= UNDECIDED_NS
    )
    return _Held(Cause.IGNORED, since_ns, count, is_sure)


def _of_silence(client: Client, look: Look, now_ns: int) -> _Held | None:
    lease = client.lease
    if lease is None or not client.is_overdue(now_ns):
        return None
    is_all_told = client.missed == lease.missed and look.is_fresh(lease.overdue_ns, now_ns)
    return _Held(Cause.GUEST_SILENT, lease.renew_ns, 1, is_all_told and not look.is_cut)


def _of_loss(client: Client) -> _Held | None:
    loss = client.loss
    if loss is None:
        return None
    return _Held(
        Cause.LEASE_LOST, loss.at_ns, loss.exchange.questions if loss.exchange else 1, True
    )


def _of_naks(client: Client, now_ns: int) -> _Held | None:
    naks = client.naks
    if len(naks) < SURE_NAKS:
        return None
    quiet_ns = NAK_OVER_NS if client.lease is not None else client.nak_quiet_ns
    if now_ns - naks[-1] >= quiet_ns:
        return None
    is_sure = naks[-1] - naks[-SURE_NAKS] < NAK_WINDOW_NS
    return _Held(Cause.NAK_LOOP, naks[0], client.nak_count, is_sure)


def _of_address(client: Client, now_ns: int, rival: Rival | None) -> _Held | None:
    if client.declined_ns and now_ns - client.declined_ns < CONFLICT_KEPT_NS:
        return _Held(Cause.ADDRESS_CONFLICT, client.declined_ns, client.declines, True)
    if rival is not None and client.lease is not None:
        return _Held(Cause.ADDRESS_CONFLICT, client.lease.acked_ns, 1, True)
    return None


def _still_asks(client: Client, now_ns: int) -> bool:
    """A client that was not heard of for so long is nobody's trouble any more.

    But one that has a lease still may wait for half of what is left of it before it
    asks to renew it once more: RFC 2131 section 4.4.5.
    """
    if now_ns - client.last_ns < GIVEN_UP_NS:
        return True
    exchange = client.exchange
    if exchange is None:
        return False
    return (client.lease is not None and exchange.taking.asked > 0) or client.granted is not None
