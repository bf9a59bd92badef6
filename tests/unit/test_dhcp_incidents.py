# SPDX-License-Identifier: Apache-2.0
"""One incident for a cause at a port: opened once, told ever less often, closed when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import pytest

from sentinel.detect.left_open import UNCLAIMED_NS
from sentinel.dhcp.client import Client
from sentinel.dhcp.drain import Drain, Draining
from sentinel.dhcp.incidents import DhcpIncidents
from sentinel.dhcp.sentences import Dial, Scene
from sentinel.dhcp.step import Act
from sentinel.dhcp.verdict import Cause, Trouble
from sentinel.effect import Effect, Keep
from sentinel.event import Incident, Kind
from sentinel.vm import VmIdentity
from tests.harness.dhcp_steps import MAC, PORT, SECOND, step

NOW = 1_790_000_000 * SECOND
VM = VmIdentity(uuid=None, name="web", source="libvirt")


def incidents() -> DhcpIncidents:
    numbers = count(1)
    return DhcpIncidents(lambda: next(numbers))


def scene(port: str = "tap7") -> Scene:
    return Scene(port, VM, Drain(), 0, lambda ifindex: f"device {ifindex}", Dial(NOW))


def trouble(
    frames: int = 3,
    *,
    mac: str = MAC,
    cause: Cause = Cause.UNANSWERED,
    sure: bool = True,
    draining: Draining = Draining.UNKNOWN,
) -> Trouble:
    client = Client(PORT, 4, mac, mac)
    for number in range(frames):
        client.take(step(Act.FIND, 4 * number, mac=mac, client=mac))
    return Trouble(cause, client, SECOND, frames, draining, None, sure)


def settle(
    book: DhcpIncidents, troubles: Iterable[Trouble], at_s: float, port: str = "tap7"
) -> list[tuple[Kind | None, Incident]]:
    found = [(one, scene(port)) for one in troubles]
    return told(book.settle(found, NOW + round(at_s * SECOND)))


def told(effects: Iterable[Effect]) -> list[tuple[Kind | None, Incident]]:
    return [(one.kind, one.incident) for one in effects if isinstance(one, Keep)]


def test_it_opens_lasts_and_ends() -> None:
    book = incidents()
    ((kind, opened),) = settle(book, [trouble()], 0)
    assert kind is Kind.INCIDENT_OPENED
    assert (opened.check, opened.detail, opened.port, opened.ifindex, opened.mac) == (
        "dhcp", "unanswered", "tap7", PORT, MAC,
    )  # fmt: skip
    assert (opened.frames, opened.action, opened.verdict, opened.vm) == (3, "count", "passed", VM)
    assert opened.evidence
    assert book.causes(PORT) == ["unanswered"]
    assert book.causes(8) == []
    assert settle(book, [trouble()], 10) == []
    ((kind, closed),) = settle(book, [], 20)
    assert kind is Kind.INCIDENT_CLOSED
    assert closed.closed_wall_ns == NOW + 20 * SECOND
    assert closed.evidence[-1].text == "over: a server answered, or the client asks no more"
    assert len(book) == 0


def test_only_what_is_sure_opens_one_and_anything_keeps_it_open() -> None:
    book = incidents()
    assert settle(book, [trouble(sure=False)], 0) == []
    assert len(settle(book, [trouble(sure=False), trouble(mac="aa")], 1)) == 1
    for at_s in range(2, 100):
        kinds = [kind for kind, _ in settle(book, [trouble(sure=False)], at_s)]
        assert Kind.INCIDENT_CLOSED not in kinds
    assert [kind for kind, _ in settle(book, [], 100)] == [Kind.INCIDENT_CLOSED]


def test_it_is_told_ever_less_often() -> None:
    book = incidents()
    settle(book, [trouble(1)], 0)
    updates = [
        at_s
        for at_s in range(1, 1000)
        for kind, _ in settle(book, [trouble(at_s + 1)], at_s)
        if kind is Kind.INCIDENT_UPDATED
    ]
    assert updates[:7] == [1, 3, 7, 15, 31, 63, 123]
    assert len(updates) < 7 + 1000 / 60


def test_what_is_known_of_the_queue_later_is_told_though_nothing_else_is_new() -> None:
    book = incidents()
    settle(book, [trouble()], 0)
    known = trouble(draining=Draining.STALLED)
    assert [kind for kind, _ in settle(book, [known], 5)] == [Kind.INCIDENT_UPDATED]
    assert settle(book, [known], 100) == []
    assert settle(book, [trouble()], 200) == []


def test_clients_with_the_same_trouble_are_one_incident() -> None:
    book = incidents()
    ((_, opened),) = settle(book, [trouble(2), trouble(5, mac="aa")], 0)
    assert opened.frames == 7
    assert opened.summary.endswith("1 more client behind this port has the same trouble.")
    ((_, grown),) = settle(book, [trouble(9, mac="aa"), trouble(2), trouble(1, mac="bb")], 5)
    assert grown.summary.endswith("2 more clients behind this port have the same trouble.")
    assert grown.summary.startswith(f"tap7: {MAC} of VM web")
    # One of them is well again: the incident goes on with the others.
    ((kind, left),) = settle(book, [trouble(20, mac="aa")], 60)
    assert kind is Kind.INCIDENT_UPDATED
    assert left.summary.startswith("tap7: aa of VM web")
    assert left.mac == MAC


def test_causes_and_ports_are_apart() -> None:
    book = incidents()
    opened = settle(book, [trouble(), trouble(cause=Cause.GUEST_SILENT)], 0)
    assert sorted(one.detail for _, one in opened) == ["guest_silent", "unanswered"]
    ((kind, closed),) = settle(book, [trouble()], 1)
    assert (kind, closed.detail) == (Kind.INCIDENT_CLOSED, "guest_silent")
    assert [kind for kind, _ in told(book.device_gone(8, NOW))] == []
    ((kind, closed),) = told(book.device_gone(PORT, NOW + SECOND))
    assert kind is Kind.INCIDENT_CLOSED
    assert closed.evidence[-1].text == "over: the port is gone"


def test_a_renamed_port_is_found_under_its_new_name() -> None:
    book = incidents()
    settle(book, [trouble()], 0)
    ((kind, renamed),) = settle(book, [trouble()], 0.5, port="web0")
    assert (kind, renamed.port) == (None, "web0")
    assert settle(book, [trouble()], 0.6, port="web0") == []
    ((_, closed),) = settle(book, [], 1)
    assert closed.port == "web0"


def left_by(frames: int = 3, cause: Cause = Cause.UNANSWERED) -> Incident:
    ((_, incident),) = settle(incidents(), [trouble(frames, cause=cause)], -100)
    return incident


def test_one_that_was_left_open_goes_on_in_its_own_words() -> None:
    book = incidents()
    before = left_by(9)
    key = book.left_open(before, NOW)
    effects = list(book.settle([(trouble(2, sure=False), scene())], NOW + SECOND))
    (kept,) = effects
    assert isinstance(kept, Keep)
    assert (kept.key, kept.kind) == (key, None)
    assert kept.incident.summary == before.summary
    assert kept.incident.opened_wall_ns == before.opened_wall_ns
    assert kept.incident.frames == 9
    # Until there is more to say.
    assert settle(book, [trouble(9)], 10) == []
    assert [kind for kind, _ in settle(book, [trouble(10)], 11)] == [Kind.INCIDENT_UPDATED]
    assert [kind for kind, _ in settle(book, [], 40)] == [Kind.INCIDENT_CLOSED]


def test_one_that_was_left_open_and_is_over() -> None:
    book = incidents()
    book.left_open(left_by(), NOW)
    just_before_s = UNCLAIMED_NS / SECOND - 1
    assert settle(book, [], just_before_s) == []
    ((kind, closed),) = settle(book, [], just_before_s + 1)
    assert kind is Kind.INCIDENT_CLOSED
    assert closed.evidence[-1].text == "over: it was over when the daemon came back"
    assert settle(book, [], 100) == []


def test_of_two_that_were_left_open_for_one_cause_both_end() -> None:
    book = incidents()
    keys = {book.left_open(left_by(), NOW), book.left_open(left_by(), NOW)}
    effects = [*book.settle([(trouble(), scene())], NOW + SECOND)]
    effects += book.settle([(trouble(), scene())], NOW + UNCLAIMED_NS)
    effects += book.settle([], NOW + 2 * UNCLAIMED_NS)
    ended = {
        one.key for one in effects if isinstance(one, Keep) and one.kind is Kind.INCIDENT_CLOSED
    }
    assert ended == keys


def test_one_that_was_left_open_at_a_port_that_goes() -> None:
    book = incidents()
    book.left_open(left_by(), NOW)
    assert [kind for kind, _ in told(book.device_gone(PORT, NOW))] == [Kind.INCIDENT_CLOSED]
    assert settle(book, [], 100) == []


def test_a_stop_keeps_what_is_open_and_tells_of_nothing() -> None:
    book = incidents()
    ((_, opened),) = settle(book, [trouble()], 0)
    assert told(book.flush()) == [(None, opened)]


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_words_for_its_end(cause: Cause) -> None:
    book = incidents()
    silent = trouble(cause=cause)
    silent.client.naks = [SECOND, 2 * SECOND, 3 * SECOND]
    ((_, opened),) = settle(book, [silent], 0)
    assert opened.summary.startswith("tap7: ")
    ((_, closed),) = settle(book, [], 100)
    assert closed.evidence[-1].text.startswith("over: ")


def test_the_time_line_is_bounded_and_ends_with_the_end() -> None:
    book = incidents()
    long = trouble()
    for number in range(200):
        long.client.take(step(Act.FIND, 20 + number, xid=number + 2))
    settle(book, [long], 0)
    ((_, closed),) = settle(book, [], 1000)
    assert len(closed.evidence) == 32
    assert closed.evidence[-1].text.startswith("over: ")


def test_an_end_is_never_before_the_latest_news() -> None:
    """The wall's clock may be set back."""
    book = incidents()
    settle(book, [trouble()], 0)
    ((_, closed),) = settle(book, [], -500)
    assert closed.closed_wall_ns == NOW
