# SPDX-License-Identifier: Apache-2.0
"""Verdicts in words. The time lines they rest on are in `timeline`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from sentinel import abi
from sentinel.detect.finding import whose
from sentinel.dhcp.client import Client
from sentinel.dhcp.drain import Drain, Draining
from sentinel.dhcp.exchange import QUESTIONS, Exchange
from sentinel.dhcp.sight import Sight
from sentinel.dhcp.step import INFINITE_NS, Act
from sentinel.dhcp.verdict import Cause, Trouble
from sentinel.durations import format_duration
from sentinel.vm import VmIdentity

MILLISECOND_NS = 1_000_000
NOT_DHCP = "Not a DHCP fault."


@dataclass(frozen=True, slots=True)
class Dial:
    """From CLOCK_MONOTONIC to what a clock on the wall shows."""

    wall_minus_monotonic_ns: int
    zone_seconds: int = 0
    """East of UTC."""

    def wall_ns(self, monotonic_ns: int) -> int:
        """Nanoseconds since the epoch."""
        return monotonic_ns + self.wall_minus_monotonic_ns

    def text(self, monotonic_ns: int) -> str:
        """The time of day with milliseconds, as in 02:13:07.412."""
        zone = timezone(timedelta(seconds=self.zone_seconds))
        wall_ms = self.wall_ns(monotonic_ns) // MILLISECOND_NS
        moment = datetime.fromtimestamp(wall_ms // 1000, UTC).astimezone(zone)
        return f"{moment:%H:%M:%S}.{wall_ms % 1000:03d}"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a client is, and what was read there."""

    port: str
    vm: VmIdentity
    drain: Drain
    sent_ns: int
    """When the guest last sent more than housekeeping; 0: never, or not read."""
    name_of: Callable[[int], str]
    """A device's name by its ifindex."""
    dial: Dial


def summary(trouble: Trouble, scene: Scene) -> str:
    """A verdict in a few plain sentences that begin with the port."""
    sentences = {
        Cause.UNANSWERED: _unanswered,
        Cause.REPLY_LOST: _reply_lost,
        Cause.IGNORED: _ignored,
        Cause.QUEUE_STALLED: _queue_stalled,
        Cause.GUEST_SILENT: _guest_silent,
        Cause.LEASE_LOST: _lease_lost,
        Cause.NAK_LOOP: _nak_loop,
        Cause.ADDRESS_CONFLICT: _address_conflict,
    }[trouble.cause]
    return f"{scene.port}: {sentences(trouble, scene)}"


# One function for each cause.


def _unanswered(trouble: Trouble, scene: Scene) -> str:
    exchange = _exchange(trouble)
    since = scene.dial.text(exchange.unanswered_since_ns)
    text = (
        f"{_who(trouble, scene)} {_asked(exchange)} {_times(exchange.unanswered)} since {since}, "
        "and no server answered"
    )
    return f"{text}; {_left(exchange, scene)}."


def _reply_lost(trouble: Trouble, scene: Scene) -> str:
    uplink = scene.name_of(_exchange(trouble).arrived_at)
    were, are = _were(trouble.count), "is" if trouble.count == 1 else "are"
    return (
        f"the server answered {_who(trouble, scene)} {_times(trouble.count)}; "
        f"{_replies(trouble.count)} {were} last seen at the uplink {uplink} and never passed "
        f"towards the guest: {_pronoun(trouble.count)} {are} lost on this host, between {uplink} "
        f"and {scene.port}."
    )


def _ignored(trouble: Trouble, scene: Scene) -> str:
    exchange = _exchange(trouble)
    known = (
        "which drains its receive queue"
        if trouble.draining is Draining.DRAINED
        else "of whose receive queue nothing is known"
    )
    return (
        f"{_who(trouble, scene)} was answered {_times(exchange.answers)}, "
        f"{_replies(exchange.answers)} passed towards the guest, {known}, and it asked again all "
        f"the same: the guest ignores {_object(exchange.answers)}. Look at its DHCP client and "
        "its packet filter."
    )


def _queue_stalled(trouble: Trouble, scene: Scene) -> str:
    exchange = _exchange(trouble)
    if not exchange.answers:
        since = scene.dial.text(exchange.unanswered_since_ns)
        return (
            f"{_who(trouble, scene)} {_asked(exchange)} {_times(exchange.unanswered)} since "
            f"{since}; {_unreached(exchange, scene)}"
        )
    return (
        f"{_who(trouble, scene)} was answered {_times(exchange.answers)}, "
        f"{_replies(exchange.answers)} passed towards the guest; {_silence(exchange, scene)}; "
        f"{_queue(Draining.STALLED, scene)}. {NOT_DHCP}"
    )


def _guest_silent(trouble: Trouble, scene: Scene) -> str:
    lease = trouble.client.lease
    if lease is None:
        return f"{_who(trouble, scene)} is silent."
    due = f"the renewal of {lease.addresses[0]}, due at {scene.dial.text(lease.renew_ns)}"
    silent = _no_question(trouble, scene, lease.renew_ns)
    return f"{_who(trouble, scene)} did not ask for {due}; {silent}"


def _lease_lost(trouble: Trouble, scene: Scene) -> str:
    loss = trouble.client.loss
    if loss is None:
        return "lease lost."
    exchange = loss.exchange
    text = f"lease of {loss.lease.addresses[0]} lost."
    if loss.is_cut:
        return f"{text} This guard had cut the port. {NOT_DHCP}"
    if exchange is not None and exchange.cut and not exchange.answers:
        messages = "1 message" if exchange.cut == 1 else f"{exchange.cut} messages"
        return f"{text} This guard dropped {messages} that should have renewed it. {NOT_DHCP}"
    if exchange is None:
        silent = _no_question(trouble, scene, loss.lease.renew_ns)
        return f"{text} The guest did not ask to renew it; {silent}"
    if exchange.last_answer is Act.NAK:
        return f"{text} {_refused(trouble.client, exchange)}"
    asked = f"The guest asked {_times(exchange.questions)}"
    if exchange.answers:
        return f"{text} {_answered(exchange, trouble, scene)}"
    if exchange.arrived:
        uplink = scene.name_of(exchange.arrived_at)
        what = "reply was" if exchange.arrived == 1 else "replies were"
        pronoun = "it is" if exchange.arrived == 1 else "they are"
        return (
            f"{text} {asked}; the server's {what} last seen at the uplink {uplink} and never "
            f"passed towards the guest: {pronoun} lost on this host, between {uplink} and "
            f"{scene.port}."
        )
    if exchange.is_stalled or trouble.draining is Draining.STALLED:
        return f"{text} {asked}; {_unreached(exchange, scene)}"
    return f"{text} {asked}, and no server answered; {_left(exchange, scene)}."


def _unreached(exchange: Exchange, scene: Scene) -> str:
    """Of a guest that takes nothing, and towards which no answer even passed."""
    return (
        f"no answer passed towards the guest; {_silence(exchange, scene)}; "
        f"{_queue(Draining.STALLED, scene)}, so that no server hears from it where to send an "
        f"answer. {NOT_DHCP}"
    )


def _refused(client: Client, exchange: Exchange) -> str:
    """Of a lease that a server would not renew (DHCPv6: its client keeps it until it ends)."""
    return f"{_server(client).capitalize()} refused the guest.{_server_says(exchange)}"


def _answered(exchange: Exchange, trouble: Trouble, scene: Scene) -> str:
    """Of a lease that was lost although the server answered."""
    is_stalled = exchange.is_stalled or trouble.draining is Draining.STALLED
    draining = Draining.STALLED if is_stalled else trouble.draining
    text = (
        f"The server answered {_times(exchange.answers)}, {_replies(exchange.answers)} passed "
        f"towards the guest; {_silence(exchange, scene)}; {_queue(draining, scene)}."
    )
    if is_stalled:
        return f"{text} {NOT_DHCP}"
    return f"{text} The guest ignored {_object(exchange.answers)}."


def _nak_loop(trouble: Trouble, scene: Scene) -> str:
    client = trouble.client
    why = _server_says(_exchange(trouble))
    spent_ns = client.naks[-1] - trouble.since_ns
    return (
        f"{_server(client)} refused {_who(trouble, scene)} {_times(trouble.count)} in "
        f"{span(spent_ns)}: the client asks for what the server will not give.{why}"
    )


def _address_conflict(trouble: Trouble, scene: Scene) -> str:
    client, rival = trouble.client, trouble.rival
    if rival is None or client.lease is None:
        address = client.declined or "the address that it was given"
        return (
            f"{_who(trouble, scene)} declined {address}: somebody else answers for it. "
            "Find who, before the server gives it out again."
        )
    return (
        f"{client.lease.addresses[0]} is leased to {_who(trouble, scene)} and to {rival.mac} "
        f"at {rival.port}, by {_server(client)}."
    )


# Pieces of sentences.


def _server_says(exchange: Exchange) -> str:
    notes = [one.note for one in exchange.sights if one.note and one.act is Act.NAK]
    return f' The server says: "{notes[-1]}".' if notes else ""


def _exchange(trouble: Trouble) -> Exchange:
    return trouble.client.exchange or Exchange(trouble.since_ns, 0, 0)


def _who(trouble: Trouble, scene: Scene) -> str:
    vm = scene.vm
    name = f" of {whose(vm)}" if vm.name or vm.uuid else ""
    return f"{trouble.client.mac}{name}"


def _asked(exchange: Exchange) -> str:
    """What was sent that is not answered, by its name or names."""
    since_ns = exchange.unanswered_since_ns
    names = dict.fromkeys(
        sight.name
        for sight in exchange.sights
        if is_question(sight) and sight.passed and sight.last_ns >= since_ns
    )
    return f"sent {' and '.join(names)}" if names else "asked"


def is_question(sight: Sight) -> bool:
    """Whether it is one of the guest, at its port, that has to be answered."""
    return sight.role == "port" and sight.direction == abi.TAP_IN and sight.act in QUESTIONS


def _silence(exchange: Exchange, scene: Scene) -> str:
    if scene.sent_ns > exchange.started_ns:
        return f"the guest went on sending, last at {scene.dial.text(scene.sent_ns)}"
    if not exchange.sent_ns:
        return "when the guest last sent anything else is not known"
    ago = span(exchange.silent_first_ns - exchange.sent_ns)
    first = next(iter(exchange.sights), None)
    renews = first is not None and first.act in (Act.RENEW, Act.REBIND)
    renews |= exchange.first_ns != 0
    what = "the first renewal" if renews else "it first asked"
    return (
        f"the guest had been silent since {scene.dial.text(exchange.sent_ns)}, {ago} before {what}"
    )


def _queue(draining: Draining, scene: Scene) -> str:
    if draining is Draining.UNKNOWN:
        return "whether its receive queue is drained is not known"
    if draining is Draining.DRAINED:
        return "its receive queue is being drained"
    waiting, dropped = scene.drain.waiting()
    more = [f"{waiting} frame{'s' * (waiting != 1)} in it"] * bool(waiting)
    more += [f"{dropped} dropped"] * bool(dropped)
    return "its receive queue is not being drained" + (f" ({', '.join(more)})" if more else "")


def _no_question(trouble: Trouble, scene: Scene, due_ns: int) -> str:
    """Why the guest did not ask for what was due then."""
    queue = ""
    if trouble.draining is Draining.STALLED:
        queue = f", and {_queue(trouble.draining, scene)}"
    if not scene.sent_ns:
        return f"when the guest last sent anything is not known{queue}."
    since = scene.dial.text(scene.sent_ns)
    if scene.sent_ns <= due_ns:
        ago = span(due_ns - scene.sent_ns)
        return (
            f"the guest has been silent since {since}, {ago} before the renewal was due{queue}. "
            f"{NOT_DHCP}"
        )
    return f"the guest still sends, last at {since}: its DHCP client does not ask{queue}."


def _left(exchange: Exchange, scene: Scene) -> str:
    for sight in reversed(exchange.sights.kept):
        if sight.role == "uplink" and sight.direction == abi.TAP_OUT and sight.passed:
            when = scene.dial.text(sight.last_ns)
            return f"the question was last seen leaving by {scene.name_of(sight.ifindex)} at {when}"
    return f"the question was last seen at {scene.port}, at no uplink"


def _server(client: Client) -> str:
    lease = client.loss.lease if client.loss is not None else client.lease
    if lease is not None and (lease.server_address or lease.server):
        return f"the server {lease.server_address or lease.server}"
    exchange = client.exchange
    if exchange is not None:
        for sight in reversed(exchange.sights.kept):
            if sight.server and sight.role == "port" and sight.direction == abi.TAP_OUT:
                return f"the server {sight.server}"
    return "the server"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _replies(count: int) -> str:
    return "the reply" if count == 1 else "the replies"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _pronoun(count: int) -> str:
    return "it" if count == 1 else "they"


def _object(count: int) -> str:
    return "it" if count == 1 else "them"


def span(duration_ns: int) -> str:
    """A duration as people say it: milliseconds, tenths of seconds, seconds."""
    if duration_ns >= INFINITE_NS:
        return "ever"
    if duration_ns < 1000 * MILLISECOND_NS:
        return f"{max(0, duration_ns) // MILLISECOND_NS} ms"
    if duration_ns < 10_000 * MILLISECOND_NS:
        tenths = duration_ns // (100 * MILLISECOND_NS)
        return f"{tenths // 10}.{tenths % 10} s"
    seconds = duration_ns // (1000 * MILLISECOND_NS)
    return f"{seconds} s" if seconds < 60 else format_duration(seconds * 1000 * MILLISECOND_NS)
