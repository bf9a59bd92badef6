# SPDX-License-Identifier: Apache-2.0
"""What a frame costs over an empty tc program; writes docs/bench.md.

Exit status 1 if plain TCP costs more than 1.5 times the empty program, the worst of
DHCP and BPDUs more than 2.5 times, or a tagged frame more than 5 times. A DHCP message that is
told costs more, and is let: that happens at a rate.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from bench import measure
from bench.clock_path import clock_rows
from bench.dhcp_path import dhcp_rows
from bench.drops_path import drop_rows
from bench.loader_path import frame_rows, load_rows
from bench.report import TAGGED_LIMIT, TCP_LIMIT, WORST_LIMIT, Load, Row, Tables, write_report
from bench.tap_path import tap_rows
from sentinel.loader import objects
from tests.harness.bcc import bcc_problem
from tests.harness.dhcp import DhcpType, dhcp, option
from tests.harness.dhcp6 import Dhcp6Type, dhcp6
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, TPID_S, Bpdu, Tag, bpdu, ethernet
from tests.harness.packets import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    arp,
    icmpv6,
    ipv4,
    ipv6,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
)
from tests.harness.programs import FROM_GUEST, PORT, PROGRAMS, UPLINK, Programs, Setting

Line = TypeVar("Line", Row, Load)
V4, V6 = ("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")
TO = "52:54:00:aa:bb:cc"
ONE: tuple[Tag, ...] = ((TPID_C, 5, 0),)
TWO: tuple[Tag, ...] = ((TPID_C, 5, 0), (TPID_C, 6, 0))
THREE: tuple[Tag, ...] = ((TPID_S, 5, 0), (TPID_C, 6, 0), (TPID_C, 7, 0))
MTU = 1500


@dataclass(frozen=True, slots=True)
class Case:
    """A frame; `limit` is what it may cost, None for what is only shown."""

    name: str
    frame: bytes
    limit: float | None = WORST_LIMIT
    segment_bytes: int = 0
    drop: str | None = None


def cases() -> Iterator[Case]:
    """Everything that is timed."""
    yield Case("TCP", tcp_frame(GUEST_MAC, TO, *V4), TCP_LIMIT)
    yield Case("TCP, 1500 bytes", tcp_frame(GUEST_MAC, TO, *V4, payload=bytes(1460)), TCP_LIMIT)
    v6 = ipv6(*V6, PROTO_TCP, tcp(*V6, 1, 2, bytes(1000)))
    yield Case("TCP over IPv6", ethernet(TO, GUEST_MAC, v6, ETHERTYPE_IPV6), TCP_LIMIT)
    yield Case("ARP", arp(GUEST_MAC, *V4))
    quiet = ipv6(*V6, PROTO_ICMPV6, icmpv6(*V6, 135))
    yield Case("neighbour solicitation", ethernet(TO, GUEST_MAC, quiet, ETHERTYPE_IPV6))
    yield Case("UDP", udp_frame(GUEST_MAC, TO, *V4, payload=bytes(1000)))
    v6 = ipv6(*V6, PROTO_UDP, udp(*V6, 443, 50000, bytes(1000)))
    yield Case("UDP over IPv6", ethernet(TO, GUEST_MAC, v6, ETHERTYPE_IPV6))
    super_frame = tcp_frame(GUEST_MAC, TO, *V4, payload=bytes(3000))
    yield Case("TCP, super-frame", super_frame, segment_bytes=1448)
    packet = ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, bytes(1000)))
    for count, few in (("one tag", ONE), ("two tags", TWO)):
        frame = ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV4, few)
        yield Case(f"{count}, then TCP", frame, TAGGED_LIMIT)
    for name, tags in (("", ()), (", three tags", THREE)):
        limit = TAGGED_LIMIT if tags else WORST_LIMIT
        for kind in (Bpdu.RSTP, Bpdu.PVST):
            yield Case(f"BPDU {kind}{name}", bpdu(kind, tags=tags), limit)
            yield Case(f"BPDU {kind}{name}, dropped", bpdu(kind, tags=tags), limit, drop="bpdu")
        yield Case(f"DHCP{name}", dhcp(DhcpType.DISCOVER, tags=tags), limit)
        offer = dhcp(DhcpType.OFFER, tags=tags)
        yield Case(f"DHCP offer{name}, dropped", offer, limit, drop="rogue_dhcp")
        yield Case(f"DHCPv6{name}", dhcp6(Dhcp6Type.SOLICIT, tags=tags), limit)
    hidden = dhcp(DhcpType.OFFER, tags=THREE, before=option(12, b"a name") * 3)
    yield Case("DHCP, three tags, type behind three options", hidden, None)
    three = ethernet(BROADCAST, GUEST_MAC, bytes(46), 0x0806, THREE)
    yield Case("three tags", three, TAGGED_LIMIT)


def program_rows(programs: Programs, empty_fd: int) -> Iterator[Row]:
    """Every case through every program."""
    fds = objects.open_pinned(programs.guard.pins) or {}
    try:
        for case in cases():
            checks: dict[str, Setting] = {case.drop: "drop"} if case.drop else {}
            programs.configure(checks, host_bpdu="drop" if case.drop else "count")
            programs.forget_exchanges()
            for name in PROGRAMS:
                ifindex = PORT if "guest" in name else UPLINK
                if case.drop and name != FROM_GUEST:
                    continue
                base = measure.program_on(empty_fd, case.frame, ifindex, case.segment_bytes)
                ours = measure.program_on(fds[name], case.frame, ifindex, case.segment_bytes)
                yield Row(case.name, name, measure.within_limit(base, ours, case.limit), case.limit)
    finally:
        objects.close_all(fds)


def step_rows(programs: Programs, empty_fd: int) -> Iterator[Row]:
    """The way of a frame from a guest, step by step, each with all before it."""
    fds = objects.load_object(measure.compiled("steps"), programs.guard.pins)
    fds |= objects.open_pinned(programs.guard.pins) or {}
    programs.configure()
    steps = {
        "its slot found": "step_slot",
        "counted": "step_counted",
        "read": "step_read",
        "judged and told": FROM_GUEST,
    }
    wanted = {"TCP", "BPDU rstp, three tags", "DHCP, three tags"}
    try:
        for case in cases():
            if case.name not in wanted:
                continue
            for step, name in steps.items():
                found = measure.alternate(
                    measure.program_on(empty_fd, case.frame, PORT, 0),
                    measure.program_on(fds[name], case.frame, PORT, 0),
                )
                yield Row(case.name, step, found, None)
    finally:
        objects.close_all(fds)


def shown(rows: Iterator[Line]) -> list[Line]:
    """Prints each as it comes."""
    kept = []
    for row in rows:
        print(row.line(), flush=True)
        kept.append(row)
    return kept


def main() -> int:
    if os.geteuid() != 0:
        print("loading programs needs root", file=sys.stderr)
        return 2
    empty, empty_fd = measure.load_plain(measure.compiled("empty"))
    with Programs() as programs, programs.enter():
        programs.add(PORT, mtu_bytes=MTU)
        programs.add(UPLINK, role="uplink", mtu_bytes=MTU)
        print(f"{'frame':44} {'program':18} {'empty':>8} {'ours':>8}  ratio (middle half)")
        by_program = shown(program_rows(programs, empty_fd))
        by_step = shown(step_rows(programs, empty_fd))
        by_clock = shown(clock_rows(programs, empty_fd))
        by_message = shown(dhcp_rows(programs, empty_fd))
    by_tap = shown(tap_rows(empty_fd))
    by_drop = shown(drop_rows())
    loads, by_loader = [], []
    if problem := bcc_problem():
        print(f"no BCC beside libbpf: {problem}", file=sys.stderr)
    else:
        loads, by_loader = shown(load_rows()), shown(frame_rows())
    del empty
    limited = [row for row in (*by_program, *by_message) if row.limit is not None]
    over = [row for row in limited if row.found.ratio > (row.limit or 0)]
    tables = by_program, by_step, by_clock, by_message, by_tap, by_drop, loads, by_loader
    write_report(Tables(*tables))
    for row in over:
        print(f"too dear: {row.line()}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
