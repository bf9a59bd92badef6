# SPDX-License-Identifier: Apache-2.0
"""Frames of watched ports that the kernel threw away, and that no other finding tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sentinel.audit.finding import AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.loss_words import CAPTURES, NOISE, is_our_cut, loss_repair, loss_text
from sentinel.audit.words import counted, listed, since, wall_ns
from sentinel.event import Moment
from sentinel.traffic import LossSeen
from sentinel.vm import UNKNOWN_VM

RULE: Final = "losses"
LEAST_FRAMES: Final = 10
"""In a minute; fewer than these are nothing to be woken for."""
OWN_SHARE: Final = 0.1
"""Of what was lost at a device, or of what it sent: less than this, beside what another one
is told for, is that one's doing."""
_MOST_ROWS: Final = 6


def losses(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One finding for each device that frames were lost at; comes after the rules that explain.

    What one port sent and several lost is one finding too, at the port that sent it:
    a guest that floods its neighbours is one cause, however many they are.
    """
    found = [
        loss
        for loss in host.recent_losses()
        if not _is_noise(host, loss) and id(loss) not in explained.losses
    ]
    for ifindex, rows in _by_culprit(host, found):
        if sum(row.frames - row.frames_before for row in rows) >= LEAST_FRAMES:
            rows.sort(key=lambda row: (-row.frames, row.reason, row.symbol, row.from_ifindex))
            yield _finding(host, ifindex, rows)


def _by_culprit(host: Host, found: list[LossSeen]) -> Iterator[tuple[int, list[LossSeen]]]:
    """Rows by the device that most of them have in common: a sender, or where they were lost."""
    at_device: dict[int, list[LossSeen]] = {}
    from_port: dict[int, list[LossSeen]] = {}
    for loss in found:
        at = loss.at_ifindex if loss.at_ifindex in host.links else loss.from_ifindex
        at_device.setdefault(at, []).append(loss)
        sender = host.facts.devices.get(loss.from_ifindex)
        if sender is not None and sender.role == "port":
            from_port.setdefault(loss.from_ifindex, []).append(loss)
    groups = [(_frames(rows), 1, ifindex, rows) for ifindex, rows in at_device.items()]
    groups += [(_frames(rows), 0, ifindex, rows) for ifindex, rows in from_port.items()]
    groups.sort(key=lambda group: (-group[0], -group[1], group[2]))
    told: set[int] = set()
    culprits: dict[int, list[LossSeen]] = {}
    for frames, _, ifindex, rows in groups:
        mine = [row for row in rows if id(row) not in told]
        told.update(id(row) for row in mine)
        # A queue that one port filled has no room for others' frames: that is told with it.
        if mine and _frames(mine) >= frames * OWN_SHARE:
            culprits.setdefault(ifindex, []).extend(mine)
    yield from culprits.items()


def _frames(rows: list[LossSeen]) -> int:
    return sum(row.frames for row in rows)


def _is_noise(host: Host, loss: LossSeen) -> bool:
    at = host.links.get(loss.at_ifindex)
    # A switch floods to members that are down, too.
    is_down = at is not None and not (at.up and at.carrier)
    return is_down or loss.reason in NOISE or loss.symbol in CAPTURES or is_our_cut(loss)


def _finding(host: Host, ifindex: int, rows: list[LossSeen]) -> AuditFinding:
    facts, most = host.facts, rows[0]
    link = host.links.get(ifindex)
    name = link.name if link is not None else f"ifindex {ifindex}"
    device = facts.devices.get(ifindex)
    frames = _frames(rows)
    first_ns = min(row.first_seen_ns for row in rows)
    senders = sorted({host.name(row.from_ifindex) for row in rows if row.from_ifindex != ifindex})
    places = sorted({host.name(row.at_ifindex) for row in rows if row.at_ifindex != ifindex})
    lost = counted(frames, "frame was", "frames were")
    why = loss_text(host, most)
    if len({(row.reason, row.symbol) for row in rows}) > 1:
        why += f" ({most.frames:,} of them)"
    if places:
        what = f"{since(facts, first_ns)}, {lost} lost that {name} sent to {listed(places)}: {why}."
    else:
        what = f"{since(facts, first_ns)}, {lost} lost at {name}: {why}."
    if most.from_ifindex and senders and not places:
        what += f" They came in by {listed(senders)}."
    return AuditFinding(
        id=f"{RULE}/{name}",
        rule=RULE,
        severity=Severity.WARNING,
        device=name,
        ifindex=ifindex,
        what=what,
        repair=loss_repair(host, most),
        vm=UNKNOWN_VM if device is None else device.vm,
        frames=frames,
        since_wall_ns=wall_ns(facts, first_ns),
        last_wall_ns=wall_ns(facts, max(row.last_seen_ns for row in rows)),
        evidence=tuple(
            sorted(
                (_moment(host, row) for row in rows[:_MOST_ROWS]),
                key=lambda moment: moment.time_ns,
            )
        ),
    )


def _moment(host: Host, row: LossSeen) -> Moment:
    came = f" from {host.name(row.from_ifindex)}" if row.from_ifindex else " of the host's own"
    said = (
        f"the latest of {counted(row.frames, 'frame', 'frames')}{came}: "
        f"{row.reason or 'no reason'} in {row.symbol or 'an unknown function'}, "
        f"up to {row.largest_bytes:,} bytes"
    )
    place = host.name(row.at_ifindex or row.from_ifindex)
    return Moment(wall_ns(host.facts, row.last_seen_ns), place, said)
