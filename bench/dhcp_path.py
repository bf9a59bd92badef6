# SPDX-License-Identifier: Apache-2.0
"""What a DHCP message costs at each hook: told, and counted without being told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import measure
from bench.report import Row
from sentinel.loader import objects
from tests.harness.dhcp6 import Dhcp6Type, dhcp6
from tests.harness.dhcp_families import FAMILIES, Family
from tests.harness.packets import HOP_BY_HOP, ROUTER_ALERT, options_header
from tests.harness.programs import (
    FROM_GUEST,
    FROM_WIRE,
    OTHER_PORT,
    PORT,
    TO_GUEST,
    TO_WIRE,
    UPLINK,
    Programs,
)

LIMIT = 2.5
TOLD_AT_ONCE = 4000  # fit into the ring, which is emptied between rounds
NEIGHBOUR_MAC = "52:54:00:0b:0b:0b"
NAMES = {"v4": "DHCP", "v6": "DHCPv6"}


@dataclass(frozen=True, slots=True)
class Way:
    """One message at one hook. `asked_at` is the port whose guest asked before, if any."""

    message: str
    what: str
    program: str
    frame: bytes
    asked_at: int | None = None
    is_told: bool = False


def ways(family: Family) -> Iterator[Way]:
    """Everything that may become of a request and of its answer."""
    request, answer = f"{NAMES[family.name]} request", f"{NAMES[family.name]} answer"
    ask, reply = family.ask(), family.answer()
    yield Way(request, "from the guest, suppressed", FROM_GUEST, ask)
    yield Way(request, "from the guest, told", FROM_GUEST, ask, is_told=True)
    yield Way(request, "to a guest", TO_GUEST, ask)
    yield Way(request, "to the wire, nobody's", TO_WIRE, ask)
    yield Way(request, "to the wire, suppressed", TO_WIRE, ask, PORT)
    yield Way(request, "to the wire, told", TO_WIRE, ask, PORT, is_told=True)
    for where, program in (("to the guest", TO_GUEST), ("from the wire", FROM_WIRE)):
        yield Way(answer, f"{where}, nobody waits, suppressed", program, reply)
        yield Way(answer, f"{where}, expected, suppressed", program, reply, PORT)
        yield Way(answer, f"{where}, expected, told", program, reply, PORT, is_told=True)
    yield Way(answer, "to the guest, another port's", TO_GUEST, reply, OTHER_PORT)


def dhcp_rows(programs: Programs, empty_fd: int) -> Iterator[Row]:
    """Each against the empty program, in turn. A limit is on what a flood is made of."""
    product = objects.open_pinned(programs.guard.pins) or {}
    unbounded: dict[str, int] = {}
    try:
        for part in ("answers_tap", "answers_uplink"):
            unbounded |= objects.load_object(measure.compiled(part), programs.guard.pins)
        programs.add(OTHER_PORT)
        for family in FAMILIES:
            for way in ways(family):
                fds = unbounded if way.is_told else product
                yield _row(programs, empty_fd, fds[way.program], way)
        alert = (options_header(HOP_BY_HOP, ROUTER_ALERT),) * 3
        behind = dhcp6(Dhcp6Type.REQUEST, extensions=alert)
        hidden = Way("DHCPv6, three extensions", "from the guest, suppressed", FROM_GUEST, behind)
        yield _row(programs, empty_fd, product[FROM_GUEST], hidden)
    finally:
        objects.close_all(product)
        objects.close_all(unbounded)


def _row(programs: Programs, empty_fd: int, fd: int, way: Way) -> Row:
    place = PORT if "guest" in way.program else UPLINK
    _prepare(programs, way)
    repeats = TOLD_AT_ONCE if way.is_told else measure.REPEATS
    base = measure.program_on(empty_fd, way.frame, place, repeats=repeats)
    empty_ring = programs.message_records
    ours = measure.program_on(fd, way.frame, place, repeats=repeats, before=empty_ring)
    limit = None if way.is_told or "extensions" in way.message else LIMIT
    row = Row(way.message, way.what, measure.within_limit(base, ours, limit), limit)
    _hold(programs, way, place)
    return row


def _prepare(programs: Programs, way: Way) -> None:
    """The exchange open or not, and room in the rate or none."""
    for ifindex in (PORT, OTHER_PORT, UPLINK):
        programs.add(ifindex, role="uplink" if ifindex == UPLINK else "port", mtu_bytes=1500)
    programs.configure(messages_per_window=1 << 30 if way.is_told else 1)
    programs.forget_exchanges()
    if way.asked_at is not None:
        family = FAMILIES[0] if way.message.startswith("DHCP ") else FAMILIES[1]
        programs.run(FROM_GUEST, family.ask(), way.asked_at)


def _hold(programs: Programs, way: Way, place: int) -> None:
    """That what was measured is what it says. Raises RuntimeError."""
    counts = programs.counts(place)[way.program in (TO_GUEST, TO_WIRE)]
    told, suppressed = counts["messages_told"], counts["messages_suppressed"]
    is_right = told > 1000 and not counts["messages_lost"] if way.is_told else told < 20
    if "suppressed" in way.what:
        is_right = is_right and suppressed > 1000
    if not is_right:
        raise RuntimeError(f"{way.message}, {way.what}: {told} told, {suppressed} suppressed")
