# SPDX-License-Identifier: Apache-2.0
"""The summary that is told at an interval: one flat table of numbers. Pure.

Names are those of Prometheus: `tapsentinel_` before, the unit and, where it only rises,
`_total` behind. What is not known is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sentinel.durations import SECOND_NS
from sentinel.mqtt.documents import VERSION

PREFIX: Final = "tapsentinel_"
_FROM_STATUS: Final = (
    # Part of `status --json`, its member, the metric.
    ("guard", "watched", "ports_watched"),
    ("guard", "unattached", "ports_unattached"),
    ("guard", "trusted", "ports_trusted"),
    ("guard", "quarantined", "ports_quarantined"),
    ("guard", "uplinks", "uplinks"),
    ("fuse", "limit", "fuse_limit"),
    ("fuse", "blown", "fuse_blown"),
    ("fuse", "refusals", "fuse_refusals_total"),
    ("events", "told", "events_told_total"),
    ("events", "suppressed", "events_suppressed_total"),
    ("events", "lost", "events_lost_total"),
    ("events", "coalesced", "events_coalesced_total"),
    ("journal", "ok", "journal_ok"),
    ("journal", "entries", "journal_entries"),
    ("journal", "size_bytes", "journal_size_bytes"),
    ("journal", "pending", "journal_pending"),
    ("journal", "lost", "journal_lost_total"),
    ("journal", "last_seq", "journal_last_seq"),
    ("mqtt", "lag", "mqtt_lag"),
    ("mqtt", "missing", "mqtt_missing"),
)
_FROM_REPORT: Final = (
    ("acknowledged", "mqtt_acknowledged_total"),
    ("connects", "mqtt_connects_total"),
    ("failures", "mqtt_failures_total"),
    ("missed", "mqtt_missed_total"),
    ("in_flight", "mqtt_in_flight"),
    ("cursor_seq", "mqtt_cursor_seq"),
)
_SUMMED: Final = ("frames", "bytes", "oversized", "oversized_by_tags", "vlan_tagged", "vlan_nested")
_KINDS: Final = ("bpdu", "dhcp", "dropped")
"""Counters that are counted by kind, each with a total."""
_SIDES: Final = ("from_guest", "to_guest")


def metrics_document(
    host: str,
    time: str,
    status: Mapping[str, Any],
    ports: Iterable[Mapping[str, Any]],
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """The summary of `status --json`, `ports --json` and what the publisher says of itself."""
    return {
        "version": VERSION,
        "host": host,
        "time": time,
        "program": str(status.get("version", "")),
        "metrics": metrics(status, ports, report),
        "problems": tuple(status.get("problems") or ()),
    }


def metrics(
    status: Mapping[str, Any], ports: Iterable[Mapping[str, Any]], report: Mapping[str, Any]
) -> dict[str, float]:
    """All numbers by their name."""
    found: dict[str, Any] = {
        name: (status.get(part) or {}).get(member) for part, member, name in _FROM_STATUS
    }
    found |= {name: report.get(member) for member, name in _FROM_REPORT}
    found["mqtt_oldest_in_flight_seconds"] = report.get("oldest_in_flight_ns", 0) / SECOND_NS
    found["mqtt_problems"] = len(report.get("problems") or ())
    found["problems"] = len(status.get("problems") or ())
    found |= totals(ports)
    # A truth is 0 or 1.
    return {PREFIX + name: one + 0 for name, one in found.items() if one is not None}


def totals(ports: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What the ports' counters come to, by what is sent and received by guests.

    Uplinks are left out: a frame that leaves the host would count twice.
    """
    sums = {f"{side}_{name}_total": 0 for side in _SIDES for name in (*_SUMMED, *_KINDS)}
    for port in ports:
        for side, counters in (port.get("counters") or {}).items():
            if side not in _SIDES:
                continue
            for name in _SUMMED:
                sums[f"{side}_{name}_total"] += counters.get(name, 0)
            for name in _KINDS:
                sums[f"{side}_{name}_total"] += (counters.get(name) or {}).get("total", 0)
    return sums
