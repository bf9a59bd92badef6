# SPDX-License-Identifier: Apache-2.0
"""One client behind one port, as RFC 2131 figure 5 and RFC 8415 section 18.2 draw it.

What a client holds is inferred from what passed, and an acknowledgement that passed
is not yet one that was heard: a client that asks the same again, when it was due to
ask by the lease it had before, has not taken the new one. Until that is settled,
`lease` is what the client holds and `granted` what the server believes it holds.
Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from sentinel import abi
from sentinel.dhcp.exchange import Exchange
from sentinel.dhcp.heard import LATE_NS, asks_again
from sentinel.dhcp.lease import Lease, lease_of
from sentinel.dhcp.sight import MOST_OF_LOSS
from sentinel.dhcp.step import OF_CLIENT, OF_SERVER, Act, Step

SECOND_NS: Final = 1_000_000_000
EARLY_NS: Final = 3 * SECOND_NS
"""A client's lease begins when it asked, and ours when it was answered."""
SETTLE_NS: Final = 20 * SECOND_NS
NAK_QUIET_NS: Final = 300 * SECOND_NS
"""DHCPv4 clients put up to a minute or two between their attempts."""
_MOST_NAKS: Final = 16
GIVEN_UP_NS: Final = 4000 * SECOND_NS
"""No client that still asks waits longer between two questions: RFC 8415 sections 7.6 and 15,
an hour (SOL_MAX_RT) and its tenth. One that does begins a new conversation."""
KEPT_NS: Final = 3600 * SECOND_NS
"""A lease that was lost this long ago, by a client not heard of since, is nobody's trouble."""
CONFLICT_KEPT_NS: Final = 600 * SECOND_NS
LONGEST_NAME_CHARS: Final = 255

_STATE_OF: Final = {
    Act.FIND: "selecting",
    Act.TAKE: "requesting",
    Act.REBOOT: "rebooting",
    Act.RENEW: "renewing",
    Act.REBIND: "rebinding",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """A lease that ran out, as it stood then."""

    at_ns: int
    lease: Lease
    exchange: Exchange | None
    """The conversation that should have renewed it; None: the client asked nothing."""
    is_cut: bool
    """This guard let nothing of the port pass."""


@dataclass(slots=True)
class Client:
    """See the module. `key` is the MAC (v4) or the DUID in hex (v6)."""

    ifindex: int
    family: int
    key: str
    mac: str
    client_id: str | None = None
    host_name: str | None = None
    vid: int | None = None
    relay: str | None = None
    state: str = "unknown"
    first_ns: int = 0
    last_ns: int = 0
    missed: int = 0
    """Messages of the port that were never told, by the newest news."""
    lease: Lease | None = None
    before: Lease | None = None
    """What `lease` replaced, as long as the client might still hold that."""
    granted: Lease | None = None
    exchange: Exchange | None = None
    renews_with_new_xid: bool = False
    """It takes a new transaction id for each renewal, so that an old one is a retransmission."""
    naks: list[int] = field(default_factory=list)
    """When it was refused, in the present loop."""
    nak_count: int = 0
    loss: Loss | None = None
    declines: int = 0
    declined_ns: int = 0
    declined: str | None = None
    """Address that the client found to be another's."""
    is_changed: bool = True
    """Since it was last kept."""

    def take(self, step: Step) -> None:
        """Take a message that is about this client."""
        self.forget_old_loss(step.time_ns)
        self.last_ns = max(self.last_ns, step.time_ns)
        self.is_changed = True
        if step.role == "uplink":
            if self.exchange is not None:
                self.exchange.pass_uplink(step)
        elif step.direction == abi.TAP_IN and step.act in OF_CLIENT:
            self._asked(step)
        elif step.direction == abi.TAP_OUT and step.act in OF_SERVER:
            self._answered(step)

    def see_missed(self, missed: int) -> None:
        """Know how many messages of the port were never told."""
        self.missed = missed
        if self.exchange is not None and self.exchange.missed != missed:
            self.exchange.doubt(missed)
            self.renews_with_new_xid = False
            self.is_changed = True

    # What the client says.

    def _asked(self, step: Step) -> None:
        self.mac = step.mac
        self.client_id = step.client_id or self.client_id
        self.host_name = (step.host_name or self.host_name or "")[:LONGEST_NAME_CHARS] or None
        self.vid, self.relay = step.vid, step.relay
        if step.act is Act.FIND and step.passed and self._has_run_out(step.time_ns):
            self.lose(step.time_ns)
        elif step.act is Act.FIND and step.passed and self._lacks_renewal(step.time_ns):
            # It begins anew when the lease of before ends: the new one was not heard of.
            self.granted, self.lease, self.before = self.lease, self.before, None
        exchange = self._conversation(step)
        is_ignoring = exchange.ask(step)
        if not step.passed:
            return
        if step.act is Act.RELEASE:
            self.loss = None
            self._let_go("released")
        elif step.act is Act.DECLINE:
            self._declined(step)
        elif step.act is Act.INFORM:
            if self.lease is None and self.state == "unknown":
                self.state = "informed"
        else:
            self.state = _STATE_OF[step.act]
        if is_ignoring and self.granted is None and exchange.last_answer is Act.ACK:
            # It asks as one that still has the lease of before, or none.
            self.granted, self.lease, self.before = self.lease, self.before, None

    def _declined(self, step: Step) -> None:
        if step.time_ns - self.declined_ns >= CONFLICT_KEPT_NS:
            self.declines = 0
        self.declines += 1
        self.declined_ns = step.time_ns
        self.declined = step.addresses[0] if step.addresses else None
        self._let_go("declined")

    def _let_go(self, state: str) -> None:
        self.lease = self.before = self.granted = None
        self.state = state
        if self.exchange is not None:
            self.exchange.settle()

    def _conversation(self, step: Step) -> Exchange:
        old = self.exchange
        if old is not None and not self._begins_anew(old, step):
            return old
        if step.act in (Act.RENEW, Act.REBIND):
            if old is not None and old.last_answer is Act.ACK:
                self.renews_with_new_xid = old.act_of(step.xid) is None
            if self.granted is not None:
                # It asks when the newest lease says so: it had taken it.
                self.lease = self.granted
        self.granted = None
        self.exchange = Exchange(started_ns=step.time_ns, sent_ns=step.sent_ns, missed=self.missed)
        if (
            old is not None
            and step.act in (Act.RENEW, Act.REBIND, Act.FIND)
            and old.last_question in (Act.RENEW, Act.REBIND)
            and 0 < step.sent_ns <= old.started_ns
        ):
            # Silent through the conversation before: the first renewal since was that one's.
            self.exchange.first_ns = old.silent_first_ns
        return self.exchange

    def _begins_anew(self, exchange: Exchange, step: Step) -> bool:
        if step.act in (Act.RELEASE, Act.DECLINE, Act.INFORM):
            return False
        is_known = exchange.act_of(step.xid) is not None
        if not exchange.is_done:
            paused_ns = step.time_ns - max(exchange.last_asked_ns, exchange.started_ns)
            gives_up = exchange.taking.asked > 0 and self.loss is not None
            is_late = paused_ns >= GIVEN_UP_NS and not gives_up
            return is_late and step.act in (Act.FIND, Act.REBOOT)
        if exchange.is_stalled and step.act not in (Act.TAKE, Act.REBOOT):
            return False
        if step.act is Act.FIND:
            if exchange.ignored or self.granted is not None:
                # It never heard the answers that settled the conversation.
                return False
            return not (is_known and exchange.last_question is Act.FIND)
        if exchange.last_answer is not Act.ACK:
            return True
        if step.act in (Act.TAKE, Act.REBOOT):
            return not is_known
        return not self._still_asks(exchange, step)

    def _still_asks(self, exchange: Exchange, step: Step) -> bool:
        newest = self.granted or self.lease
        held = self.lease if self.granted is not None else self.before
        return newest is not None and asks_again(
            step, exchange, newest, held, self.renews_with_new_xid
        )

    # What a server says.

    def _answered(self, step: Step) -> None:
        exchange = self.exchange
        asked = exchange.answer(step) if exchange is not None else None
        if exchange is None or asked is None:
            return
        if step.act is Act.NAK:
            self._refused(asked, step)
        elif step.act is Act.ACK:
            self._granted(exchange, asked, step)

    def _refused(self, asked: Act, step: Step) -> None:
        if self.naks and step.time_ns - self.naks[-1] >= self.nak_quiet_ns:
            self.naks, self.nak_count = [], 0
        self.naks = [*self.naks[1 - _MOST_NAKS :], step.time_ns]
        self.nak_count += 1
        # RFC 8415 section 18.2.10: a DHCPv6 client that is refused a renewal keeps what it
        # has until it ends; one that is not on the link any more does not.
        if self.family == 4 or self.lease is None or asked is Act.REBOOT:
            self._let_go("refused")

    def _granted(self, exchange: Exchange, asked: Act, step: Step) -> None:
        new = lease_of(step)
        if new is None:
            if asked is Act.REBOOT and self.lease is not None:
                self.state = "bound"
            elif self.family == 4 or self.lease is None:
                self.forget_lease("unknown")
            return
        if exchange.ignored or exchange.is_stalled:
            self.granted = new
            return
        self.before = self.lease if asked in (Act.RENEW, Act.REBIND) else None
        self.lease, self.granted = new, None
        self.loss = None
        self.state = "bound"

    # What time says.

    @property
    def nak_quiet_ns(self) -> int:
        """Refusals closer than this are one loop: a DHCPv6 client may wait an hour."""
        return NAK_QUIET_NS if self.family == 4 else GIVEN_UP_NS

    def has_asked(self, lease: Lease) -> bool:
        """Whether the client asked its servers for anything since it got a lease."""
        exchange = self.exchange
        return exchange is not None and exchange.last_asked_ns > lease.acked_ns

    def settle_ns(self) -> int | None:
        """When silence of the client means that it has taken what was granted."""
        if self.granted is None:
            return None
        gap_ns = self.exchange.gap_ns if self.exchange is not None else 0
        return self.granted.acked_ns + max(SETTLE_NS, 5 * gap_ns // 2)

    def has_settled(self) -> bool:
        """Whether it did not ask again since it was granted what it may not have heard of."""
        exchange = self.exchange
        return (
            self.granted is not None
            and not (exchange is not None and exchange.is_stalled)
            and not self.has_asked(self.granted)
        )

    def settle(self) -> None:
        """The client has taken what was granted."""
        if self.granted is None:
            return
        self.lease, self.granted, self.before = self.granted, None, None
        self.loss = None
        self.state = "bound"
        self.is_changed = True
        if self.exchange is not None:
            self.exchange.settle()

    def is_overdue(self, now_ns: int) -> bool:
        """Whether it should have asked any server by now (T2), and has asked none at all."""
        lease = self.lease
        if lease is None or lease.is_infinite or self.granted is not None:
            return False
        return now_ns >= lease.overdue_ns + LATE_NS and not self.has_asked(lease)

    def is_expired(self, now_ns: int) -> bool:
        """Whether its lease has run out, and this is not said yet."""
        lease = self.lease
        if lease is None or lease.is_infinite:
            return False
        return now_ns >= lease.expires_ns + LATE_NS

    def is_deaf(self) -> bool:
        """Whether it looks for a server anew and can hear none: whatever it had, it has not."""
        exchange = self.exchange
        return (
            self.lease is not None
            and exchange is not None
            and exchange.is_stalled
            and exchange.last_question is Act.FIND
        )

    def _has_run_out(self, now_ns: int) -> bool:
        """Whether a client that tried to renew gives up; its clock started before ours."""
        lease, exchange = self.lease, self.exchange
        if lease is None or exchange is None or lease.is_infinite:
            return False
        if exchange.last_question is None or exchange.last_question_ns <= lease.acked_ns:
            return False
        return now_ns >= lease.expires_ns - min(EARLY_NS, lease.lease_ns // 4)

    def _lacks_renewal(self, now_ns: int) -> bool:
        """Whether the lease of before ends just now, and was renewed as far as we know."""
        before, exchange = self.before, self.exchange
        if before is None or self.granted is not None or before.is_infinite:
            return False
        if exchange is None or exchange.last_answer is not Act.ACK or not exchange.is_done:
            return False
        return abs(now_ns - before.expires_ns) <= min(EARLY_NS, before.lease_ns // 4)

    def lose(self, now_ns: int, *, is_cut: bool = False) -> None:
        """Its lease has run out; where messages went untold, it may well have been renewed."""
        lease = self.lease
        if lease is None:
            return
        if self.missed != lease.missed:
            self.forget_lease("unknown")
            return
        exchange = self.exchange if self.has_asked(lease) else None
        if exchange is not None and (exchange.cut or exchange.last_question_ns > lease.acked_ns):
            exchange = replace(
                exchange,
                sights=exchange.sights.fewer(MOST_OF_LOSS),
                finding=replace(exchange.finding),
                taking=replace(exchange.taking),
                asked=[],
                arrivals=[],
            )
        else:
            exchange = None
        self.loss = Loss(now_ns, lease, exchange, is_cut)
        self.lease = self.before = self.granted = None
        self.state = "lost"
        self.is_changed = True

    def forget_lease(self, state: str) -> None:
        """Nobody knows what it holds any more."""
        self.lease = self.before = self.granted = None
        self.loss = None
        self.state = state
        self.is_changed = True

    def supersede(self) -> None:
        """Another client of the same interface has taken its place."""
        self._let_go("superseded")
        self.loss = None
        self.is_changed = True

    def forget_old_loss(self, now_ns: int) -> None:
        """A loss that nobody cared about for long is history."""
        if self.loss is not None and now_ns - max(self.loss.at_ns, self.last_ns) >= KEPT_NS:
            self.loss = None
            self.is_changed = True

    def due_ns(self) -> int | None:
        """When time alone changes something next; None: never."""
        times = []
        settle_ns = self.settle_ns()
        if settle_ns is not None:
            times.append(settle_ns)
        lease = self.lease
        if lease is not None and not lease.is_infinite:
            times.append(lease.expires_ns + LATE_NS)
            if not self.has_asked(lease):
                times.append(lease.overdue_ns + LATE_NS)
        return min(times, default=None)

    @property
    def shown(self) -> Lease | None:
        """The lease that the client holds, or else was granted, or else lost."""
        if self.lease is not None or self.granted is not None:
            return self.lease or self.granted
        return self.loss.lease if self.loss is not None else None
