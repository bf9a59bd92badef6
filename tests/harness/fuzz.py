# SPDX-License-Identifier: Apache-2.0
"""Frames nobody would send: a corpus of good ones, and ways to spoil them. Pure.

Everything follows from the random generator that is passed in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from random import Random

from tests.harness.dhcp import PAD, DhcpType, dhcp, dhcp_message, option
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Tag,
    all_bpdus,
    config_body,
    ethernet,
    llc,
    mac_bytes,
    not_bpdus,
    snap,
)
from tests.harness.fuzz_ip6 import chained_frame, ip6_corpus
from tests.harness.packets import (
    PROTO_IGMP,
    PROTO_TCP,
    PROTO_UDP,
    arp,
    ipv4,
    ipv6,
    tcp,
    tcp_frame,
    udp,
)

LONGEST_BYTES = 3400  # BPF_PROG_TEST_RUN takes no more than a page, less its overhead
TEST_RUN_REFUSES_BYTES = 3500
V4, V6 = ("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")
STACKS: tuple[tuple[Tag, ...], ...] = (
    (),
    ((TPID_C, 5, 0),),
    ((TPID_S, 5, 0), (TPID_C, 6, 0)),
    ((TPID_OLD, 5, 0), (TPID_S, 6, 0), (TPID_C, 7, 0)),
)
TYPES = (
    *(0, 2, 3, 8, 38, 60, 1500, 1501, 0x5FF, 0x600, 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8),
    *(0x9100, 0x9200, 0x8870, 0x8181, 0x88CC, 0x8809, 0xFFFF),
)
WORDS = (
    *(0, 1, 7, 8, 9, 19, 20, 27, 28, 29, 248, 252, 268, 300, 546, 547, 1500),
    *(0x2000, 0x1FFF, 0xFFF8, 0xFFFF),
)
BYTES = (
    *(0, 1, 2, 3, 4, 5, 8, 9, 17, 0x13, 0x42, 0x43, 0x45, 0x46, 0x4F, 0x60, 0xAA, 255),
    *(43, 44, 51, 52, 53, 58, 59, 60, 67, 68, 130, 133, 143),
)
GROUPS = tuple(
    mac_bytes(mac)
    for mac in (
        *(f"01:80:c2:00:00:{last:02x}" for last in (0, 1, 2, 8, 13, 14, 32, 33, 47, 48)),
        *("01:00:0c:cc:cc:cd", "01:00:0c:cc:cc:cc", "01:00:0c:cd:cd:ce", BROADCAST, GUEST_MAC),
    )
)  # fmt: skip
OUIS = ("000000", "0000f8", "00000c", "0080c2", "00000b")
PROTOCOLS = (0x010B, 0x010C, 0x010D, 0x000E, 0x0800, 0x8100, 0x8181, 0x2000)


@cache
def corpus() -> tuple[bytes, ...]:
    """Good frames of every kind that the programs tell apart, and of many that they do not."""
    frames: list[bytes] = []
    for tags in STACKS:
        frames += all_bpdus(tags=tags).values()
        frames += not_bpdus(tags=tags).values()
        frames += (dhcp(kind, tags=tags) for kind in DhcpType)
        frames += (dhcp(kind, tags=tags, before=option(61, b"client")) for kind in DhcpType)
        frames += (dhcp(2, tags=tags, where=where, pads=3) for where in ("file", "sname"))
        frames.append(dhcp(5, tags=tags, ip_options=b"\x94\x04\0\0"))
        frames += ip6_corpus(tags)
        listeners = ipv4(*V4, PROTO_IGMP, bytes(8))
        frames.append(ethernet(BROADCAST, GUEST_MAC, listeners, 0x0800, tags))
        for size in (46, 86, 100, 1480, 1500, 1501):
            frames.append(ethernet(BROADCAST, GUEST_MAC, bytes(size), 0x0806, tags))
    for payload in (b"", bytes(1000), bytes(3000)):
        frames.append(tcp_frame(GUEST_MAC, BROADCAST, *V4, payload=payload))
        segment = ipv6(*V6, PROTO_TCP, tcp(*V6, 1, 2, payload))
        frames.append(ethernet(BROADCAST, GUEST_MAC, segment, 0x86DD))
        for port in (9, 4789, 6081):
            inner = bytes(8) + tcp_frame(GUEST_MAC, BROADCAST, *V4, payload=payload)
            datagram = ipv4(*V4, PROTO_UDP, udp(*V4, 5000, port, inner))
            frames.append(ethernet(BROADCAST, GUEST_MAC, datagram, 0x0800))
    message = ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, dhcp_message(2)))
    body = config_body(GUEST_MAC)
    for oui in map(bytes.fromhex, OUIS):
        for protocol, payload in ((0x0800, message), *((each, body) for each in PROTOCOLS)):
            frames.append(ethernet(BROADCAST, GUEST_MAC, snap(oui, protocol, payload)))
    for ethertype in (0x8870, 0x8181):
        frames.append(ethernet(BROADCAST, GUEST_MAC, llc(body), ethertype))
    frames.append(arp(GUEST_MAC, *V4))
    return tuple(frames)


def _cut(rng: Random, frame: bytearray) -> None:
    del frame[rng.choice((rng.randint(14, 70), rng.randint(14, max(14, len(frame))))) :]


def _byte(rng: Random, frame: bytearray) -> None:
    at = rng.randrange(min(len(frame), rng.choice((24, 60, 400, LONGEST_BYTES))))
    frame[at] = rng.choice(BYTES) if rng.random() < 0.6 else rng.randrange(256)


def _word(rng: Random, frame: bytearray) -> None:
    at = rng.choice((16, 18, 20, 36, 38, 40, 54, 56, 58, rng.randrange(12, 62))) + 4 * rng.choice(
        (0, 0, 0, 1, 2)
    )
    if at + 2 <= len(frame):
        struct.pack_into("!H", frame, at, rng.choice(WORDS) if rng.random() < 0.7 else at * 3)


def _type(rng: Random, frame: bytearray) -> None:
    at = 12 + 4 * rng.choice((0, 0, 0, 1, 2, 3))
    if at + 2 <= len(frame):
        struct.pack_into("!H", frame, at, rng.choice(TYPES))


def _tag(rng: Random, frame: bytearray) -> None:
    tag = struct.pack("!HH", rng.choice((TPID_C, TPID_S, TPID_OLD, 0x9200)), rng.randrange(65536))
    frame[12:12] = tag


def _group(rng: Random, frame: bytearray) -> None:
    frame[:6] = rng.choice(GROUPS)


def _llc(rng: Random, frame: bytearray) -> None:
    header = bytes(rng.choice((0x42, 0x42, 0xAA, 0x43, 0)) for _ in range(2))
    header += bytes((rng.choice((3, 3, 0x13, 0, 2, 1, 0xAF)),))
    if rng.random() < 0.5:
        header += bytes.fromhex(rng.choice(OUIS)) + struct.pack("!H", rng.choice(PROTOCOLS))
    struct.pack_into("!H", frame, 12, rng.choice((38, 0, 1500, 0x8870)))
    frame[14 : 14 + len(header)] = header


def _longer(rng: Random, frame: bytearray) -> None:
    frame += rng.randbytes(rng.choice((1, 4, 40, rng.randrange(2000))))


def _options(rng: Random, frame: bytearray) -> None:
    """A soup of options where a BOOTP message has them, lengths made to fit."""
    soup = bytearray()
    for _ in range(rng.choice((1, 3, 10, 60))):
        code = rng.choice((0, 0, 12, 43, 52, 52, 53, 53, 80, 255, rng.randrange(256)))
        length = rng.choice((0, 1, 1, 1, 2, 4, 60, 255, rng.randrange(256)))
        value = bytes(
            rng.choice((0, 1, 2, 3, 5, 53)) for _ in range(min(length, rng.randrange(300)))
        )
        soup += PAD if code == 0 else bytes((code, length)) + value
    if rng.random() < 0.3:
        soup[:0] = PAD * rng.randrange(1300)
    message = bytearray(dhcp_message(2, where="nowhere", end=False))
    if rng.random() < 0.5:
        message[44:236] = rng.choices((0, 1, 2, 5, 52, 53, 255), k=192)
    datagram = udp(*V4, 67, rng.choice((68, 9)), bytes(message + soup))
    options = b"\x01" * rng.choice((0, 0, 4, 40))
    tags = rng.choice(STACKS)
    frame[:] = ethernet(
        BROADCAST, GUEST_MAC, ipv4(*V4, PROTO_UDP, datagram, options=options), 0x0800, tags
    )


def _chain(rng: Random, frame: bytearray) -> None:
    frame[:] = chained_frame(rng, rng.choice(STACKS))


def _noise(rng: Random, frame: bytearray) -> None:
    frame[:] = rng.randbytes(rng.choice((14, 20, 34, 60, 300, rng.randrange(14, 1600))))


SPOILERS: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_cut, _cut, _byte, _byte, _byte, _word, _word, _type, _type, _tag, _group, _llc),
    *(_longer, _options, _chain, _noise),
)


def spoiled_frame(rng: Random) -> bytes:
    """A frame of 14 to LONGEST_BYTES bytes, as good as new or spoiled up to five times."""
    frame = bytearray(rng.choice(corpus()))
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
        rng.choice(SPOILERS)(rng, frame)
    return bytes(frame[:LONGEST_BYTES].ljust(14, b"\0"))


def segment_bytes_of(rng: Random, frame: bytes) -> int:
    """For a few long frames what a segment might hold: more than one, as in real ones."""
    if len(frame) < 700 or rng.random() < 0.8:
        return 0
    return rng.randrange(1, len(frame) - 600)


def may_be_refused(frame: bytes, segment_bytes: int) -> bool:
    """Whether BPF_PROG_TEST_RUN of some kernel refuses it: IP runts, super-frames, long ones."""
    runt = {b"\x08\x00": 14 + 20, b"\x86\xdd": 14 + 40}.get(frame[12:14], 15)
    return segment_bytes > 0 or len(frame) < runt or len(frame) > TEST_RUN_REFUSES_BYTES
