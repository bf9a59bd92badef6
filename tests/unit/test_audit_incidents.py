# SPDX-License-Identifier: Apache-2.0
"""An incident of the audit: opened once, told ever less often, closed with its cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.incidents import MOST_OPEN, AuditIncidents
from sentinel.effect import IncidentKeys, Keep
from sentinel.event import Incident, Kind, Moment
from tests.harness.audit_host import SECOND, bridged, q, story

START = 1_760_000_000 * SECOND


def finding(
    rule: str = "vlan-on-vlan",
    device: str = "vlan100",
    frames: int = 5,
    severity: Severity = Severity.WARNING,
    repair: str = "Attach vlan100 to bond0.",
    *,
    opens: bool = True,
) -> AuditFinding:
    return AuditFinding(
        id=f"{rule}/{device}",
        rule=rule,
        severity=severity,
        device=device,
        ifindex=7,
        what=f"{device} is wrong {frames} times.",
        repair=repair,
        frames=frames,
        evidence=(Moment(START - SECOND, "bond0", "the first frame"),),
        opens_incident=opens,
    )


def incidents(*accepted: str) -> AuditIncidents:
    return AuditIncidents(IncidentKeys().new, accepted)


def settle(
    book: AuditIncidents, found: Sequence[AuditFinding], at_s: float
) -> list[tuple[Kind | None, Incident]]:
    effects = list(book.settle(found, START + int(at_s * SECOND)))
    assert all(isinstance(effect, Keep) for effect in effects)
    return [(effect.kind, effect.incident) for effect in effects if isinstance(effect, Keep)]


def kinds(book: AuditIncidents, found: Sequence[AuditFinding], at_s: float) -> list[Kind | None]:
    return [kind for kind, _ in settle(book, found, at_s)]


def test_it_opens_and_closes_with_the_configuration() -> None:
    book = incidents()
    ((kind, opened),) = settle(book, [finding()], 0)
    assert kind is Kind.INCIDENT_OPENED
    assert (opened.check, opened.detail, opened.port) == ("audit", "vlan-on-vlan", "vlan100")
    assert (opened.ifindex, opened.frames, opened.mac, opened.uplink) == (7, 5, None, False)
    assert (opened.action, opened.verdict) == ("count", "passed")
    assert opened.summary == "vlan100 is wrong 5 times. Attach vlan100 to bond0."
    assert [moment.text for moment in opened.evidence] == ["the first frame"]
    assert settle(book, [finding()], 0.5) == []
    ((kind, closed),) = settle(book, [], 0.6)
    assert kind is Kind.INCIDENT_CLOSED
    assert closed.closed_wall_ns == START + 600_000_000
    assert closed.evidence[-1].text == "over: it is not stacked on another VLAN any more"
    assert len(book) == 0


def test_what_is_accepted_or_told_elsewhere_opens_none() -> None:
    book = incidents("vlan-on-vlan/vlan1*", "losses/tap0")
    accepted = [finding(), finding("losses", "tap0"), finding("guest-nested", opens=False)]
    assert settle(book, accepted, 0) == []
    assert kinds(book, [finding(device="vlan200")], 1) == [Kind.INCIDENT_OPENED]


def test_it_is_told_ever_less_often() -> None:
    book = incidents()
    settle(book, [finding(frames=1)], 0)
    told = [
        at_s
        for at_s in range(1, 1000)
        if kinds(book, [finding(frames=at_s + 1)], at_s) == [Kind.INCIDENT_UPDATED]
    ]
    assert told[:7] == [1, 3, 7, 15, 31, 63, 123]
    assert len(told) < 7 + 1000 / 60


def test_nothing_new_is_not_told() -> None:
    book = incidents()
    settle(book, [finding()], 0)
    for at_s in range(1, 200):
        assert settle(book, [finding()], at_s) == []


def test_another_severity_is_told_at_once_and_stays_in_the_time_line() -> None:
    book = incidents()
    settle(book, [finding(frames=0)], 0)
    ((kind, graver),) = settle(book, [finding(frames=3, severity=Severity.CRITICAL)], 0.2)
    assert kind is Kind.INCIDENT_UPDATED
    assert graver.frames == 3
    assert "critical from here on: frames are being lost" in [one.text for one in graver.evidence]
    assert settle(book, [finding(frames=3, severity=Severity.CRITICAL)], 0.4) == []
    ((_, later),) = settle(book, [finding(frames=90, severity=Severity.CRITICAL)], 30)
    assert "critical from here on: frames are being lost" in [one.text for one in later.evidence]


def test_another_repair_is_told() -> None:
    book = incidents()
    settle(book, [finding()], 0)
    other = finding(repair="Attach vlan100 to bond1.")
    ((kind, told),) = settle(book, [other], 2)
    assert kind is Kind.INCIDENT_UPDATED
    assert told.summary.endswith("Attach vlan100 to bond1.")


def test_what_frames_alone_show_lingers() -> None:
    for rule in ("losses", "uplink-oversized"):
        book = incidents()
        settle(book, [finding(rule)], 0)
        seen = [
            kind
            for at_s in range(1, 1200)
            for kind in kinds(book, [finding(rule)] if at_s % 45 == 0 else [], at_s)
        ]
        assert seen == []
        assert len(book) == 1
    assert settle(book, [], 1200) == []
    assert kinds(book, [], 1170 + 61) == [Kind.INCIDENT_CLOSED]


def test_a_clock_that_is_set_back_keeps_none_open_forever() -> None:
    book = incidents()
    settle(book, [finding("losses")], 1000)
    assert kinds(book, [], 0) == [Kind.INCIDENT_CLOSED]


def test_a_restart_neither_doubles_nor_closes_what_still_holds() -> None:
    before = incidents()
    settle(before, [finding()], 0)
    (kept,) = [effect.incident for effect in before.flush() if isinstance(effect, Keep)]
    kept = replace(kept, id=41)
    book = incidents()
    key = book.left_open(kept, START + 10 * SECOND)
    found = replace(finding(severity=Severity.CRITICAL), ifindex=9)
    (effect,) = book.settle([found], START + 11 * SECOND)
    assert isinstance(effect, Keep)
    assert (effect.key, effect.kind) == (key, None)
    assert (effect.incident.id, effect.incident.opened_wall_ns) == (41, START)
    assert (effect.incident.ifindex, effect.incident.summary) == (9, kept.summary)
    for at_s in range(12, 100):
        assert settle(book, [found], at_s) == []
    assert kinds(book, [], 101) == [Kind.INCIDENT_CLOSED]


def test_what_was_repaired_meanwhile_is_closed_after_a_while() -> None:
    book = incidents()
    (kept,) = [incident for _, incident in settle(incidents(), [finding()], 0)]
    book.left_open(kept, START + 10 * SECOND)
    for at_s in range(10, 40):
        assert settle(book, [], at_s) == []
    ((kind, closed),) = settle(book, [], 40)
    assert kind is Kind.INCIDENT_CLOSED
    assert closed.evidence[-1].text == "over: it was over when the daemon came back"
    assert settle(book, [], 80) == []


def test_an_incident_left_open_twice_is_claimed_once() -> None:
    book = incidents()
    (kept,) = [incident for _, incident in settle(incidents(), [finding()], 0)]
    book.left_open(kept, START)
    book.left_open(kept, START)
    assert kinds(book, [finding()], 1) == [None]
    assert kinds(book, [finding()], 31) == [Kind.INCIDENT_CLOSED]
    assert len(book) == 1


def test_there_are_only_so_many_and_the_rest_is_counted() -> None:
    book = incidents()
    many = [finding(device=f"vlan{at}") for at in range(MOST_OPEN + 44)]
    assert len(settle(book, many, 0)) == MOST_OPEN
    assert (len(book), book.beyond) == (MOST_OPEN, 44)
    settle(book, many[100:], 1)
    assert (len(book), book.beyond) == (MOST_OPEN - 56, 0)


@pytest.mark.parametrize("is_repaired", [False, True])
def test_the_story_from_the_rules_to_its_end(is_repaired: bool) -> None:
    host, book = story(), incidents()
    host.seen("bond0", q(20), q(100), oversized=18_233)
    ((_, opened),) = settle(book, list(host.audit().values()), 0)
    assert opened.summary.endswith(
        "Since 14:02, 18,233 frames were oversized by exactly 4 bytes. Attach vlan100 to bond0."
    )
    if is_repaired:
        host.change("vlan100", lower="bond0")
        host.pairs.clear()
    ended = kinds(book, list(host.audit().values()), 0.2)
    assert ended == ([Kind.INCIDENT_CLOSED] if is_repaired else [])


def test_what_its_checks_tell_opens_none() -> None:
    host, book = bridged(), incidents()
    host.seen("tap0", q(5), q(6), oversized=70, by=(4, 7500))
    found = list(host.audit().values())
    assert [one.rule for one in found] == ["guest-nested", "guest-oversized"]
    assert settle(book, found, 0) == []
