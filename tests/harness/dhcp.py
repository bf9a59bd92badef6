# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 messages as bytes, with the message type wherever the RFCs allow it. Pure.

RFC 2131 § 2 (layout), § 4.1 (ports); RFC 2132 § 9.3 (overload), § 9.6 (type).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Literal

from tests.harness.frames import BROADCAST, GUEST_MAC, Tag, ethernet, mac_bytes
from tests.harness.packets import ETHERTYPE_IPV4, PROTO_UDP, ipv4, udp

MAGIC = bytes.fromhex("63825363")
PAD, END = b"\x00", b"\xff"
OPTION_OVERLOAD, OPTION_TYPE = 52, 53
IN_FILE, IN_SNAME = 1, 2
SERVER_PORT, CLIENT_PORT = 67, 68

Where = Literal["options", "file", "sname", "nowhere"]


class DhcpType(IntEnum):
    """RFC 2132 § 9.6."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


FROM_SERVER = (DhcpType.OFFER, DhcpType.ACK, DhcpType.NAK)


def option(code: int, value: bytes) -> bytes:
    """One option: code, length, value."""
    return bytes((code, len(value))) + value


def dhcp_message(
    message_type: int,
    *,
    client_mac: str = GUEST_MAC,
    xid: int = 0x3903F326,
    where: Where = "options",
    pads: int = 0,
    before: bytes = b"",
    after: bytes = b"",
    your_address: str = "0.0.0.0",  # noqa: S104
    end: bool = True,
) -> bytes:
    """The BOOTP payload.

    `pads` zero bytes and then the options `before` precede the message type;
    `after` follows it. With `where` "file" or "sname" option 52 sends the reader
    there; "nowhere" leaves the type out (plain BOOTP).
    """
    reply = message_type in FROM_SERVER
    kind = option(OPTION_TYPE, bytes((message_type,)))
    sname, file = bytes(64), bytes(128)
    closing = END if end else b""
    if where == "options":
        options = PAD * pads + before + kind + after + closing
    elif where == "file":
        options = before + option(OPTION_OVERLOAD, bytes((IN_FILE,))) + after + closing
        file = (PAD * pads + kind + END).ljust(128, PAD)
    elif where == "sname":
        options = before + option(OPTION_OVERLOAD, bytes((IN_SNAME,))) + after + closing
        sname = (PAD * pads + kind + END).ljust(64, PAD)
    else:
        options = PAD * pads + before + after + closing
    if len(file) != 128 or len(sname) != 64:
        raise ValueError(f"{pads} pads do not fit into {where}")
    return (
        struct.pack("!BBBBIHH", 2 if reply else 1, 1, 6, 0, xid, 0, 0x8000)
        + bytes(4)
        + ipaddress.IPv4Address(your_address).packed
        + bytes(8)
        + mac_bytes(client_mac).ljust(16, b"\0")
        + sname
        + file
        + MAGIC
        + options
    )


def dhcp(
    message_type: int,
    *,
    src_mac: str = GUEST_MAC,
    dst_mac: str = BROADCAST,
    src: str | None = None,
    dst: str = "255.255.255.255",
    tags: Sequence[Tag] = (),
    ip_options: bytes = b"",
    where: Where = "options",
    pads: int = 0,
    before: bytes = b"",
    after: bytes = b"",
    end: bool = True,
    client_mac: str | None = None,
    xid: int = 0x3903F326,
) -> bytes:
    """A whole frame: from a client (port 68 to 67), or from a server for its types."""
    reply = message_type in FROM_SERVER
    sender = src or ("192.0.2.1" if reply else "0.0.0.0")  # noqa: S104
    ports = (SERVER_PORT, CLIENT_PORT) if reply else (CLIENT_PORT, SERVER_PORT)
    message = dhcp_message(
        message_type,
        client_mac=client_mac or src_mac,
        xid=xid,
        where=where,
        pads=pads,
        before=before,
        after=after,
        end=end,
    )
    packet = ipv4(sender, dst, PROTO_UDP, udp(sender, dst, *ports, message), options=ip_options)
    return ethernet(dst_mac, src_mac, packet, ETHERTYPE_IPV4, tags)
