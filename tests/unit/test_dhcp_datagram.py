# SPDX-License-Identifier: Apache-2.0
"""Which frame holds a DHCP datagram, and what of it is there."""

from __future__ import annotations

import random
import shutil
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentinel.dhcp.datagram import Datagram, find_datagram
from tests.harness.captures import dissect, read_frames
from tests.harness.dhcp import dhcp, dhcp_message
from tests.harness.dhcp_seeds import message6
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Tag,
    ethernet,
    llc,
    snap,
    vlan_tags,
)
from tests.harness.model_frame import read_frame
from tests.harness.packets import ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTO_UDP, ipv4, ipv6, udp

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
V4 = ("192.0.2.1", "255.255.255.255")
V6 = ("fe80::1", "ff02::1:2")
OFFER = dhcp_message(2)
OFFER_PACKET = ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, OFFER))
SOLICIT = message6(1, b"")
SOLICIT_DATAGRAM = udp(*V6, 546, 547, SOLICIT)
SOLICIT_PACKET = ipv6(*V6, PROTO_UDP, SOLICIT_DATAGRAM)
FIVE: list[Tag] = [(TPID_S, 1, 0), (TPID_C, 2, 0), (TPID_OLD, 3, 0), (TPID_C, 4, 0), (TPID_C, 5, 0)]


def framed(packet: bytes, *tags: Tag, ethertype: int = ETHERTYPE_IPV4) -> bytes:
    return ethernet(BROADCAST, GUEST_MAC, packet, ethertype, tags)


def framed6(packet: bytes) -> bytes:
    return ethernet("33:33:00:01:00:02", GUEST_MAC, packet, ETHERTYPE_IPV6, pad=False)


def extended(*headers: tuple[int, bytes], last: bytes = SOLICIT_DATAGRAM) -> bytes:
    """An IPv6 packet with these extension headers; a header begins with the next one's kind."""
    body = last
    following = PROTO_UDP
    for kind, content in reversed(headers):
        body = bytes((following,)) + content + body
        following = kind
    return framed6(ipv6(*V6, following, body))


EMPTY = b"\0" + bytes(6)  # a header of 8 bytes
FRAGMENT = b"\0\0\1" + bytes(4)  # the first of several
LATER_FRAGMENT = b"\0\0\x09" + bytes(4)


def found(frame: bytes) -> Datagram:
    datagram = find_datagram(frame)
    assert datagram is not None
    return datagram


def test_all_of_a_datagram() -> None:
    assert found(framed(OFFER_PACKET, (TPID_C, 7, 5))) == Datagram(
        4, GUEST_MAC, BROADCAST, (7,), "192.0.2.1", "255.255.255.255", 67, 68, OFFER, len(OFFER)
    )
    assert found(framed6(SOLICIT_PACKET)) == Datagram(
        6, GUEST_MAC, "33:33:00:01:00:02", (), "fe80::1", "ff02::1:2", 546, 547, SOLICIT, 4
    )


@pytest.mark.parametrize("count", range(5))
def test_tags(count: int) -> None:
    datagram = found(framed(OFFER_PACKET, *FIVE[:count]))
    assert datagram.vids == (1, 2, 3, 4)[:count]
    assert datagram.payload == OFFER


def test_behind_snap_with_either_organisation() -> None:
    for oui in (bytes(3), bytes.fromhex("0000f8")):
        inside = snap(oui, ETHERTYPE_IPV4, OFFER_PACKET)
        assert found(ethernet(BROADCAST, GUEST_MAC, inside)).payload == OFFER
        tagged = ethernet(BROADCAST, GUEST_MAC, inside, tags=FIVE[:2])
        assert found(tagged).vids == (1, 2)
        polled = llc(inside[3:], 0xAA, 0xAA, 0x13)
        assert found(ethernet(BROADCAST, GUEST_MAC, polled, 0x8870)).payload == OFFER


@pytest.mark.parametrize("size", [0, 4, 40])
def test_ip_options(size: int) -> None:
    packet = ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, OFFER), options=bytes(size))
    assert found(framed(packet)).payload == OFFER


def test_padding_of_the_frame_is_no_payload() -> None:
    frame = framed(ipv4(*V4, PROTO_UDP, udp(*V4, 68, 67, b"x")))
    assert len(frame) == 60
    datagram = found(frame)
    assert (datagram.payload, datagram.is_cut) == (b"x", False)


@pytest.mark.parametrize(
    ("headers", "count"),
    [(((0, EMPTY),), 1), (((43, EMPTY), (60, EMPTY)), 2), (((44, FRAGMENT),), 1),
     (((51, b"\4" + bytes(22)),), 1), (((60, b"\2" + bytes(22)), (44, FRAGMENT)), 2),
     (((60, EMPTY),) * 6, 6)],
)  # fmt: skip
def test_extension_headers(headers: tuple[tuple[int, bytes], ...], count: int) -> None:
    assert len(headers) == count
    assert found(extended(*headers)).payload == SOLICIT


# With a header of 16 bytes the destination would be read as two ports.
BAD_IHL = b"\x44" + ipv4("192.0.2.1", "0.67.0.68", PROTO_UDP, struct.pack("!HH", 40, 0) * 9)[1:]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(framed(OFFER_PACKET)[:13], id="no Ethernet header"),
        pytest.param(framed(OFFER_PACKET, *FIVE), id="five tags"),
        pytest.param(framed(b"")[:12] + vlan_tags(FIVE[:1])[:3], id="tag cut off"),
        pytest.param(framed(OFFER_PACKET)[:33], id="IPv4 header cut off"),
        pytest.param(framed(OFFER_PACKET)[:42], id="UDP header and no more"),
        pytest.param(framed(BAD_IHL), id="header of 16 bytes"),
        pytest.param(framed(b"\x65" + OFFER_PACKET[1:]), id="IPv4 with version 6"),
        pytest.param(framed(OFFER_PACKET, ethertype=ETHERTYPE_IPV6), id="IPv4 named IPv6"),
        pytest.param(framed(ipv4(*V4, 6, udp(*V4, 67, 68, OFFER))), id="TCP"),
        pytest.param(framed(ipv4(*V4, PROTO_UDP, udp(*V4, 546, 547, OFFER))), id="ports of 6"),
        pytest.param(framed6(ipv6(*V6, PROTO_UDP, udp(*V6, 67, 68, OFFER))), id="ports of 4"),
        pytest.param(framed(ipv4(*V4, PROTO_UDP, udp(*V4, 4011, 4011, OFFER))), id="PXE"),
        pytest.param(framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, b""))), id="empty"),
        pytest.param(
            framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, OFFER), fragment_offset=1)), id="fragment"
        ),
        pytest.param(
            framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, OFFER), fragment_offset=0x1000)),
            id="last fragment",
        ),
        pytest.param(framed6(SOLICIT_PACKET)[:53], id="IPv6 header cut off"),
        pytest.param(extended(*((60, EMPTY),) * 7), id="seven extension headers"),
        pytest.param(extended((44, LATER_FRAGMENT)), id="later IPv6 fragment"),
        pytest.param(extended((60, b"\xff" + bytes(6))), id="extension header of 2048 bytes"),
        pytest.param(extended((135, EMPTY)), id="mobility header"),
        pytest.param(
            ethernet(BROADCAST, GUEST_MAC, snap(b"\0\0\x0c", 0x800, OFFER_PACKET)), id="other OUI"
        ),
        pytest.param(
            ethernet(BROADCAST, GUEST_MAC, snap(bytes(3), 0x8100, b"\0\0\x08\0" + OFFER_PACKET)),
            id="tag behind SNAP",
        ),
    ],
)  # fmt: skip
def test_no_datagram(frame: bytes) -> None:
    assert find_datagram(frame) is None


def with_lengths(packet_bytes: int, datagram_bytes: int) -> bytes:
    packet = bytearray(OFFER_PACKET)
    struct.pack_into("!H", packet, 2, packet_bytes)
    struct.pack_into("!H", packet, 24, datagram_bytes)
    return framed(bytes(packet))


WHOLE = len(OFFER)


@pytest.mark.parametrize(
    ("packet_bytes", "datagram_bytes", "payload_bytes", "is_cut"),
    [
        pytest.param(28 + WHOLE, 8 + WHOLE, WHOLE, False, id="true"),
        pytest.param(0, 8 + WHOLE, WHOLE, False, id="total length 0"),
        pytest.param(28 + 9, 8 + WHOLE, 9, True, id="packet is shorter"),
        pytest.param(28 + WHOLE, 8 + 9, 9, False, id="datagram is shorter"),
        pytest.param(28 + WHOLE, 0xFFFF, WHOLE, True, id="datagram is longer"),
        pytest.param(0xFFFF, 0xFFFF, WHOLE, True, id="both are longer"),
    ],
)
def test_lengths_that_lie(
    packet_bytes: int, datagram_bytes: int, payload_bytes: int, is_cut: bool
) -> None:
    datagram = found(with_lengths(packet_bytes, datagram_bytes))
    assert (len(datagram.payload), datagram.is_cut) == (payload_bytes, is_cut)


@pytest.mark.parametrize(
    ("packet_bytes", "datagram_bytes"), [(28, 300), (27, 300), (300, 8), (300, 0)]
)
def test_lengths_that_leave_nothing(packet_bytes: int, datagram_bytes: int) -> None:
    assert find_datagram(with_lengths(packet_bytes, datagram_bytes)) is None


def test_a_first_fragment_is_cut() -> None:
    datagram = udp(*V4, 68, 67, OFFER)[:200]
    packet = ipv4(*V4, PROTO_UDP, datagram, more_fragments=True)
    assert found(framed(packet)).is_cut
    assert len(found(framed(packet)).payload) == 192


def test_a_frame_of_which_only_the_head_is_there() -> None:
    frame = framed(OFFER_PACKET)
    assert found(frame[:200]).is_cut
    assert found(frame[:200]).payload == OFFER[: 200 - 42]


JUMBO = SOLICIT_DATAGRAM[:4] + b"\0\0" + SOLICIT_DATAGRAM[6:]


def test_lengths_of_a_jumbogram() -> None:
    """A UDP length of 0 over IPv6 is the packet's rest, over IPv4 it is nothing."""
    datagram = found(framed6(ipv6(*V6, PROTO_UDP, JUMBO)))
    assert (datagram.payload, datagram.is_cut) == (SOLICIT, False)
    assert find_datagram(with_lengths(28 + WHOLE, 0)) is None
    for headers, is_found in (((0, EMPTY),), True), (((60, EMPTY),), False), ((), False):
        frame = bytearray(extended(*headers, last=JUMBO))
        frame[18:20] = b"\0\0"
        assert (find_datagram(bytes(frame)) is not None) == is_found


def test_headers_are_followed_as_far_as_the_kernel_does() -> None:
    """1536 bytes, and a tag that the kernel takes out does not count."""
    for size, is_found in ((440, True), (448, False)):  # UDP's header ends at 1534, at 1542
        first = (60, bytes((size // 8 - 1,)) + bytes(size - 2))
        second = (60, b"\x7f" + bytes(1022))
        frame = extended(first, second, (60, EMPTY))
        assert (find_datagram(frame) is not None) == is_found
        tagged = frame[:12] + vlan_tags(FIVE[:1]) + frame[12:]
        assert (find_datagram(tagged) is not None) == is_found
        odd = frame[:12] + vlan_tags([(TPID_OLD, 1, 0)]) + frame[12:]
        assert find_datagram(odd) is None


FRAMES = [
    framed6(ipv6(*V6, PROTO_UDP, JUMBO)),
    dhcp(1), dhcp(5, tags=FIVE[:2]), dhcp(3, ip_options=bytes(8)), dhcp(2, where="file"),
    framed(OFFER_PACKET), ethernet(BROADCAST, GUEST_MAC, snap(bytes(3), 0x800, OFFER_PACKET)),
    extended((0, EMPTY), (60, EMPTY)), extended((44, FRAGMENT)), framed6(SOLICIT_PACKET),
]  # fmt: skip


def test_finds_what_the_kernel_counts() -> None:
    """The model of the kernel's rules and this reader agree on frames with any header."""
    rng = random.Random(67)
    agreed: Counter[int | None] = Counter()
    for _ in range(100_000):
        frame = bytearray(rng.choice(FRAMES))
        for _ in range(rng.randrange(4)):
            frame[rng.randrange(min(len(frame), 80))] = rng.choice(
                (0, 1, 6, 8, 17, 44, 60, 68, 255)
            )
        del frame[rng.choice((len(frame), rng.randrange(14, len(frame) + 1))) :]
        datagram = find_datagram(bytes(frame))
        message = read_frame(bytes(frame), untagged=True).message
        counted = message and (4 if message.counter.startswith("dhcp.") else 6)
        assert counted == (datagram and datagram.family), bytes(frame).hex()
        agreed[counted] += 1
    assert min(agreed[4], agreed[6], agreed[None]) > 10_000


@given(st.binary(max_size=300))
@example(bytes(12) + b"\x86\xdd\x60" + bytes(39))
def test_any_bytes(frame: bytes) -> None:
    datagram = find_datagram(frame)
    assert datagram is None or datagram.payload in frame


@given(st.sampled_from(FRAMES), st.data())
def test_any_bytes_behind_a_header(frame: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(12, 60))
    changed = frame[:at] + data.draw(st.binary(max_size=60))
    datagram = find_datagram(changed)
    assert datagram is None or datagram.payload in changed


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["dhcp-rfc3004", "dhcp-option-33", "bootp_asan", "DTP"])
def test_captures(name: str) -> None:
    path = CAPTURES / f"{name}.pcap"
    for frame, theirs in zip(read_frames(path), dissect(path), strict=True):
        assert (find_datagram(frame) is not None) == (theirs.dhcp is not None)


def test_a_payload_of_any_size() -> None:
    huge = framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, bytes(60_000))))
    assert found(huge).payload == bytes(60_000)
