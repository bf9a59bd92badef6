# SPDX-License-Identifier: Apache-2.0
"""Frames that leave the host too large, and that no other finding accounts for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sentinel import abi
from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host, PairKey
from sentinel.audit.words import (
    by_how_much,
    counted,
    frames_were,
    ip_link,
    listed,
    pair_text,
    remark,
    since,
    wall_ns,
)
from sentinel.event import Moment
from sentinel.inventory import Device
from sentinel.traffic import PairSeen

RULE: Final = "uplink-oversized"
_MOST_ROWS: Final = 4


def uplink_oversized(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each uplink. Comes after the rules that explain."""
    suspects: dict[PairKey, list[str]] | None = None
    for device in host.devices("uplink"):
        if _is_watched_slave(host, device):
            continue
        found = [
            (row, frames)
            for row in host.to_wire.get(device.ifindex, ())
            if (frames := _unexplained(host, explained, row))
            and host.is_recent(row.last_oversized_ns)
            and row.last_oversized_ns > host.facts.ways_changed_ns
        ]
        if found:
            if suspects is None:
                suspects = _suspects(host)
            yield _finding(host, device, found, suspects)


def _is_watched_slave(host: Host, device: Device) -> bool:
    """Whether its frames are counted at its bond already."""
    link = host.links.get(device.ifindex)
    return link is not None and link.master is not None and link.master in host.facts.devices


def _unexplained(host: Host, explained: Explained, row: PairSeen) -> int:
    """Frames of a row that are larger than anything known makes them."""
    key = (row.ifindex, row.outer, row.inner)
    if key in explained.pairs and not row.is_rest:
        return 0
    if row.is_rest and row.ifindex in explained.stacked:
        return 0
    frames = row.oversized
    if row.largest_excess_bytes <= explained.too_small.get(row.ifindex, 0):
        return 0
    if row.inner is not None and row.outer is not None:
        # A second tag makes a frame 4 bytes larger, a third one (which no row tells) 8.
        if key in explained.by_tags or (host.is_service(row.outer) and row.inner.is_service):
            frames -= row.excess[abi.TAP_EXCESS_TAG] + row.excess[abi.TAP_EXCESS_TWO_TAGS]
        elif host.is_service(row.outer):
            frames -= row.excess[abi.TAP_EXCESS_TAG]
    elif key in explained.by_tags:
        frames -= row.excess[abi.TAP_EXCESS_TAG]
    return max(0, frames)


def _suspects(host: Host) -> dict[PairKey, list[str]]:
    """Ports whose own tags lead to a pair, by pair."""
    found: dict[PairKey, list[str]] = {}
    for device in host.devices("port"):
        for row in host.from_guests.get(device.ifindex, ()):
            if row.outer is not None:
                for key in host.keys_at_wire(device.ifindex, row):
                    found.setdefault(key, []).append(device.name)
    return found


def _finding(
    host: Host,
    device: Device,
    found: list[tuple[PairSeen, int]],
    suspects: dict[PairKey, list[str]],
) -> AuditFinding:
    facts = host.facts
    found = sorted(found, key=lambda one: (-one[1], one[0].first_seen_ns))
    rows = [row for row, _ in found]
    frames = sum(number for _, number in found)
    most = rows[0]
    first_ns = min(row.first_seen_ns for row in rows)
    needed = device.path_mtu_bytes + max(row.largest_excess_bytes for row in rows)
    names = suspects.get((most.ifindex, most.outer, most.inner), [])
    what = (
        f"Frames leave {device.name} that are larger than its {device.path_mtu_bytes:,} bytes, "
        f"most of them with {pair_text(most.outer, most.inner, most.is_rest)}. "
        f"{since(facts, first_ns)}, {frames_were(frames)} oversized by {by_how_much(rows)}."
    )
    if names:
        what += f" {listed(names)} {'send' if len(names) > 1 else 'sends'} such tags."
    commands = [ip_link("set", device.name, "mtu", needed)]
    if most.inner is not None and most.outer is not None:
        repair = (
            f"Find what sends VLAN {most.inner} inside VLAN {most.outer}; or, if it is meant to "
            f"be, raise the MTU of {device.name} to {needed:,} and let the audit know."
        )
        commands.append(remark(f"if it is meant to be: [audit] service_vlans = [{most.outer.vid}]"))
    else:
        repair = (
            f"Lower the MTU of who sends them by {needed - device.path_mtu_bytes:,}, or raise "
            f"that of {device.name} to {needed:,} (and of the switch behind it)."
        )
    return AuditFinding(
        id=f"{RULE}/{device.name}",
        rule=RULE,
        severity=Severity.WARNING,
        device=device.name,
        ifindex=device.ifindex,
        what=what,
        repair=repair,
        commands=tuple(commands),
        frames=frames,
        since_wall_ns=wall_ns(facts, first_ns),
        last_wall_ns=wall_ns(facts, max(row.last_oversized_ns for row in rows)),
        evidence=tuple(
            sorted(
                (_moment(host, device, row, number) for row, number in found[:_MOST_ROWS]),
                key=lambda moment: moment.time_ns,
            )
        ),
    )


def _moment(host: Host, device: Device, row: PairSeen, frames: int) -> Moment:
    pair = pair_text(row.outer, row.inner, row.is_rest)
    said = (
        f"the latest of {counted(frames, 'frame', 'frames')} with {pair}, oversized by "
        f"{by_how_much([row])}"
    )
    return Moment(wall_ns(host.facts, row.last_oversized_ns), device.name, said)
