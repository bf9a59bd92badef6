# SPDX-License-Identifier: Apache-2.0
"""Whether a renewal that was answered was heard, by what the client asks next, and when."""

from __future__ import annotations

from typing import Final

from sentinel.dhcp.exchange import Exchange
from sentinel.dhcp.lease import Lease
from sentinel.dhcp.step import Act, Step

LATE_NS: Final = 2_000_000_000
"""Clocks and queues differ: a deadline is missed this long after it."""


def asks_again(
    step: Step, exchange: Exchange, newest: Lease, held: Lease | None, renews_with_new_xid: bool
) -> bool:
    """Whether a renewal that was answered is asked for again, and so was not heard.

    `newest` is what was granted last, `held` the lease of before, `exchange` the
    conversation that the answer settled. A transaction id that is kept for
    retransmissions alone says so: always in DHCPv6 (RFC 8415 section 16.1), and of
    clients that are known to do so (`renews_with_new_xid`). The others are known by
    their time: asked when due by the lease of before, and again much sooner than it
    would be due by the new one. A client may renew early whenever it likes (RFC 2131
    section 4.4.5), and that is no sign.
    """
    if exchange.last_question not in (Act.RENEW, Act.REBIND):
        return False
    if held is not None and step.time_ns >= LATE_NS + (
        held.last_renewal_ns if step.act is Act.RENEW else held.expires_ns
    ):
        # By the lease of before it would be past that.
        return False
    if exchange.act_of(step.xid) is not None:
        if step.family == 6 or renews_with_new_xid:
            return held is not None or 10 * (step.time_ns - newest.acked_ns) < 9 * newest.t1_ns
    elif step.family == 6 and step.act is Act.RENEW:
        return False
    return held is not None and _is_too_soon(step, exchange, newest, held)


def _is_too_soon(step: Step, exchange: Exchange, newest: Lease, held: Lease) -> bool:
    """Whether it was due by the lease of before, and asks much sooner than the new one says."""
    waited_ns = exchange.started_ns - held.acked_ns
    if 10 * waited_ns < 7 * min(held.t1_ns, held.lease_ns // 2):
        return False
    if step.act is Act.REBIND:
        # Nobody asks everybody who has just been answered by the server itself.
        return 4 * (step.time_ns - newest.acked_ns) < 3 * newest.t2_ns
    scaled_ns = min(waited_ns, waited_ns * newest.t1_ns // max(held.t1_ns, 1))
    return 3 * (step.time_ns - newest.acked_ns) < 2 * scaled_ns
