# SPDX-License-Identifier: Apache-2.0
"""IPv6 frames for the corpus: DHCPv6, housekeeping, and chains of extension headers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.harness.dhcp6 import CLIENT, SERVERS_AND_RELAYS, Dhcp6Type, dhcp6, dhcp6_message
from tests.harness.frames import BROADCAST, GUEST_MAC, Tag, ethernet
from tests.harness.packets import (
    AUTHENTICATION,
    DESTINATION,
    ETHERTYPE_IPV6,
    FRAGMENT,
    HOP_BY_HOP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    ROUTER_ALERT,
    ROUTING,
    Extension,
    authentication_header,
    fragment_header,
    icmpv6,
    ipv6,
    options_header,
    routing_header,
    udp,
)

BETWEEN = CLIENT, SERVERS_AND_RELAYS
CHAINS: tuple[tuple[Extension, ...], ...] = (
    (options_header(HOP_BY_HOP, ROUTER_ALERT),),
    (fragment_header(),),
    (fragment_header(1),),
    (routing_header(2), authentication_header(), fragment_header(more=False)),
    tuple(options_header(DESTINATION, bytes(number)) for number in range(6)),
    tuple(options_header(DESTINATION, bytes(number)) for number in range(7)),
)
ICMP_TYPES = (1, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 143, 144)
NUMBERS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, 50, 59, 135)
PORTS = (546, 547, 547, 545, 548, 67, 68, 0x2202, 0x2302)
LAST = (PROTO_UDP, PROTO_UDP, PROTO_UDP, PROTO_ICMPV6, PROTO_TCP, 59)


def ip6_corpus(tags: tuple[Tag, ...]) -> Iterator[bytes]:
    """Good frames of every kind."""
    for kind in (*Dhcp6Type, 0, 14, 255):
        yield dhcp6(kind, tags=tags)
    for chain in CHAINS:
        for kind in (Dhcp6Type.SOLICIT, Dhcp6Type.REPLY):
            yield dhcp6(kind, tags=tags, extensions=chain)
        report = ipv6(*BETWEEN, PROTO_ICMPV6, icmpv6(*BETWEEN, 143), extensions=chain)
        yield ethernet(BROADCAST, GUEST_MAC, report, ETHERTYPE_IPV6, tags)
    for kind in ICMP_TYPES:
        packet = ipv6(*BETWEEN, PROTO_ICMPV6, icmpv6(*BETWEEN, kind))
        yield ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV6, tags)
    for size in (0, 1, 1000):
        datagram = udp(*BETWEEN, 443, 50000, bytes(size))
        yield ethernet(BROADCAST, GUEST_MAC, ipv6(*BETWEEN, PROTO_UDP, datagram), 0x86DD, tags)


def chained_frame(rng: Random, tags: tuple[Tag, ...]) -> bytes:
    """A soup of extension headers with lengths made to fit, or not quite."""
    chain = []
    for _ in range(rng.choice((0, 1, 2, 3, 5, 6, 7))):
        number = rng.choice(NUMBERS)
        length = rng.choice((0, 0, 0, 1, 2, 30, rng.randrange(256)))
        content = 8 * length + 6
        if number == AUTHENTICATION:
            content = 4 * length + 6
        elif number == FRAGMENT:
            content = 6
        rest = bytearray(content)
        rest[1:3] = rng.choice((b"\0\0", b"\0\0", b"\0\1", b"\0\7", b"\0\x08", b"\x10\0"))
        chain.append(Extension(number, bytes((length, *rest))))
    message = dhcp6_message(rng.choice((*Dhcp6Type, 0, 14)), xid=rng.choice((1, 0x3903F3)))
    payload = udp(*BETWEEN, rng.choice(PORTS), rng.choice((9, *PORTS)), message)
    last = rng.choice(LAST)
    if last == PROTO_ICMPV6:
        payload = icmpv6(*BETWEEN, rng.choice(ICMP_TYPES))
    packet = bytearray(ipv6(*BETWEEN, last, payload, extensions=chain))
    if rng.random() < 0.3:
        size = rng.choice((0, 1, 8, 9, len(packet) - 40 - rng.randrange(20)))
        packet[4:6] = max(0, size).to_bytes(2, "big")
    return ethernet(BROADCAST, GUEST_MAC, bytes(packet), ETHERTYPE_IPV6, tags)
