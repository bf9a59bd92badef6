# SPDX-License-Identifier: Apache-2.0
"""Events of what came over MQTT: orders, and notices of hosts."""

from __future__ import annotations

from sentinel import event_bodies as bodies
from sentinel.event import Event, Kind, clip
from sentinel.fleet.notice import Notice
from sentinel.orders.order import Order
from sentinel.refusals import Refusal
from sentinel.vm import VmIdentity

NOTICE: str = "notice"


def order_done(time_ns: int, order: Order, via: str, *, changed: bool) -> Event:
    """Tell of an order that was carried out; `changed` False: there was nothing to do."""
    says = order.says
    message = f"{says.op} by {order.by} over MQTT"
    if says.op != "status" and not changed:
        message += ": it was so already"
    body = bodies.OrderDone(
        says.op, order.id, order.by, clip(says.sender), clip(via), clip(says.reason), message
    )
    return _event(Kind.ORDER_DONE, time_ns, body, says.port or None)


def refused(time_ns: int, refusal: Refusal) -> Event:
    """Tell of an order or a notice that was not taken."""
    body = bodies.CarriedRefused(
        refusal.what,
        refusal.id,
        refusal.by,
        clip(refusal.sender),
        clip(refusal.via),
        clip(refusal.problem),
        refusal.times,
    )
    kind = Kind.NOTICE_REFUSED if refusal.what == NOTICE else Kind.ORDER_REFUSED
    return _event(kind, time_ns, body, refusal.port)


def notice_issued(notice: Notice, port: str, ifindex: int | None, vm: VmIdentity) -> Event:
    """Tell that this host gives notice of a guest, or withdraws one."""
    message = f"{'withdraws' if notice.withdrawn else 'gives'} notice of it to the other hosts"
    return _event(
        Kind.NOTICE_ISSUED, notice.valid.issued_ns, _state(notice, "", message), port, ifindex, vm
    )


def notice_taken(time_ns: int, notice: Notice, action: str) -> Event:
    """Tell of another host's notice."""
    what = "withdraws notice of" if notice.withdrawn else "gives notice of"
    message = f"{notice.host} {what} {notice.uuid or ', '.join(notice.macs)}"
    body = _state(notice, "" if notice.withdrawn else action, message)
    return _event(Kind.NOTICE_TAKEN, time_ns, body)


def notice_matched(
    time_ns: int, notice: Notice, action: str, port: str, ifindex: int, vm: VmIdentity
) -> Event:
    """Tell that a guest is here that another host gave notice of."""
    message = f"{notice.host} knows this guest: {notice.cause}"
    body = _state(notice, action, message)
    return _event(Kind.NOTICE_MATCHED, time_ns, body, port, ifindex, vm)


def notice_forgotten(time_ns: int, notice: Notice, port: str, vm: VmIdentity) -> Event:
    """Tell that a notice counts no more here: an operator released the guest."""
    body = _state(notice, "", f"what {notice.host} told of it counts no more here")
    return _event(Kind.NOTICE_FORGOTTEN, time_ns, body, port, None, vm)


def _state(notice: Notice, action: str, message: str) -> bodies.NoticeState:
    return bodies.NoticeState(
        notice.id,
        notice.host,
        notice.uuid,
        notice.macs,
        notice.cause,
        clip(notice.reason),
        notice.valid.issued_ns,
        notice.valid.expires_ns,
        notice.withdrawn,
        action,
        clip(message),
    )


def _event(
    kind: Kind,
    time_ns: int,
    body: object,
    port: str | None = None,
    ifindex: int | None = None,
    vm: VmIdentity | None = None,
) -> Event:
    return Event(kind, time_ns, port, ifindex, vm, bodies.members(body))
