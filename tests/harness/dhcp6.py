# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 messages as bytes, behind any extension headers. Pure.

RFC 8415 § 7.2 (ports), § 7.3 (types), § 8 and § 9 (layouts).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from tests.harness.frames import GUEST_MAC, Tag, ethernet, mac_bytes
from tests.harness.packets import ETHERTYPE_IPV6, PROTO_UDP, Extension, ipv6, udp

CLIENT_PORT, SERVER_PORT = 546, 547
SERVERS_AND_RELAYS, SERVERS_MAC = "ff02::1:2", "33:33:00:01:00:02"
SERVER, SERVER_MAC = "fe80::5054:ff:fe00:1", "52:54:00:00:00:01"
CLIENT = "fe80::5054:ff:fe12:3456"
OPTION_CLIENT_ID, OPTION_IA_NA, OPTION_ELAPSED = 1, 3, 8


class Dhcp6Type(IntEnum):
    """RFC 8415 § 7.3."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11
    RELAY_FORW = 12
    RELAY_REPL = 13


FROM_SERVER6 = (Dhcp6Type.ADVERTISE, Dhcp6Type.REPLY, Dhcp6Type.RECONFIGURE, Dhcp6Type.RELAY_REPL)
RELAYED = (Dhcp6Type.RELAY_FORW, Dhcp6Type.RELAY_REPL)


def option6(code: int, value: bytes) -> bytes:
    """One option: code, length, value (RFC 8415 § 21.1)."""
    return struct.pack("!HH", code, len(value)) + value


def dhcp6_message(
    message_type: int, *, xid: int = 0x3903F3, client_mac: str = GUEST_MAC, options: bytes = b""
) -> bytes:
    """The payload: a client's or server's message, or a relay's (with no transaction)."""
    duid = struct.pack("!HH", 3, 1) + mac_bytes(client_mac)
    behind = option6(OPTION_CLIENT_ID, duid) + option6(OPTION_ELAPSED, bytes(2)) + options
    if message_type in RELAYED:
        return bytes((message_type, 0)) + bytes(32) + behind
    return struct.pack("!I", message_type << 24 | xid) + behind


def dhcp6(
    message_type: int,
    *,
    client_mac: str = GUEST_MAC,
    xid: int = 0x3903F3,
    tags: Sequence[Tag] = (),
    extensions: Sequence[Extension] = (),
    options: bytes = b"",
) -> bytes:
    """A whole frame: from a client to all servers, or from a server to that client."""
    reply = message_type in FROM_SERVER6
    src, dst = (SERVER, CLIENT) if reply else (CLIENT, SERVERS_AND_RELAYS)
    ports = (SERVER_PORT, CLIENT_PORT) if reply else (CLIENT_PORT, SERVER_PORT)
    to, sender = (client_mac, SERVER_MAC) if reply else (SERVERS_MAC, client_mac)
    message = dhcp6_message(message_type, xid=xid, client_mac=client_mac, options=options)
    datagram = udp(src, dst, *ports, message)
    packet = ipv6(src, dst, PROTO_UDP, datagram, hop_limit=1, extensions=extensions)
    return ethernet(to, sender, packet, ETHERTYPE_IPV6, tags)
