# SPDX-License-Identifier: Apache-2.0
"""ARP, IPv4, IPv6 and its extension headers, UDP, TCP and ICMP as bytes. Pure.

Checksums are right where they are not said to be wrong.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.harness.frames import BROADCAST, ethernet, mac_bytes

ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
PROTO_ICMP, PROTO_IGMP, PROTO_TCP, PROTO_UDP, PROTO_ICMPV6 = 1, 2, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
ROUTER_ALERT = bytes.fromhex("05020000")  # RFC 2711, of multicast listeners
TCP_ACK, TCP_SYN = 0x10, 0x02


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    ttl: int = 64,
    identifier: int = 0,
    fragment_offset: int = 0,
    more_fragments: bool = False,
) -> bytes:
    """A packet; `options` are padded to words, `fragment_offset` is in 8-byte units."""
    options = options.ljust((len(options) + 3) // 4 * 4, b"\0")
    fields = struct.pack(
        "!BBHHHBBH4s4s",
        4 << 4 | 5 + len(options) // 4,
        0,
        20 + len(options) + len(payload),
        identifier,
        (0x2000 if more_fragments else 0) | fragment_offset,
        ttl,
        protocol,
        0,
        ipaddress.IPv4Address(src).packed,
        ipaddress.IPv4Address(dst).packed,
    )
    header = fields + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


class Extension(NamedTuple):
    """An IPv6 extension header: its number, and all of it behind the next header's number."""

    number: int
    rest: bytes


def options_header(number: int, options: bytes = b"") -> Extension:
    """Hop-by-hop or destination options, padded to 8 bytes (RFC 8200 § 4.2)."""
    missing = -(2 + len(options)) % 8
    padding = b"" if missing == 0 else b"\0" if missing == 1 else bytes((1, missing - 2))
    content = (options + padding).ljust(len(options) + missing, b"\0")
    return Extension(number, bytes(((2 + len(content)) // 8 - 1,)) + content)


def routing_header(addresses: int = 0) -> Extension:
    """A routing header of no known type, with room for some addresses (RFC 8200 § 4.4)."""
    return Extension(ROUTING, bytes((2 * addresses, 253, 0)) + bytes(4 + 16 * addresses))


def fragment_header(offset: int = 0, *, more: bool = True) -> Extension:
    """A fragment's header; `offset` is in 8-byte units (RFC 8200 § 4.5)."""
    return Extension(FRAGMENT, struct.pack("!BHI", 0, offset << 3 | more, 1))


def authentication_header(icv_bytes: int = 12) -> Extension:
    """An AH whose length is in words (RFC 4302 § 2.2)."""
    return Extension(
        AUTHENTICATION, bytes(((12 + icv_bytes) // 4 - 2,)) + bytes(10) + bytes(icv_bytes)
    )


def ipv6(
    src: str,
    dst: str,
    next_header: int,
    payload: bytes,
    *,
    hop_limit: int = 64,
    extensions: Sequence[Extension] = (),
) -> bytes:
    """A packet; `extensions` stand before its payload in their order."""
    numbers = [*(extension.number for extension in extensions), next_header]
    chain = b"".join(
        bytes((following,)) + extension.rest
        for following, extension in zip(numbers[1:], extensions, strict=True)
    )
    return (
        struct.pack("!IHBB", 6 << 28, len(chain) + len(payload), numbers[0], hop_limit)
        + ipaddress.IPv6Address(src).packed
        + ipaddress.IPv6Address(dst).packed
        + chain
        + payload
    )


def icmpv6(src: str, dst: str, kind: int, body: bytes = bytes(4)) -> bytes:
    """An ICMPv6 message of a type (RFC 4443 § 2.1)."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(_pseudo_header(src, dst, PROTO_ICMPV6, len(message)) + message)
    return message[:2] + struct.pack("!H", total) + message[4:]


def udp(src: str, dst: str, src_port: int, dst_port: int, payload: bytes) -> bytes:
    """A datagram whose checksum covers the pseudo header of `src` and `dst` (either family)."""
    header = struct.pack("!HHHH", src_port, dst_port, 8 + len(payload), 0)
    total = checksum(_pseudo_header(src, dst, PROTO_UDP, 8 + len(payload)) + header + payload)
    return header[:6] + struct.pack("!H", total or 0xFFFF) + payload


def tcp(
    src: str,
    dst: str,
    src_port: int,
    dst_port: int,
    payload: bytes = b"",
    *,
    flags: int = TCP_ACK,
    sequence: int = 1,
) -> bytes:
    """A segment with a header of 20 bytes."""
    header = struct.pack("!HHIIBBHHH", src_port, dst_port, sequence, 1, 5 << 4, flags, 65535, 0, 0)
    segment = header + payload
    total = checksum(_pseudo_header(src, dst, PROTO_TCP, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", total) + segment[18:]


def icmp_echo(
    identifier: int, sequence: int, payload: bytes = b"", *, reply: bool = False
) -> bytes:
    """An echo request or reply (RFC 792)."""
    message = struct.pack("!BBHHH", 0 if reply else 8, 0, 0, identifier, sequence) + payload
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def arp(src_mac: str, src: str, dst: str, *, dst_mac: str | None = None) -> bytes:
    """A whole frame: a request to everybody, or a reply if `dst_mac` is given."""
    operation = 1 if dst_mac is None else 2
    body = (
        struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, 6, 4, operation)
        + mac_bytes(src_mac)
        + ipaddress.IPv4Address(src).packed
        + (bytes(6) if dst_mac is None else mac_bytes(dst_mac))
        + ipaddress.IPv4Address(dst).packed
    )
    return ethernet(dst_mac or BROADCAST, src_mac, body, ETHERTYPE_ARP)


def udp_frame(
    src_mac: str,
    dst_mac: str,
    src: str,
    dst: str,
    *,
    src_port: int = 40000,
    dst_port: int = 9,
    payload: bytes = b"",
) -> bytes:
    """An ordinary IPv4 frame, for filling a wire."""
    datagram = udp(src, dst, src_port, dst_port, payload)
    return ethernet(dst_mac, src_mac, ipv4(src, dst, PROTO_UDP, datagram), ETHERTYPE_IPV4)


def tcp_frame(
    src_mac: str,
    dst_mac: str,
    src: str,
    dst: str,
    *,
    src_port: int = 40000,
    dst_port: int = 80,
    payload: bytes = b"",
) -> bytes:
    """An ordinary IPv4 frame with a TCP segment."""
    segment = tcp(src, dst, src_port, dst_port, payload)
    return ethernet(dst_mac, src_mac, ipv4(src, dst, PROTO_TCP, segment), ETHERTYPE_IPV4)


def _pseudo_header(src: str, dst: str, protocol: int, length: int) -> bytes:
    sender, receiver = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if sender.version == 4:
        return sender.packed + receiver.packed + struct.pack("!BBH", 0, protocol, length)
    return sender.packed + receiver.packed + struct.pack("!II", length, protocol)
