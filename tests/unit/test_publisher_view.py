# SPDX-License-Identifier: Apache-2.0
"""`status` says of the publisher what an operator has to know, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sentinel.durations import SECOND_NS
from sentinel.errors import ProtocolError
from sentinel.protocol import Report, decode_request
from sentinel.publisher_view import Heard, publisher_document, publisher_problems

NOW = 10**18
NONE: list[str] = []


def told(heard_ago_s: float = 1, last_seq: int = 100, **members: Any) -> dict[str, Any]:
    facts = {"state": "connected", "broker": "b:8883", "cursor_seq": 100, **members}
    heard = Heard(Report(**facts), NOW - int(heard_ago_s * SECOND_NS))
    return publisher_document(heard, True, last_seq, NOW)


def problems(document: dict[str, Any], up_s: float = 100) -> str:
    return "; ".join(publisher_problems(document, NOW, NOW - int(up_s * SECOND_NS)))


def test_all_is_well() -> None:
    document = told()
    assert problems(document) == ""
    assert (document["lag"], document["alive"], document["broker"]) == (0, True, "b:8883")
    assert "op" not in document


def test_mqtt_that_is_not_asked_for_is_no_problem() -> None:
    assert publisher_problems(publisher_document(None, False, 5, NOW), NOW, 0) == NONE


def test_a_publisher_that_is_silent() -> None:
    never = publisher_document(None, True, 5, NOW)
    assert problems(never, up_s=5) == "", "give it a moment after the daemon's start"
    assert "no publisher has been heard for 1m40s" in problems(never)
    assert "no publisher has been heard for 20s" in problems(told(heard_ago_s=20))
    assert "no publisher has been heard for 20s" in problems(told(heard_ago_s=20, state="stopped"))


def test_a_broker_that_is_away() -> None:
    since = NOW - 90 * SECOND_NS
    away = told(
        state="connecting",
        disconnected_since_wall_ns=since,
        last_error="Connection refused",
        last_seq=5100,
    )
    assert problems(away) == (
        "mqtt: not connected to b:8883 for 1m30s (Connection refused); 5000 events wait in the "
        "journal"
    )


def test_what_has_just_begun_is_no_problem() -> None:
    assert problems(told(state="connecting")) == ""
    just = told(state="connecting", disconnected_since_wall_ns=NOW - SECOND_NS)
    assert problems(just) == ""


def test_a_broker_that_acknowledges_nothing() -> None:
    silent = told(oldest_in_flight_ns=7 * SECOND_NS, last_seq=130)
    assert "has acknowledged none for 7s; 30 events wait" in problems(silent)


def test_being_behind_and_what_the_publisher_says_itself() -> None:
    assert "yet to be told of 5000 events" in problems(told(last_seq=5100))
    assert problems(told(problems=("disk full",))) == "mqtt: disk full"


def test_what_will_never_be_told_is_said() -> None:
    heard = Heard(Report(state="connected", broker="b:8883", cursor_seq=100), NOW)
    gone = publisher_document(heard, True, 900, NOW, missing=700)
    assert (gone["lag"], gone["missing"]) == (100, 700)
    assert problems(gone).startswith("mqtt: 700 events are gone from the journal before the broker")
    hour_ago = NOW - 3600 * SECOND_NS
    assert problems(told(missed=700, missed_wall_ns=hour_ago)).startswith(
        "mqtt: 700 events were gone from the journal before they could be told, the last 1h ago"
    )
    assert problems(told(missed=700, missed_wall_ns=NOW - 25 * 3600 * SECOND_NS)) == ""


def test_a_report_is_bounded_and_validated() -> None:
    raw = {"op": "report", "state": "connected", "broker": "b"}
    assert isinstance(decode_request(msgspec.json.encode(raw)), Report)
    for bad in (
        {"state": "odd"}, {"broker": "x" * 1000}, {"problems": ["p"] * 9}, {"cursor_seq": -1},
        {"more": 1},
    ):  # fmt: skip
        with pytest.raises(ProtocolError):
            decode_request(msgspec.json.encode(raw | bad))
