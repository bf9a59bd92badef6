# SPDX-License-Identifier: Apache-2.0
"""What guests send that their path does not carry: frames too large, tags in tags.

The checks `size` and `vlan` have incidents of their own; here it is said together
with the loss that followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sentinel import abi
from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.loss_words import is_too_large, loss_text
from sentinel.audit.words import (
    by_how_much,
    counted,
    frames_were,
    pair_text,
    remark,
    since,
    wall_ns,
)
from sentinel.detect.finding import whose
from sentinel.event import Moment
from sentinel.inventory import Device
from sentinel.traffic import LossSeen, PairSeen

OVERSIZED: Final = "guest-oversized"
NESTED: Final = "guest-nested"
_MOST_ROWS: Final = 4


def guests(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """Two findings at most for each port: too large, and nested."""
    for ifindex, rows in host.from_guests.items():
        device = host.facts.devices[ifindex]
        _explain(host, explained, device, rows)
        too_large = [row for row in rows if _is_too_large(host, row)]
        if too_large and "size" not in device.trusted_checks:
            yield _oversized(host, explained, device, too_large)
        nested = [row for row in rows if _is_nested(host, row)]
        if nested and "vlan" not in device.trusted_checks:
            yield _nested(host, device, nested)


def _explain(host: Host, explained: Explained, device: Device, rows: list[PairSeen]) -> None:
    """What leaves the host because a guest sends it is said at the guest, or trusted."""
    for row in rows:
        if not row.oversized and row.outer is None:
            continue
        for key in host.keys_at_wire(device.ifindex, row):
            if _is_too_large(host, row):
                explained.pairs.add(key)
            elif row.inner is not None or "vlan" in device.trusted_checks:
                explained.by_tags.add(key)


def by_size(row: PairSeen) -> int:
    """How many frames of a guest were too large by more than their second tag."""
    # A second tag is told of as such: up to 4 bytes are its own.
    return row.oversized - (row.excess[abi.TAP_EXCESS_TAG] if row.inner is not None else 0)


def _is_too_large(host: Host, row: PairSeen) -> bool:
    return by_size(row) > 0 and host.is_recent(row.last_oversized_ns)


def _is_nested(host: Host, row: PairSeen) -> bool:
    return (
        row.inner is not None
        and row.outer is not None
        and not host.is_service(row.outer)
        and host.is_recent(row.last_seen_ns)
    )


def _name(device: Device) -> str:
    return f"{device.name} ({whose(device.vm)})" if device.vm.is_known else device.name


def _oversized(
    host: Host, explained: Explained, device: Device, rows: list[PairSeen]
) -> AuditFinding:
    facts = host.facts
    frames = sum(by_size(row) for row in rows)
    largest = device.path_mtu_bytes + max(row.largest_excess_bytes for row in rows)
    losses = [loss for loss in host.losses_from(device.ifindex) if is_too_large(host, loss)]
    explained.losses.update(id(loss) for loss in losses)
    first_ns = min(row.first_seen_ns for row in rows)
    path = facts.paths.get(device.ifindex)
    at = "" if path is None else f" ({path.narrowest.name})"
    what = (
        f"{_name(device)} sends packets of up to {largest:,} bytes where its path carries "
        f"{device.path_mtu_bytes:,}{at}. {since(facts, first_ns)}, {frames_were(frames)} "
        f"oversized by {by_how_much(rows)}."
    )
    if losses:
        worst = max(losses, key=lambda loss: loss.frames)
        what += f" {_began(loss_text(host, worst))}: {_dropped(losses)}."
    return AuditFinding(
        id=f"{OVERSIZED}/{device.name}",
        rule=OVERSIZED,
        severity=Severity.CRITICAL if losses else Severity.WARNING,
        device=device.name,
        ifindex=device.ifindex,
        what=what,
        repair=f"Set the MTU inside the guest to {device.path_mtu_bytes:,} at most (and what its "
        f"DHCP server hands out), or raise every MTU on its path to {largest:,}.",
        commands=(
            remark(f"in the guest: ip link set dev INTERFACE mtu {device.path_mtu_bytes}"),
            remark(f"its path: tapsentinel show {device.name}"),
        ),
        vm=device.vm,
        frames=frames,
        since_wall_ns=wall_ns(facts, first_ns),
        last_wall_ns=wall_ns(facts, max(row.last_oversized_ns for row in rows)),
        evidence=tuple(
            sorted(
                [*_sightings(host, device, rows), *_lost(host, losses)],
                key=lambda moment: moment.time_ns,
            )
        ),
        opens_incident=False,
    )


def _nested(host: Host, device: Device, rows: list[PairSeen]) -> AuditFinding:
    facts = host.facts
    frames = sum(row.frames for row in rows)
    first_ns = min(row.first_seen_ns for row in rows)
    most = max(rows, key=lambda row: row.frames)
    return AuditFinding(
        id=f"{NESTED}/{device.name}",
        rule=NESTED,
        severity=Severity.WARNING,
        device=device.name,
        ifindex=device.ifindex,
        what=f"{_name(device)} sends frames with a tag inside a tag "
        f"({pair_text(most.outer, most.inner)}). {since(facts, first_ns)}, "
        f"{counted(frames, 'frame', 'frames')} had both.",
        repair="Take the VLAN off the other one inside the guest; or, if it is meant to be, "
        "let the check `vlan` trust the port.",
        commands=(
            remark("if it is meant to be, in [ports] of the configuration:"),
            remark(f'trusted = [{{ name = "{device.name}", checks = ["vlan"] }}]'),
        ),
        vm=device.vm,
        frames=frames,
        since_wall_ns=wall_ns(facts, first_ns),
        last_wall_ns=wall_ns(facts, max(row.last_seen_ns for row in rows)),
        evidence=tuple(_sightings(host, device, rows)),
        opens_incident=False,
    )


def _sightings(host: Host, device: Device, rows: list[PairSeen]) -> Iterator[Moment]:
    worst = sorted(rows, key=lambda row: (-row.oversized, -row.frames))[:_MOST_ROWS]
    for row in sorted(worst, key=lambda row: row.last_seen_ns):
        pair = pair_text(row.outer, row.inner, row.is_rest)
        said = f"the latest of {counted(row.frames, 'frame', 'frames')} with {pair}"
        if row.oversized:
            said += f"; {row.oversized:,} oversized by {by_how_much([row])}"
        yield Moment(wall_ns(host.facts, row.last_seen_ns), device.name, said)


def _lost(host: Host, losses: list[LossSeen]) -> Iterator[Moment]:
    for loss in sorted(losses, key=lambda loss: -loss.frames)[:_MOST_ROWS]:
        said = f"{loss_text(host, loss)}: {_dropped([loss])}, in {loss.symbol or 'the kernel'}"
        place = host.name(loss.at_ifindex or loss.from_ifindex)
        yield Moment(wall_ns(host.facts, loss.last_seen_ns), place, said)


def _dropped(losses: list[LossSeen]) -> str:
    return f"{counted(sum(loss.frames for loss in losses), 'frame', 'frames')} dropped"


def _began(text: str) -> str:
    """The same as a sentence of its own; a device's name keeps its letters."""
    return "B" + text[1:] if text.startswith("bridge ") else text
