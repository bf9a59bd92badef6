# SPDX-License-Identifier: Apache-2.0
"""What `status` says of the MQTT publisher, from its own reports. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sentinel.durations import DAY_NS, SECOND_NS, format_duration
from sentinel.protocol import Report

SILENT_NS: Final = 15 * SECOND_NS
"""Without a report for so long a publisher is taken for gone; it reports every second or so."""
BRIEF_NS: Final = 5 * SECOND_NS
"""What passes by itself in so long is nothing to look at."""
FEW_EVENTS: Final = 1000
"""Behind by no more is on its way."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The latest report, and when it came."""

    report: Report
    wall_ns: int


def publisher_document(
    heard: Heard | None, enabled: bool, last_seq: int, now_ns: int, missing: int = 0
) -> dict[str, Any]:
    """`mqtt` in `status --json`; `last_seq` is the newest entry of the journal.

    `missing` is how many of those that the broker was not told of are gone from it.
    """
    document: dict[str, Any] = {"enabled": enabled, "heard_wall_ns": None, "alive": False}
    if heard is None:
        return document
    told: dict[str, Any] = msgspec.to_builtins(heard.report)
    del told["op"]
    return document | told | {
        "heard_wall_ns": heard.wall_ns,
        "alive": now_ns - heard.wall_ns < SILENT_NS and heard.report.state != "stopped",
        "lag": max(0, last_seq - heard.report.cursor_seq - missing),
        "missing": missing,
    }  # fmt: skip


def publisher_problems(document: Mapping[str, Any], now_ns: int, daemon_since_ns: int) -> list[str]:
    """What an operator should look at; nothing where MQTT is not asked for."""
    if not document["enabled"]:
        return []
    heard_ns = document["heard_wall_ns"]
    if not document["alive"]:
        since_ns = now_ns - (daemon_since_ns if heard_ns is None else heard_ns)
        if since_ns < SILENT_NS:
            return []
        return [
            f"mqtt: no publisher has been heard for {_span(since_ns)}; events wait in the "
            "journal: see `systemctl status tapsentinel-mqtt`"
        ]
    problems = [f"mqtt: {problem}" for problem in document["problems"]]
    problems += _losses(document, now_ns)
    lag = document["lag"]
    if document["state"] != "connected":
        since_ns = now_ns - (document["disconnected_since_wall_ns"] or now_ns)
        if since_ns < BRIEF_NS:
            return problems
        why = document["last_error"] or "no answer yet"
        problems.insert(
            0,
            f"mqtt: not connected to {document['broker']} for {_span(since_ns)} ({why}); "
            f"{lag} events wait in the journal",
        )
    elif document["oldest_in_flight_ns"] > BRIEF_NS:
        problems.insert(
            0,
            f"mqtt: {document['broker']} takes messages and has acknowledged none for "
            f"{_span(document['oldest_in_flight_ns'])}; {lag} events wait in the journal",
        )
    elif lag > FEW_EVENTS:
        problems.append(f"mqtt: the broker has yet to be told of {lag} events")
    return problems


def _losses(document: Mapping[str, Any], now_ns: int) -> list[str]:
    """What will never be told, for a day after it was."""
    limits = "see journal.max_age and journal.max_size"
    if document["missing"]:
        return [
            f"mqtt: {document['missing']} events are gone from the journal before the broker "
            f"was told of them: {limits}"
        ]
    missed_ns = document["missed_wall_ns"]
    if missed_ns is not None and now_ns - missed_ns < DAY_NS:
        return [
            f"mqtt: {document['missed']} events were gone from the journal before they could be "
            f"told, the last {_span(now_ns - missed_ns)} ago: {limits}"
        ]
    return []


def _span(span_ns: int) -> str:
    return format_duration(max(0, span_ns) // SECOND_NS * SECOND_NS)
