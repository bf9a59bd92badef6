# SPDX-License-Identifier: Apache-2.0
"""Incidents that bring a time line, and those of leases."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sentinel.cli_incidents import cause_name, cause_sentence, event_line, incidents_lines
from sentinel.cli_text import Style
from tests.harness.canned_control import NOON_NS, incident
from tests.harness.canned_dhcp import PORT, SECOND_NS, SILENT_NS, stalled_incident

PLAIN = Style(False)
EVIL = "web\x1b]0;gotcha\x07\x9b2J\u202e\n1"


@pytest.fixture(autouse=True)
def _at_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def moments(number: int, **members: Any) -> list[dict[str, Any]]:
    return [
        {"time_ns": SILENT_NS + at * SECOND_NS, "place": "tap7", "text": f"<{at}>", **members}
        for at in range(number)
    ]


def shown(one: dict[str, Any], verbose: bool = False) -> str:
    return "\n".join(incidents_lines([one], PLAIN, verbose))


def test_a_lease_s_incident() -> None:
    said = shown(stalled_incident())
    for words in (
        f"dhcp (receive queue stalled) at port {PORT}  [#17, still open]",
        "Not a DHCP fault.",
        "    2025-10-09\n    02:13:07.412            tap3f2a9c1e-77  last frame of the guest",
        "    02:13:07.450    +38 ms  tap3f2a9c1e-77  DHCPREQUEST from guest",
        "    02:13:07.451   +1.1 ms  bond0           DHCPACK from wire\n"
        "      … 6 more (-v shows them)\n"
        "    02:13:29.924   +0.1 ms  bond0           DHCPREQUEST to wire",
        "the lease of 10.0.0.7 ran out",
        "client MAC  fa:16:3e:3f:2a:9c",
        "messages    12, the last at",
        "done        nothing: seen, nothing is cut for it",
    ):
        assert words in said
    assert "source MAC" not in said


@pytest.mark.parametrize(("number", "left_out"), [(1, 0), (8, 0), (9, 0), (10, 2), (500, 492)])
def test_a_long_time_line_is_cut_in_its_middle(number: int, left_out: int) -> None:
    long = incident(1, evidence=moments(number))
    lines = shown(long).split("\n")
    told = [line for line in lines if line.endswith(">")]
    assert len(told) == number - left_out
    assert told[0].endswith("<0>")
    assert told[-1].endswith(f"<{number - 1}>")
    assert (f"      … {left_out} more (-v shows them)" in lines) is (left_out > 0)
    assert shown(long, verbose=True).count(">\n") >= number


def test_the_gap_behind_what_is_left_out_is_to_the_moment_before() -> None:
    lines = shown(incident(1, evidence=moments(20))).split("\n")
    assert sum("+1.000 s" in line for line in lines) == 7


def test_the_next_day_is_said() -> None:
    evidence = [
        {"time_ns": SILENT_NS, "place": "tap7", "text": "<a>"},
        {"time_ns": SILENT_NS + 86_400 * SECOND_NS, "place": "tap7", "text": "<b>"},
    ]
    said = shown(incident(1, evidence=evidence))
    assert "    2025-10-09\n" in said
    assert "    2025-10-10\n    02:13:07.412       +1d  tap7  <b>" in said


def test_no_evidence_no_time_line() -> None:
    assert shown(incident(1)) == shown(incident(1, evidence=[]))
    assert shown(incident(1, evidence=None)) == shown(incident(1))


def test_what_was_done_for_another_check_is_as_ever() -> None:
    assert "counted and let through" in shown(incident(1, verdict="passed"))
    assert "dropped in the kernel" in shown(stalled_incident(verdict="dropped"))


@pytest.mark.parametrize(
    ("cause", "name"),
    [
        ("unanswered", "unanswered"),
        ("reply_lost", "reply lost"),
        ("ignored", "ignored"),
        ("queue_stalled", "receive queue stalled"),
        ("guest_silent", "guest silent"),
        ("lease_lost", "lease lost"),
        ("nak_loop", "NAK loop"),
        ("address_conflict", "address conflict"),
        ("something_new", "something new"),
        (EVIL, "web\\x1b]0;gotcha\\x07\\x9…"),
        (None, "None"),
    ],
)
def test_causes_in_words(cause: object, name: str) -> None:
    assert cause_name(cause) == name
    assert cause_sentence(cause).startswith(name)


def test_every_cause_of_the_core_has_words() -> None:
    verdict = pytest.importorskip("sentinel.dhcp.verdict")
    for cause in verdict.Cause:
        assert ":" in cause_sentence(str(cause))


@pytest.mark.parametrize(
    "evidence",
    [
        [{}],
        [None, 7, [], {"time_ns": "x", "place": 7, "text": None}],
        {"time_ns": 1},
        [{"time_ns": 10**30, "place": EVIL, "text": EVIL}, {"time_ns": -1, "text": [EVIL]}],
    ],
    ids=["empty", "odd", "object", "evil"],
)
def test_a_damaged_time_line_is_harmless(evidence: object) -> None:
    for line in incidents_lines([stalled_incident(evidence=evidence)], PLAIN, False):
        assert line.isprintable()


def test_a_watch_tells_no_evidence() -> None:
    body = stalled_incident()
    event = {"seq": 1, "kind": "incident.opened", "time_ns": NOON_NS, "port": PORT, "body": body}
    said = event_line(event, PLAIN)
    assert "Not a DHCP fault. [12 messages]" in said
    assert "DHCPREQUEST" not in said
    del body["summary"]
    assert "evidence" not in event_line(event, PLAIN)
