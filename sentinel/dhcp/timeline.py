# SPDX-License-Identifier: Apache-2.0
"""The time line that a verdict rests on: messages, readings, deadlines."""

from __future__ import annotations

from collections.abc import Iterator

from sentinel import abi
from sentinel.dhcp.lease import Lease
from sentinel.dhcp.sentences import Scene, span
from sentinel.dhcp.sight import Sight, Sights
from sentinel.dhcp.verdict import Cause, Trouble
from sentinel.event import Moment


def evidence(trouble: Trouble, scene: Scene) -> list[Moment]:
    """The time line of a verdict, oldest first."""
    client = trouble.client
    loss = client.loss if trouble.cause is Cause.LEASE_LOST else None
    exchange = loss.exchange if loss is not None else client.exchange
    lease = loss.lease if loss is not None else client.shown
    moments: list[Moment] = []
    if lease is not None:
        moments.append(_leased(lease, scene))
    if exchange is not None:
        if exchange.sent_ns:
            text = "the last frame from the guest before it asked"
            moments.append(Moment(scene.dial.wall_ns(exchange.sent_ns), scene.port, text))
        moments += [_moment(sight, scene) for sight in exchange.sights]
        moments += _left_out(exchange.sights, scene)
    elif scene.sent_ns:
        text = "the last frame from the guest"
        moments.append(Moment(scene.dial.wall_ns(scene.sent_ns), scene.port, text))
    if trouble.cause is Cause.NAK_LOOP:
        moments += [
            Moment(scene.dial.wall_ns(at_ns), scene.port, "refused by the server")
            for at_ns in client.naks[:-1]
        ]
    moments += _deadlines(trouble, scene)
    moments += _readings(scene)
    return sorted(moments, key=lambda moment: moment.time_ns)


def direction_text(role: str, direction: int) -> str:
    """from_guest, to_guest, to_wire, from_wire."""
    if role == "uplink":
        return "to_wire" if direction == abi.TAP_OUT else "from_wire"
    return "to_guest" if direction == abi.TAP_OUT else "from_guest"


def _leased(lease: Lease, scene: Scene) -> Moment:
    server = lease.server_address or lease.server
    by = f"the server {server}" if server else "a server"
    text = f"{lease.addresses[0]} was leased for {span(lease.lease_ns)} by {by}"
    return Moment(scene.dial.wall_ns(lease.acked_ns), scene.port, text)


def _moment(sight: Sight, scene: Scene) -> Moment:
    words = [sight.name]
    if sight.address:
        words.append(sight.address)
    words.append(direction_text(sight.role, sight.direction).replace("_", " the "))
    if sight.note:
        words.append(f'("{sight.note}")')
    if not sight.passed:
        words.append("- dropped by this guard")
    if sight.count > 1:
        words.append(f"- {sight.count} times, the last at {scene.dial.text(sight.last_ns)}")
    return Moment(scene.dial.wall_ns(sight.time_ns), scene.name_of(sight.ifindex), " ".join(words))


def _left_out(sights: Sights, scene: Scene) -> Iterator[Moment]:
    if sights.left_out and sights.first < len(sights.kept):
        after = sights.kept[sights.first - 1]
        text = f"messages that are left out here: {sights.left_out}"
        yield Moment(scene.dial.wall_ns(after.time_ns), scene.port, text)


def _deadlines(trouble: Trouble, scene: Scene) -> Iterator[Moment]:
    client = trouble.client
    lease = client.lease
    if trouble.cause is Cause.LEASE_LOST and client.loss is not None:
        lost_ns = scene.dial.wall_ns(client.loss.lease.expires_ns)
        yield Moment(lost_ns, scene.port, "the lease ran out")
    elif trouble.cause is Cause.GUEST_SILENT and lease is not None:
        yield Moment(scene.dial.wall_ns(lease.renew_ns), scene.port, "the renewal was due (T1)")
        yield Moment(scene.dial.wall_ns(lease.rebind_ns), scene.port, "the rebinding was due (T2)")


def _readings(scene: Scene) -> Iterator[Moment]:
    mark, last = scene.drain.mark, scene.drain.last
    if mark is None or last is None or last.queue is None:
        return
    waiting, dropped = scene.drain.waiting()
    total = waiting + dropped
    if not total:
        return
    frames = "1 frame" if total == 1 else f"{total} frames"
    text = (
        f"its receive queue, read since {scene.dial.text(mark.time_ns)}: {frames} "
        "passed towards the guest that it did not take"
    )
    if dropped:
        text += f", {dropped} of them dropped"
    if last.queue.backlog_packets:
        text += f"; {last.queue.backlog_packets} wait in the qdisc"
    yield Moment(scene.dial.wall_ns(last.time_ns), scene.port, text)
