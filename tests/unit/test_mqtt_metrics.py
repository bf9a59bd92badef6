# SPDX-License-Identifier: Apache-2.0
"""The summary's numbers are those of `status` and `ports`, under names that stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from sentinel.mqtt.documents import MetricsDocument
from sentinel.mqtt.health import Health
from sentinel.mqtt.metrics import metrics, metrics_document
from tests.harness.canned_control import STATUS, port, uplink

EVENTS_MD = Path(__file__).parents[2] / "docs" / "events.md"
REPORT = Health("b:1").report(f"{'a' * 16}-77", 5, 1, 2_500_000_000)


def whole() -> dict[str, Any]:
    """A status with every part that a daemon has."""
    mqtt = {"lag": 3, "missing": 4}
    journal = {**STATUS["journal"], "last_seq": 80}
    return {**STATUS, "mqtt": mqtt, "journal": journal, "problems": ["p"]}


def test_every_number_has_its_name() -> None:
    one = port("tap0", 7)
    told = metrics(whole(), [one, one, uplink("bond0", 9)], REPORT)
    frames = one["counters"]["from_guest"]["frames"]
    assert told["tapsentinel_from_guest_frames_total"] == 2 * frames
    assert told["tapsentinel_to_guest_bpdu_total"] == 0
    assert told["tapsentinel_ports_watched"] == 98
    assert told["tapsentinel_fuse_blown"] == 0
    assert told["tapsentinel_journal_ok"] == 1
    assert told["tapsentinel_mqtt_cursor_seq"] == 77
    assert told["tapsentinel_mqtt_oldest_in_flight_seconds"] == 2.5
    assert (told["tapsentinel_mqtt_lag"], told["tapsentinel_mqtt_missing"]) == (3, 4)
    assert told["tapsentinel_problems"] == 1
    for name, value in told.items():
        assert re.fullmatch("tapsentinel(_[a-z]+)+", name)
        assert isinstance(value, int | float)
        assert not isinstance(value, bool)


def test_the_documents_name_them_all() -> None:
    told = metrics(whole(), [], REPORT) | {"tapsentinel_events_coalesced_total": 0}
    written = set(re.findall(r"`(tapsentinel_[a-z_]+)`", EVENTS_MD.read_text()))
    assert written == set(told)


def test_what_is_not_known_is_left_out() -> None:
    told = metrics_document("hv-1", "t", {}, [], {})
    msgspec.convert(told, MetricsDocument)
    assert "tapsentinel_ports_watched" not in told["metrics"]


def test_what_failed_and_what_was_missed_is_counted() -> None:
    health = Health("b:1")
    health.disconnected("no", 1)
    health.connected("5", 2)
    health.disconnected("no", 3)
    health.skipped(11, 20, 4)
    health.skipped(11, 20, 5)
    health.skipped(15, 30, 6)
    told = metrics({}, [], health.report("", 0, 0, 0))
    assert told["tapsentinel_mqtt_failures_total"] == 2
    assert told["tapsentinel_mqtt_connects_total"] == 1
    assert told["tapsentinel_mqtt_missed_total"] == 20
    assert health.missed_wall_ns == 6
