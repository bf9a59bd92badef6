# SPDX-License-Identifier: Apache-2.0
"""One incident per cause and port, however many frames; told of ever less often."""

from __future__ import annotations

from sentinel.decode import NO_COUNTERS, Counters
from sentinel.detect.finding import Finding, find
from sentinel.detect.incidents import QUIET_NS, IncidentBook
from sentinel.effect import Effect, Keep
from sentinel.event import Incident, Kind
from tests.harness.cut_facts import NOW, SECOND, VM, bpdus, device, record

DEVICES = {7: device(vm=VM), 3: device(3, "uplink0", role="uplink")}


def finding(**changes: object) -> Finding:
    found = find(record(**changes), DEVICES)  # type: ignore[arg-type]
    assert found is not None
    return found


def sample(count: int, ifindex: int = 7) -> dict[int, tuple[Counters, Counters]]:
    return {ifindex: (bpdus(count), NO_COUNTERS)}


def told(effects: list[Effect]) -> list[tuple[Kind | None, int]]:
    return [(one.kind, one.incident.frames) for one in effects if isinstance(one, Keep)]


def test_the_first_record_opens_it_and_the_counters_say_how_many() -> None:
    book = IncidentBook()
    assert told(list(book.note(finding(), "drop", NOW))) == [(Kind.INCIDENT_OPENED, 1)]
    assert list(book.note(finding(), "drop", NOW + 1)) == []
    assert told(list(book.count(sample(1_000_000), NOW + SECOND))) == [
        (Kind.INCIDENT_UPDATED, 1_000_000)
    ]


def test_a_long_one_is_told_of_ever_less_often() -> None:
    book = IncidentBook()
    list(book.note(finding(), "drop", NOW))
    updates = []
    for second in range(1, 3600):
        updates += [
            second for _ in told(list(book.count(sample(10 * second), NOW + second * SECOND)))
        ]
    assert updates[:5] == [1, 3, 7, 15, 31]
    assert len(updates) < 6 + 3600 / 60 + 1


def test_quiet_ends_it_and_the_next_frame_is_another_one() -> None:
    book = IncidentBook()
    list(book.note(finding(), "drop", NOW))
    list(book.count(sample(5), NOW + SECOND))
    assert told(list(book.count(sample(5), NOW + SECOND + QUIET_NS))) == [(Kind.INCIDENT_CLOSED, 5)]
    assert len(book) == 0
    later = NOW + 2 * QUIET_NS
    list(book.note(finding(), "drop", later))
    list(book.count(sample(8), later + SECOND))
    assert [one.frames for one in book.current()] == [3]


def test_a_graver_verdict_is_the_incidents() -> None:
    book = IncidentBook()
    for verdict in ("passed", "dropped", "latched", "dropped"):
        list(book.note(finding(verdict=verdict), "quarantine", NOW))
    assert [one.verdict for one in book.current()] == ["latched"]


def test_a_device_that_goes_ends_its_incidents_and_its_numbers() -> None:
    book = IncidentBook()
    list(book.note(finding(), "drop", NOW))
    list(book.count(sample(5), NOW + SECOND))
    assert told(list(book.device_gone(7, NOW + SECOND))) == [(Kind.INCIDENT_CLOSED, 5)]
    # Another device of that number starts at zero.
    list(book.note(finding(), "drop", NOW + 2 * SECOND))
    list(book.count(sample(2), NOW + 3 * SECOND))
    assert [one.frames for one in book.current()] == [2]


def test_what_settled_incidents_stand_for_is_not_counted_again() -> None:
    book = IncidentBook()
    book.settle(7, 0, "bpdu", 100)
    assert book.settled(7, 0, "bpdu") == 100
    list(book.note(finding(), "drop", NOW))
    list(book.count(sample(103), NOW + SECOND))
    assert [one.frames for one in book.current()] == [3]


def test_what_nobody_can_go_on_with_is_ended() -> None:
    book = IncidentBook()
    list(book.note(finding(), "drop", NOW))
    (incident,) = book.current()
    end = book.end_kept(incident, NOW + SECOND)
    assert end.kind == Kind.INCIDENT_CLOSED
    assert isinstance(end.incident, Incident)
    assert end.incident.closed_wall_ns == NOW + SECOND
    assert [one.key for one in book.note(finding(ifindex=3), "drop", NOW)] != [end.key]  # type: ignore[union-attr]


def test_a_passed_bpdu_is_not_told_twice_by_the_uplink() -> None:
    passed = record(ifindex=3, offender_ifindex=7, role="uplink", verdict="passed")
    assert find(passed, DEVICES) is None
    stopped = find(record(ifindex=3, offender_ifindex=7, role="uplink"), DEVICES)
    assert stopped is not None
    assert (stopped.port, stopped.uplink) == ("tap0", True)
    unknown = find(record(ifindex=3, offender_ifindex=99, role="uplink"), DEVICES)
    assert unknown is not None
    assert unknown.port == "uplink0"
    assert "not watched" in unknown.summary
    assert find(record(ifindex=99), DEVICES) is None
