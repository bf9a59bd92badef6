# SPDX-License-Identifier: Apache-2.0
"""One incident per cause and port, however many frames; told of ever less often."""

from __future__ import annotations

from sentinel.decode import NO_COUNTERS, Counters
from sentinel.detect.evidence import MOST_MOMENTS
from sentinel.detect.finding import Finding, find
from sentinel.detect.incidents import QUIET_NS, IncidentBook
from sentinel.effect import Effect, IncidentKeys, Keep
from sentinel.event import Incident, Kind, Moment
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


def test_a_graver_verdict_is_told_at_once_however_long_it_has_been_open() -> None:
    book = IncidentBook()
    list(book.note(finding(verdict="passed"), "count", NOW))
    list(book.count(sample(5), NOW + SECOND))
    (kept,) = book.note(finding(verdict="latched"), "quarantine", NOW + SECOND + 1)
    assert isinstance(kept, Keep)
    assert (kept.kind, kept.incident.verdict) == (Kind.INCIDENT_UPDATED, "latched")
    assert kept.incident.action == "quarantine"
    assert list(book.note(finding(verdict="latched"), "quarantine", NOW + SECOND + 2)) == []


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


def lines(incident: Incident) -> list[tuple[int, str, str]]:
    return [(one.time_ns - NOW, one.place, one.text) for one in incident.evidence]


def last(effects: list[Effect]) -> Incident:
    (kept,) = (one for one in effects if isinstance(one, Keep))
    return kept.incident


def rogue(**changes: object) -> Finding:
    return finding(check="rogue_dhcp", kind="offer", **changes)


def test_the_time_line_tells_the_beginning_what_became_graver_and_the_end() -> None:
    book = IncidentBook()
    first = last(list(book.note(rogue(verdict="dropped"), "quarantine", NOW)))
    opened = (0, "tap0", "DHCPOFFER from fa:16:3e:00:00:99: dropped in the kernel")
    assert lines(first) == [opened]
    list(book.note(rogue(verdict="dropped"), "quarantine", NOW + 1))
    list(book.note(rogue(verdict="latched"), "quarantine", NOW + 2))
    closed = last(list(book.count({}, NOW + QUIET_NS)))
    cut = "DHCPOFFER from fa:16:3e:00:00:99: dropped in the kernel, and the port cut with it"
    assert lines(closed) == [
        opened,
        (2, "tap0", cut),
        (QUIET_NS, "tap0", "no further frame for 60 s"),
    ]


def test_the_time_line_says_which_device_saw_it_and_which_went() -> None:
    book = IncidentBook()
    list(book.note(finding(ifindex=3, offender_ifindex=7, role="uplink"), "drop", NOW))
    (open_one,) = book.current()
    assert (open_one.port, open_one.evidence[0].place) == ("tap0", "uplink0")
    gone = last(list(book.device_gone(3, NOW + 1)))
    assert lines(gone)[-1] == (1, "uplink0", "the uplink is gone")
    list(book.note(finding(ifindex=3, offender_ifindex=7, role="uplink"), "drop", NOW))
    assert last(list(book.device_gone(7, NOW + 1))).evidence[-1].text == "the port is gone"


def test_decoded_messages_are_added_told_and_kept() -> None:
    book = IncidentBook()
    offered = Moment(NOW + 1, "tap0", "DHCPOFFER of 10.0.0.9 to fa:16:3e:00:00:01")
    assert not book.add_evidence(7, "rogue_dhcp", offered), "there is no incident yet"
    list(book.note(rogue(), "drop", NOW))
    assert not book.add_evidence(7, "dhcp_flood", offered)
    assert not book.add_evidence(8, "rogue_dhcp", offered)
    assert book.add_evidence(7, "rogue_dhcp", offered)
    (update,) = (one for one in book.count({}, NOW + SECOND) if isinstance(one, Keep))
    assert update.kind == Kind.INCIDENT_UPDATED
    assert lines(update.incident)[1:] == [(1, "tap0", offered.text)]
    assert list(book.count({}, NOW + 2 * SECOND)) == []
    book.add_evidence(7, "rogue_dhcp", Moment(NOW + 2 * SECOND, "tap0", "DHCPACK"))
    (kept,) = (one for one in book.flush({}, NOW + 2 * SECOND) if isinstance(one, Keep))
    assert kept.incident.evidence[-1].text == "DHCPACK"


def test_however_many_are_added_the_time_line_is_bounded() -> None:
    book = IncidentBook()
    list(book.note(rogue(), "drop", NOW))
    for number in range(1000):
        book.add_evidence(7, "rogue_dhcp", Moment(NOW + number, "tap0", f"{number}"))
    (open_one,) = book.current()
    assert len(open_one.evidence) == MOST_MOMENTS
    assert open_one.evidence[0].text.startswith("DHCPOFFER")
    assert open_one.evidence[-1].text == "999"


def test_an_incident_that_goes_on_keeps_its_time_line() -> None:
    book = IncidentBook()
    list(book.note(rogue(), "drop", NOW))
    (kept,) = book.current()
    then = IncidentBook()
    then.reopen(rogue(), kept, 0, NOW + 1)
    assert [one.evidence for one in then.current()] == [kept.evidence]
    end = then.end_kept(kept, NOW + 2)
    assert lines(end.incident)[0] == lines(kept)[0]
    assert end.incident.evidence[-1].time_ns == NOW + 2


def test_keys_are_shared_with_another_source_of_incidents() -> None:
    keys = IncidentKeys()
    book = IncidentBook(keys)
    used = [keys.new()]
    used += [one.key for one in book.note(finding(), "drop", NOW) if isinstance(one, Keep)]
    used += [keys.new(), book.reopen(rogue(), book.current()[0], 0, NOW), keys.new()]
    used += [book.end_kept(book.current()[0], NOW).key]
    assert len(set(used)) == len(used) == 6


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
