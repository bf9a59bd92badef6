# SPDX-License-Identifier: Apache-2.0
"""Oversized: against the path's MTU, with one tag free, and by segment for super-frames."""

from __future__ import annotations

import struct

import pytest

from tests.harness.frames import GUEST_MAC, TPID_C, TPID_S, Tag, ethernet, llc
from tests.harness.packets import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTO_TCP,
    PROTO_UDP,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tests.harness.programs import FROM_GUEST, FrameRefusedError, Programs

TO = "52:54:00:aa:bb:cc"
V4 = ("192.0.2.9", "192.0.2.1")
V6 = ("2001:db8::9", "2001:db8::1")
MTU = 1500
STACKS: dict[int, tuple[Tag, ...]] = {
    0: (),
    1: ((TPID_C, 20, 0),),
    2: ((TPID_S, 20, 0), (TPID_C, 100, 0)),
    3: ((TPID_S, 20, 0), (TPID_C, 100, 0), (TPID_C, 101, 0)),
}


def of_type(kind: str, packet_bytes: int, tags: tuple[Tag, ...]) -> bytes:
    """A frame whose packet, behind all tags, has exactly so many bytes."""
    if kind == "tcp":
        packet, ethertype = ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, bytes(packet_bytes - 40))), 0x800
    elif kind == "udp":
        packet, ethertype = ipv4(*V4, PROTO_UDP, udp(*V4, 1, 2, bytes(packet_bytes - 28))), 0x800
    elif kind == "ipv6":
        packet = ipv6(*V6, PROTO_TCP, tcp(*V6, 1, 2, bytes(packet_bytes - 60)))
        ethertype = ETHERTYPE_IPV6
    elif kind == "llc":
        packet, ethertype = llc(bytes(packet_bytes - 3), 0xF0, 0xF0), min(packet_bytes, MTU)
    else:
        packet, ethertype = bytes(packet_bytes), ETHERTYPE_ARP
    return ethernet(TO, GUEST_MAC, packet, ethertype, tags)


def oversized(programs: Programs, frame: bytes, mtu_bytes: int) -> tuple[bool, bool]:
    """(oversized, by tags) as counted; that the check drops just the same is asserted."""
    programs.configure(size="drop")
    programs.add(mtu_bytes=mtu_bytes)
    dropped = programs.check(FROM_GUEST, frame)
    counts = programs.counts()[0]
    assert dropped == bool(counts["oversized"])
    return bool(counts["oversized"]), bool(counts["oversized_by_tags"])


@pytest.mark.parametrize("kind", ["tcp", "udp", "ipv6", "arp", "llc"])
@pytest.mark.parametrize("depth", STACKS)
def test_the_edge(programs: Programs, kind: str, depth: int) -> None:
    """One tag is free; each further one takes four bytes of the path."""
    behind_first = 4 * max(depth - 1, 0)
    for packet_bytes in range(MTU - 14, MTU + 6):
        frame = of_type(kind, packet_bytes, STACKS[depth])
        too_large = packet_bytes + behind_first > MTU
        by_tags = too_large and packet_bytes <= MTU
        found = oversized(programs, frame, MTU)
        assert found == (too_large, by_tags), (depth, packet_bytes)


def test_story_1(programs: Programs) -> None:
    """A full packet of a tenant's VLAN on the data centre's own: four bytes too many."""
    frame = of_type("tcp", 1500, STACKS[2])
    assert len(frame) - 14 - 4 == 1504
    assert oversized(programs, frame, 1500) == (True, True)
    assert oversized(programs, frame, 1504) == (False, False)


@pytest.mark.parametrize("mtu_bytes", [68, 576, 1280, 1499, 3000])
def test_any_mtu(programs: Programs, mtu_bytes: int) -> None:
    fits = of_type("tcp", max(mtu_bytes, 46), STACKS[1])
    assert oversized(programs, fits, mtu_bytes) == (False, False)
    assert oversized(programs, of_type("tcp", mtu_bytes + 1, STACKS[1]), mtu_bytes)[0]


def test_no_mtu_no_judgement(programs: Programs) -> None:
    assert oversized(programs, of_type("tcp", 3000, STACKS[2]), 0) == (False, False)


def test_bytes_hold_header_and_tags(programs: Programs) -> None:
    programs.add()
    frame = of_type("arp", 100, STACKS[3])
    programs.check(FROM_GUEST, frame)
    assert programs.counts()[0]["bytes"] == 14 + 12 + 100


def tcp_with_options(words: int, payload: bytes) -> bytes:
    segment = tcp(*V4, 1, 2, bytes(4 * words) + payload)
    return segment[:12] + bytes([(5 + words) << 4]) + segment[13:]


VXLAN_HEADER = bytes.fromhex("0800000000002a00")


def geneve_header(option_words: int) -> bytes:
    return bytes([option_words, 0]) + b"\x65\x58" + bytes(4) + bytes(4 * option_words)


def inner_frame(payload: bytes) -> bytes:
    packet = ipv4("10.0.0.1", "10.0.0.2", PROTO_TCP, tcp("10.0.0.1", "10.0.0.2", 1, 2, payload))
    return ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV4)


def tunnelled(port: int, header: bytes, payload: bytes) -> bytes:
    datagram = struct.pack("!HHHH", 50000, port, 0, 0) + header + inner_frame(payload)
    return ipv4(*V4, PROTO_UDP, datagram)


PAYLOAD = bytes(3000)
# Packet, type, bytes of headers that every segment repeats.
SUPER_FRAMES = {
    "TCP over IPv4": (ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, PAYLOAD)), ETHERTYPE_IPV4, 40),
    "TCP over IPv6": (ipv6(*V6, PROTO_TCP, tcp(*V6, 1, 2, PAYLOAD)), ETHERTYPE_IPV6, 60),
    "TCP options": (ipv4(*V4, PROTO_TCP, tcp_with_options(3, PAYLOAD)), ETHERTYPE_IPV4, 52),
    "IP options": (
        ipv4(*V4, PROTO_TCP, tcp(*V4, 1, 2, PAYLOAD), options=bytes(8)), ETHERTYPE_IPV4, 48),
    "UDP": (ipv4(*V4, PROTO_UDP, udp(*V4, 1, 2, PAYLOAD)), ETHERTYPE_IPV4, 28),
    "UDP over IPv6": (ipv6(*V6, PROTO_UDP, udp(*V6, 1, 2, PAYLOAD)), ETHERTYPE_IPV6, 48),
    "VXLAN": (tunnelled(4789, VXLAN_HEADER, PAYLOAD), ETHERTYPE_IPV4, 28 + 8 + 14 + 40),
    "Geneve": (tunnelled(6081, geneve_header(0), PAYLOAD), ETHERTYPE_IPV4, 28 + 8 + 14 + 40),
    "Geneve options": (
        tunnelled(6081, geneve_header(63), PAYLOAD), ETHERTYPE_IPV4, 28 + 8 + 252 + 14 + 40),
}  # fmt: skip


@pytest.mark.parametrize("name", SUPER_FRAMES)
@pytest.mark.parametrize("depth", STACKS)
def test_the_edge_of_a_segment(programs: Programs, name: str, depth: int) -> None:
    """A super-frame is as large as its largest segment: its headers and gso_size."""
    packet, ethertype, headers = SUPER_FRAMES[name]
    frame = ethernet(TO, GUEST_MAC, packet, ethertype, STACKS[depth])
    behind_first = 4 * max(depth - 1, 0)
    programs.configure(size="drop")
    for segment_bytes in range(MTU - headers - 10, MTU - headers + 3):
        programs.add(mtu_bytes=MTU)
        try:
            dropped = programs.check(FROM_GUEST, frame, segment_bytes=segment_bytes)
        except FrameRefusedError:
            pytest.skip("this kernel's test run refuses such a super-frame")
        too_large = headers + segment_bytes + behind_first > MTU
        counts = programs.counts()[0]
        assert (dropped, bool(counts["oversized"])) == (too_large, too_large), segment_bytes
        by_tags = too_large and headers + segment_bytes <= MTU
        assert bool(counts["oversized_by_tags"]) == by_tags, segment_bytes
        assert counts["bytes"] == len(frame)


def test_the_same_bytes_without_segmentation(programs: Programs) -> None:
    packet, ethertype, _ = SUPER_FRAMES["TCP over IPv4"]
    assert oversized(programs, ethernet(TO, GUEST_MAC, packet, ethertype), MTU)[0]


@pytest.mark.parametrize(
    "packet",
    [ipv4(*V4, 132, PAYLOAD), bytes(3000), ipv4(*V4, PROTO_TCP, PAYLOAD)[:30] + bytes(3000)],
    ids=["SCTP", "zeros", "nonsense"],
)
def test_a_doubt_is_no_alarm(programs: Programs, packet: bytes) -> None:
    """Headers of an unknown kind count as nothing: segments of 1460 may always fit."""
    programs.configure(size="drop")
    programs.add(mtu_bytes=MTU)
    frame = ethernet(TO, GUEST_MAC, packet, ETHERTYPE_IPV4)
    try:
        assert not programs.check(FROM_GUEST, frame, segment_bytes=1400)
    except FrameRefusedError:
        pytest.skip("this kernel's test run refuses such a super-frame")
