# SPDX-License-Identifier: Apache-2.0
"""The UDP datagram inside a frame, if it is one that the kernel counts as DHCP.

The rules are those of docs/counting.md: up to four tags, a type behind SNAP, IPv4
with options, IPv6 with extension headers, first fragments. Every length is believed
only as far as the bytes reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Literal

from sentinel import abi

DHCP4_PORTS: Final = frozenset({67, 68})
"""RFC 2131 section 4.1: server, client."""
DHCP6_PORTS: Final = frozenset({546, 547})
"""RFC 8415 section 7.2: client, server."""
MOST_EXTENSION_HEADERS: Final = 6
SEARCHED_BYTES: Final = 1536
"""Of a frame, for extension headers and what they lead to."""

_TPIDS: Final = frozenset({0x8100, 0x88A8, 0x9100})
# Tags of these kinds the kernel takes out of the frame, and does not count when it searches.
_TAKEN_OUT: Final = frozenset({0x8100, 0x88A8})
_FIRST_ETHERTYPE: Final = 0x600  # IEEE 802.3 section 3.2.6: below it is a length
_JUMBO_LLC: Final = 0x8870
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_UDP: Final = 17
_HOP_BY_HOP: Final = 0
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
# Hop-by-hop, routing, fragment, authentication, destination options (RFC 8200, RFC 4302).
_EXTENSION_HEADERS: Final = frozenset({_HOP_BY_HOP, 43, _FRAGMENT, _AUTHENTICATION, 60})
# Organisations whose SNAP header is followed by an ethertype (RFC 1042, IEEE 802.1H).
_OUI_ETHERTYPE: Final = frozenset({bytes(3), bytes.fromhex("0000f8")})


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram from or to a port of DHCP, with at least one byte of payload."""

    family: Literal[4, 6]
    src_mac: str
    dst_mac: str
    vids: tuple[int, ...]
    """Of the tags, outermost first."""
    src: str
    dst: str
    src_port: int
    dst_port: int
    payload: bytes
    """As much of it as is there."""
    stated_bytes: int
    """Of the payload, as the UDP header has it."""

    @property
    def is_cut(self) -> bool:
        """Part of the payload is not there: a fragment, or a frame that was cut off."""
        return len(self.payload) < self.stated_bytes


def find_datagram(frame: bytes) -> Datagram | None:
    """The DHCP datagram in an Ethernet frame without FCS; None if there is none."""
    if len(frame) < 14:
        return None
    kind = _number(frame, 12)
    at = 14
    vids: tuple[int, ...] = ()
    while kind in _TPIDS and len(vids) < abi.TAP_MAX_TAGS and len(frame) >= at + 4:
        vids += (_number(frame, at) & 0xFFF,)
        kind = _number(frame, at + 2)
        at += 4
    if kind < _FIRST_ETHERTYPE or kind == _JUMBO_LLC:
        # IEEE 802.2 unnumbered information, with or without the poll bit.
        llc = frame[at : at + 8]
        if len(llc) < 8 or llc[:2] != b"\xaa\xaa" or llc[2] & ~0x10 != 0x03:
            return None
        if llc[3:6] not in _OUI_ETHERTYPE:
            return None
        kind = _number(llc, 6)
        at += 8
    if kind == _IPV4:
        return _in_ipv4(frame, at, vids)
    if kind == _IPV6:
        return _in_ipv6(frame, at, vids)
    return None


def _number(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _in_ipv4(frame: bytes, at: int, vids: tuple[int, ...]) -> Datagram | None:
    """RFC 791 section 3.1; nothing but a first fragment has a UDP header."""
    if len(frame) < at + 20:
        return None
    header_words = frame[at] & 0xF
    if frame[at] >> 4 != 4 or header_words < 5 or frame[at + 9] != _UDP:
        return None
    if _number(frame, at + 6) & 0x1FFF:
        return None
    packet_bytes = _number(frame, at + 2)
    # A total length of 0 is what segmentation offload leaves.
    packet_end = at + packet_bytes if packet_bytes else len(frame)
    found = _udp(frame, at + 4 * header_words, packet_end, DHCP4_PORTS)
    if found is None:
        return None
    src_port, dst_port, payload, stated_bytes = found
    return Datagram(
        4, frame[6:12].hex(":"), frame[:6].hex(":"), vids,
        ipv4_text(frame, at + 12), ipv4_text(frame, at + 16),
        src_port, dst_port, payload, stated_bytes,
    )  # fmt: skip


def _in_ipv6(frame: bytes, at: int, vids: tuple[int, ...]) -> Datagram | None:
    """RFC 8200 sections 3 and 4."""
    if len(frame) < at + 40 or frame[at] >> 4 != 6:
        return None
    packet_bytes = _number(frame, at + 4)
    header, offset = frame[at + 6], at + 40
    # Only behind hop-by-hop options is a length of 0 one that is not said (RFC 2675).
    is_jumbogram = not packet_bytes and header == _HOP_BY_HOP
    packet_end = len(frame) if is_jumbogram else offset + packet_bytes
    reach = SEARCHED_BYTES + (4 if _number(frame, 12) in _TAKEN_OUT else 0)
    for _ in range(MOST_EXTENSION_HEADERS):
        if header not in _EXTENSION_HEADERS:
            break
        if min(len(frame), reach) < offset + 8:
            return None
        if header == _FRAGMENT:
            if _number(frame, offset + 2) & 0xFFF8:
                return None
            size = 8
        elif header == _AUTHENTICATION:
            size = 4 * (frame[offset + 1] + 2)
        else:
            size = 8 * (frame[offset + 1] + 1)
        header = frame[offset]
        offset += size
    if header != _UDP or reach < offset + 8:
        return None
    found = _udp(frame, offset, packet_end, DHCP6_PORTS)
    if found is None:
        return None
    src_port, dst_port, payload, stated_bytes = found
    return Datagram(
        6, frame[6:12].hex(":"), frame[:6].hex(":"), vids,
        ipv6_text(frame[at + 8 : at + 24]), ipv6_text(frame[at + 24 : at + 40]),
        src_port, dst_port, payload, stated_bytes,
    )  # fmt: skip


def _udp(
    frame: bytes, at: int, packet_end: int, ports: frozenset[int]
) -> tuple[int, int, bytes, int] | None:
    """Ports, payload and its stated size; RFC 768. None for other ports and for no payload."""
    if len(frame) <= at + 8:
        return None
    src_port, dst_port = _number(frame, at), _number(frame, at + 2)
    if src_port not in ports and dst_port not in ports:
        return None
    datagram_bytes = _number(frame, at + 4)
    if not datagram_bytes and ports is DHCP6_PORTS:
        datagram_bytes = packet_end - at  # RFC 2675 section 4
    payload = frame[at + 8 : min(at + datagram_bytes, packet_end)]
    if not payload:
        return None
    return src_port, dst_port, payload, datagram_bytes - 8


def ipv4_text(data: bytes, at: int = 0) -> str:
    """The four bytes at `at` as an address; there must be four."""
    return f"{data[at]}.{data[at + 1]}.{data[at + 2]}.{data[at + 3]}"


def ipv6_text(packed: bytes) -> str:
    """Sixteen bytes as an address (RFC 5952)."""
    return str(IPv6Address(packed))
