# SPDX-License-Identifier: Apache-2.0
"""The document of `audit`. Times in it are wall clock, in nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from sentinel import abi
from sentinel.audit.accepted import is_accepted
from sentinel.audit.finding import AuditFacts, AuditFinding
from sentinel.audit.words import wall_ns
from sentinel.tag import Tag
from sentinel.traffic import LossSeen, PairSeen

MOST_ROWS: Final = 50
_DIRECTIONS: Final = {
    ("port", abi.TAP_IN): "from_guest",
    ("port", abi.TAP_OUT): "to_guest",
    ("uplink", abi.TAP_IN): "from_wire",
    ("uplink", abi.TAP_OUT): "to_wire",
}
_EXCESS: Final = ("1-4", "5-8", "9-50", "more")
"""As enum tap_excess orders them, in bytes."""


def audit_document(
    facts: AuditFacts,
    findings: Sequence[AuditFinding],
    *,
    took_ns: int,
    accepted: Sequence[str] = (),
    drops: str = "off",
    why: str = "",
    beyond: int = 0,
) -> dict[str, Any]:
    """What was found and what it rests on.

    `took_ns` is how long the audit took; `accepted` are patterns of ids; `drops` says
    whether the kernel's own drops are traced ("on" or "off") and `why`, if not; `beyond`
    is how many findings had no room for an incident.
    """
    return {
        "checked_wall_ns": wall_ns(facts, facts.now_ns),
        "took_ns": took_ns,
        "devices": len(facts.links),
        "ports": sum(1 for device in facts.devices.values() if device.role == "port"),
        "uplinks": sum(1 for device in facts.devices.values() if device.role == "uplink"),
        "findings": [_finding(one, accepted) for one in findings],
        "without_incident": beyond,
        "drops": {"state": drops, "why": why},
        "pairs": [_pair(facts, row) for row in _worst_pairs(facts)],
        "losses": [_loss(facts, row) for row in _worst_losses(facts)],
    }


def _finding(finding: AuditFinding, accepted: Sequence[str]) -> dict[str, Any]:
    return {
        **asdict(finding),
        "severity": str(finding.severity),
        "accepted": is_accepted(finding.id, accepted),
    }


def _worst_pairs(facts: AuditFacts) -> list[PairSeen]:
    order = sorted(
        facts.pairs,
        key=lambda row: (-row.oversized, -row.frames, row.ifindex, row.direction),
    )
    return order[:MOST_ROWS]


def _worst_losses(facts: AuditFacts) -> list[LossSeen]:
    order = sorted(
        facts.losses,
        key=lambda row: (-row.frames, row.at_ifindex, row.from_ifindex, row.reason, row.symbol),
    )
    return order[:MOST_ROWS]


def _pair(facts: AuditFacts, row: PairSeen) -> dict[str, Any]:
    device = facts.devices.get(row.ifindex)
    role = "port" if device is None else device.role
    return {
        "device": _name(facts, row.ifindex),
        "ifindex": row.ifindex,
        "direction": _DIRECTIONS.get((role, row.direction), str(row.direction)),
        "outer": _tag(row.outer),
        "inner": _tag(row.inner),
        "is_rest": row.is_rest,
        "frames": row.frames,
        "bytes": row.bytes,
        "oversized": row.oversized,
        "excess": dict(zip(_EXCESS, row.excess, strict=False)),
        "smallest_excess_bytes": row.smallest_excess_bytes,
        "largest_excess_bytes": row.largest_excess_bytes,
        "largest_wire_bytes": row.largest_wire_bytes,
        "first_seen_wall_ns": _wall_ns(facts, row.first_seen_ns),
        "last_seen_wall_ns": _wall_ns(facts, row.last_seen_ns),
        "last_oversized_wall_ns": _wall_ns(facts, row.last_oversized_ns),
    }


def _loss(facts: AuditFacts, row: LossSeen) -> dict[str, Any]:
    return {
        "from": _name(facts, row.from_ifindex) if row.from_ifindex else None,
        "from_ifindex": row.from_ifindex,
        "at": _name(facts, row.at_ifindex) if row.at_ifindex else None,
        "at_ifindex": row.at_ifindex,
        "reason": row.reason,
        "symbol": row.symbol,
        "frames": row.frames,
        "bytes": row.bytes,
        "largest_bytes": row.largest_bytes,
        "first_seen_wall_ns": _wall_ns(facts, row.first_seen_ns),
        "last_seen_wall_ns": _wall_ns(facts, row.last_seen_ns),
    }


def _name(facts: AuditFacts, ifindex: int) -> str | None:
    link = facts.links.get(ifindex)
    return None if link is None else link.name


def _tag(tag: Tag | None) -> dict[str, int] | None:
    return None if tag is None else {"tpid": tag.tpid, "vid": tag.vid}


def _wall_ns(facts: AuditFacts, monotonic_ns: int) -> int | None:
    """None for never."""
    return wall_ns(facts, monotonic_ns) if monotonic_ns else None
