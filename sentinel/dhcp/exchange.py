# SPDX-License-Identifier: Apache-2.0
"""One conversation of a client with its servers: what was asked, what came back, how far.

It begins with the first question after the one before was settled, and lasts
through every retransmission, renewal and rebinding until an answer settles it.
Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sentinel import abi
from sentinel.dhcp.sight import Sights
from sentinel.dhcp.step import OF_SERVER, Act, Step
from sentinel.dhcp.wait import Wait

_MOST_ASKED: Final = 8
_MOST_ARRIVALS: Final = 8
CROSSING_NS: Final = 500_000_000
"""An answer this old was there before the next question left: they did not cross."""
PASSING_NS: Final = 1_000_000_000
"""An answer at the uplink that is not at the port after this long will not come."""
_SAME_NS: Final = 50_000_000
"""A bond and its leg see one frame within this time."""

QUESTIONS: Final = frozenset({Act.FIND, Act.TAKE, Act.RENEW, Act.REBIND})
"""What a server has to answer. One that does not know a client's network keeps silent
on REBOOT (RFC 2131 section 4.3.2, RFC 8415 section 18.3.3), and INFORM is a courtesy."""
_OF_LEASES: Final = QUESTIONS | {Act.REBOOT}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client asked last with a transaction id."""

    xid: int
    act: Act


@dataclass(frozen=True, slots=True)
class Arrival:
    """An answer at an uplink that was not seen at the port yet."""

    xid: int
    act: Act
    time_ns: int
    ifindex: int
    server: str | None
    asked_ns: int
    """When that was asked which it answers."""


@dataclass(slots=True)
class Exchange:
    """See the module."""

    started_ns: int
    sent_ns: int
    """When the guest last sent more than housekeeping before its first question; 0: unknown."""
    missed: int
    """Count of the port's untold messages up to which nothing is sure any more."""
    first_ns: int = 0
    """When the first conversation began since the guest fell silent, if not this one; 0: this."""
    sights: Sights = field(default_factory=Sights)
    asked: list[Asked] = field(default_factory=list)
    questions: int = 0
    finding: Wait = field(default_factory=Wait)
    """FIND, which an offer answers."""
    taking: Wait = field(default_factory=Wait)
    """TAKE, RENEW and REBIND, which only an acknowledgement or a refusal answers."""
    answers: int = 0
    """Answers that passed towards the guest."""
    last_answer_ns: int = 0
    last_answer: Act | None = None
    last_question_ns: int = 0
    last_question: Act | None = None
    gap_ns: int = 0
    """Between the last two questions."""
    last_asked_ns: int = 0
    """Like `last_question_ns`, with what needs no answer and what was cut."""
    ignored: int = 0
    """Answers that passed, after which the guest asked the same again."""
    ignored_for_sure: int = 0
    """Of them, those since a message was last missed or cut."""
    is_stalled: bool = False
    """It asks in vain, and the guest's receive queue is not being drained: answers lie in it,
    or never left a server whose ARP or neighbour discovery the guest does not hear either."""
    cut: int = 0
    """Messages that our own program dropped."""
    arrivals: list[Arrival] = field(default_factory=list)
    arrived: int = 0
    arrived_at: int = 0
    """The uplink's ifindex where the last of them was seen."""
    is_done: bool = False

    def act_of(self, xid: int) -> Act | None:
        """What was asked last under a transaction id; None: nothing."""
        return next((one.act for one in self.asked if one.xid == xid), None)

    @property
    def unanswered(self) -> int:
        """Questions since the last answer to their kind."""
        return self.finding.asked + self.taking.asked

    @property
    def unanswered_since_ns(self) -> int:
        """When the first of them was asked; 0: there are none."""
        waits = (self.finding, self.taking)
        return min((wait.since_ns for wait in waits if wait.asked), default=0)

    @property
    def silent_first_ns(self) -> int:
        """The first question since the guest last sent anything else."""
        return self.first_ns or self.started_ns

    @property
    def is_in_vain(self) -> bool:
        """Whether it asked again, answered or not."""
        return bool(self.ignored) or self.finding.asked > 1 or self.taking.asked > 1

    def ask(self, step: Step) -> bool:
        """Take a question at the port; whether it ignores an answer that had passed."""
        self.sights.see(step)
        others = [one for one in self.asked if one.xid != step.xid]
        self.asked = [*others[1 - _MOST_ASKED :], Asked(step.xid, step.act)]
        self.last_asked_ns = step.time_ns
        if not step.passed:
            self._cut()
            return False
        if step.act in _OF_LEASES:
            self.is_done = False
        if step.act not in QUESTIONS:
            return False
        is_ignoring = self._is_ignored_by(step)
        if step.act is Act.TAKE and self.last_answer is Act.OFFER:
            # It names the server that offered: so it hears.
            self.hear()
        self.questions += 1
        self.ignored += is_ignoring
        self.ignored_for_sure += is_ignoring
        (self.finding if step.act is Act.FIND else self.taking).ask(step.time_ns)
        self.gap_ns = step.time_ns - self.last_question_ns if self.last_question else 0
        self.last_question_ns = step.time_ns
        self.last_question = step.act
        return is_ignoring

    def _is_ignored_by(self, step: Step) -> bool:
        """Whether the guest asks again what an answer, long enough ago, had answered."""
        if self.last_answer is None or self.last_answer_ns < self.last_question_ns:
            return False
        if step.time_ns - self.last_answer_ns < CROSSING_NS:
            return False
        if self.last_answer is Act.OFFER:
            return step.act is Act.FIND
        return self.last_answer is Act.ACK and (
            step.act is not Act.FIND or self.last_question is Act.FIND
        )

    def answer(self, step: Step) -> Act | None:
        """Take an answer at the port; what it settles. None: nothing of this conversation."""
        asked = self.act_of(step.xid)
        if asked is None:
            return None
        self.sights.see(step)
        if not step.passed:
            self._cut()
            return None
        self.arrivals = [
            each for each in self.arrivals if (each.xid, each.act) != (step.xid, step.act)
        ]
        if asked not in _OF_LEASES or step.act is Act.WAKE:
            return None
        if step.act is Act.OFFER and asked is not Act.FIND:
            # Another server's, late: the client has made its choice.
            return None
        if self.is_done:
            # The first of several answers settles it: RFC 2131 figure 5, bound and init.
            return None
        self.answers += 1
        self.last_answer_ns = step.time_ns
        self.last_answer = step.act
        self.finding.clear()
        if step.act is not Act.OFFER:
            self.taking.clear()
            self.is_done = True
        return asked

    def pass_uplink(self, step: Step) -> None:
        """Take a message at an uplink."""
        asked = self.act_of(step.xid)
        if asked is None:
            return
        self.sights.see(step)
        if step.direction == abi.TAP_OUT or asked not in QUESTIONS or step.act not in OF_SERVER:
            return
        for each in self.arrivals:
            if (each.xid, each.act, each.server) == (step.xid, step.act, step.server_mac) and (
                step.time_ns - each.time_ns < _SAME_NS
            ):
                return
        self.arrived += 1
        self.arrived_at = step.ifindex
        self.arrivals = [
            *self.arrivals[1 - _MOST_ARRIVALS :],
            Arrival(
                xid=step.xid,
                act=step.act,
                time_ns=step.time_ns,
                ifindex=step.ifindex,
                server=step.server_mac,
                asked_ns=self.last_question_ns,
            ),
        ]

    def give_up_arrivals(self, now_ns: int) -> None:
        """Count the answers that did not come from the uplink to the port."""
        late = [each for each in self.arrivals if now_ns - each.time_ns >= PASSING_NS]
        self.arrivals = self.arrivals[len(late) :]
        for each in late:
            is_to_find = each.act is Act.OFFER or self.act_of(each.xid) is Act.FIND
            (self.finding if is_to_find else self.taking).lose(each.time_ns, each.asked_ns)

    def hear(self) -> None:
        """The guest is known to hear what passes."""
        self.ignored = self.ignored_for_sure = 0
        self.is_stalled = False

    def hear_again(self) -> None:
        """The guest reads now what it could not read before: its silence begins anew."""
        self.hear()
        self.finding.doubt()
        self.taking.doubt()

    def settle(self) -> None:
        """Nothing is waited for any more."""
        self.hear()
        self.finding.clear()
        self.taking.clear()
        self.arrivals = []
        self.is_done = True

    def doubt(self, missed: int) -> None:
        """Messages of the port went untold, up to this count of them."""
        self.missed = missed
        self._forget_what_is_sure()

    def _cut(self) -> None:
        self.cut += 1
        self._forget_what_is_sure()

    def _forget_what_is_sure(self) -> None:
        self.finding.doubt()
        self.taking.doubt()
        self.ignored_for_sure = 0
        self.arrivals = []
