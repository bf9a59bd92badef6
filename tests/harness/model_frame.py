# SPDX-License-Identifier: Apache-2.0
"""What a frame is, read in plain Python: the rules of docs/counting.md once more.

Written from the standards and not from the kernel programs, and with none of
their tricks, so that the two can be held against each other. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.harness.frames import CISCO_OUI, TPID_C, TPID_OLD, TPID_S
from tests.harness.model_ip6 import ICMPV6, QUIET_ICMPV6, ip6_payload, read_dhcp6
from tests.harness.model_message import Message

TPIDS = frozenset({TPID_C, TPID_S, TPID_OLD})
UNTAGGED_BY_KERNEL = frozenset({TPID_C, TPID_S})
MOST_TAGS = 4
FIRST_ETHERTYPE = 0x600  # IEEE 802.3 § 3.2.6: below it is a length
IPV4, ARP, IPV6, JUMBO_LLC, BARE_STP = 0x0800, 0x0806, 0x86DD, 0x8870, 0x8181
IGMP, TCP, UDP = 2, 6, 17
OUI_ETHERTYPE = frozenset({bytes(3), bytes.fromhex("0000f8")})  # RFC 1042, IEEE 802.1H
OUI_BRIDGES, PID_BPDU = bytes.fromhex("0080c2"), 0x000E  # RFC 2684 § 5.2
GARP_GROUPS = bytes.fromhex("0180c20000")
COOKIE = bytes.fromhex("63825363")
SEARCHED_BYTES = 1536  # of a frame, for DHCP options and IPv6 extension headers
DHCP_PORTS = (67, 68)
BOOTREPLY = 2
VXLAN, GENEVE = 4789, 6081


@dataclass(frozen=True, slots=True)
class Reading:
    """`bpdu` is a name as `ports --json` has it, or None."""

    frame_bytes: int
    wire_bytes: int  # of the largest segment
    tags: int
    bpdu: str | None = None
    message: Message | None = None
    is_quiet: bool = False
    """It is housekeeping: ARP, IGMP, neighbour discovery, MLD, DHCP."""
    outer: int = 0
    """Of the two outermost tags TPID << 16 | VID; 0: it has none."""
    inner: int = 0

    @property
    def path_bytes(self) -> int:
        """What fills the path: no Ethernet header, and one tag is free."""
        return self.wire_bytes - 14 - (4 if self.tags else 0)

    def oversized(self, mtu_bytes: int) -> bool:
        """Too large for the path; nothing is for a path of 0."""
        return mtu_bytes > 0 and self.path_bytes > mtu_bytes

    def oversized_by_tags(self, mtu_bytes: int) -> bool:
        """Too large, and would fit but for the tags behind the first."""
        fits = self.path_bytes - 4 * (self.tags - 1) <= mtu_bytes
        return self.tags > 1 and self.oversized(mtu_bytes) and fits


def reaches_tc(frame: bytes) -> bool:
    """Whether a tap hands the frame on: it drops one whose outer tag is cut off."""
    tagged = _number(frame, 12) in UNTAGGED_BY_KERNEL
    return len(frame) >= (20 if tagged else 14)


def read_frame(frame: bytes, segment_bytes: int = 0, *, untagged: bool = False) -> Reading:
    """Read a frame of at least 14 bytes; `segment_bytes` is a super-frame's gso_size.

    `untagged`: the kernel takes the outer tag out, as it does behind a tap. It
    makes a difference to nothing but how far DHCP options are searched.
    """
    searched_bytes = SEARCHED_BYTES
    if untagged and _number(frame, 12) in UNTAGGED_BY_KERNEL:
        searched_bytes += 4
    tags, at = 0, 14
    kind = _number(frame, 12)
    names = []
    while kind in TPIDS and tags < MOST_TAGS and len(frame) >= at + 4:
        tags += 1
        names.append(kind << 16 | _number(frame, at) & 0xFFF)
        kind = _number(frame, at + 2)
        at += 4
    bpdu = None
    if kind < FIRST_ETHERTYPE or kind == JUMBO_LLC:
        bpdu = _read_llc(frame[:6], frame[at:])
        snap_type = _ethertype_behind_snap(frame[at:])
        if snap_type is not None:
            kind, at = snap_type, at + 8
    if kind == BARE_STP:
        bpdu = _bpdu_kind(frame[at:])
    message, is_quiet = _read_packet(frame, at, kind, searched_bytes)
    wire_bytes = len(frame)
    if segment_bytes:
        wire_bytes = at + _headers(frame[at:], kind) + segment_bytes
    outer, inner = (*names, 0, 0)[:2]
    return Reading(len(frame), wire_bytes, tags, bpdu, message, is_quiet, outer, inner)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _read_llc(to: bytes, llc: bytes) -> str | None:
    """A BPDU's kind: IEEE 802.2 unnumbered information, or an I frame of two control bytes."""
    if len(llc) < 3:
        return None
    dsap, ssap, control = llc[:3]
    unnumbered = control & ~0x10 == 0x03
    if dsap == 0x42 and (unnumbered or (control & 1 == 0 and len(llc) > 3)):
        return _read_stp(to, llc[3 if unnumbered else 4 :])
    if unnumbered and dsap == ssap == 0xAA and len(llc) >= 8:
        oui, protocol = llc[3:6], _number(llc, 6)
        if oui == CISCO_OUI and protocol in (0x010B, 0x010C):
            return "pvst"
        if oui == OUI_BRIDGES and protocol == PID_BPDU:
            return _read_stp(to, llc[8:])
    return None


def _ethertype_behind_snap(llc: bytes) -> int | None:
    if len(llc) < 8 or llc[:2] != b"\xaa\xaa" or llc[2] & ~0x10 != 0x03:
        return None
    return _number(llc, 6) if llc[3:6] in OUI_ETHERTYPE else None


def _read_stp(to: bytes, body: bytes) -> str | None:
    """GARP shares the LLC header: by address, at the provider bridges' by protocol too."""
    if to[:5] == GARP_GROUPS:
        if 0x20 <= to[5] <= 0x2F:
            return None
        if to[5] == 0x0D and len(body) >= 4 and body[:2] == b"\0\x01":
            return None
    return _bpdu_kind(body)


def _bpdu_kind(body: bytes) -> str:
    if len(body) < 4:
        return "other"
    by_header = {
        b"\0\0\0\0": "stp",
        b"\0\0\0\x80": "stp",
        b"\0\0\x02\x02": "rstp",
        b"\0\0\x03\x02": "mstp",
    }
    return by_header.get(body[:4], "other")


def _read_packet(
    frame: bytes, at: int, kind: int, searched_bytes: int
) -> tuple[Message | None, bool]:
    """(DHCP message, whether it is housekeeping) of what stands behind tags and SNAP."""
    if kind == ARP:
        return None, True
    if kind == IPV4:
        if len(frame) >= at + 20 and frame[at + 9] == IGMP:
            return None, True
        message = _read_dhcp(frame, at, searched_bytes)
    elif kind == IPV6:
        protocol, payload = ip6_payload(frame, at, searched_bytes)
        if protocol == ICMPV6:
            return None, len(frame) > payload and frame[payload] in QUIET_ICMPV6
        message = read_dhcp6(frame, at, payload) if protocol == UDP else None
    else:
        message = None
    return message, message is not None


def _read_dhcp(frame: bytes, at: int, searched_bytes: int) -> Message | None:
    """The BOOTP or DHCP message in the packet at `at`, None if there is none."""
    if len(frame) < at + 20 or frame[at] >> 4 != 4 or frame[at] & 0xF < 5:
        return None
    if frame[at + 9] != UDP or _number(frame, at + 6) & 0x1FFF:
        return None
    udp = at + 4 * (frame[at] & 0xF)
    message = udp + 8
    if len(frame) <= message:
        return None
    if _number(frame, udp) not in DHCP_PORTS and _number(frame, udp + 2) not in DHCP_PORTS:
        return None
    end = udp + _number(frame, udp + 4)
    if total := _number(frame, at + 2):
        end = min(end, at + total)
    if end <= message:
        return None
    kind = _dhcp_type(frame[:end], frame, message, searched_bytes)
    exchange = None
    if len(frame) >= message + 44:  # chaddr is whole
        exchange = (4, frame[message + 4 : message + 8], frame[message + 28 : message + 34])
    is_reply = frame[message] == BOOTREPLY or kind in {"offer", "ack", "nak"}
    return Message(f"dhcp.{kind}", is_reply, exchange)


def _dhcp_type(datagram: bytes, frame: bytes, message: int, searched_bytes: int) -> str:
    options = message + 240
    if len(datagram) < options or frame[message + 236 : options] != COOKIE:
        return "other"
    found, overload = _search(datagram[options:searched_bytes])
    if not found and overload & 1:
        found, _ = _search(frame[message + 108 : message + 236])
    if not found and overload & 2:
        found, _ = _search(frame[message + 44 : message + 108])
    types = "discover", "offer", "request", "decline", "ack", "nak", "release", "inform"
    return types[found - 1] if 1 <= found <= 8 else "other"


def _search(area: bytes) -> tuple[int, int]:
    """(value of option 53, value of option 52) of one area; 0 for what is not there."""
    overload = at = 0
    while at + 2 < len(area):
        code, length, value = area[at : at + 3]
        if code == 0:
            at += 1
            continue
        if code == 255:
            break
        if code == 53 and length:
            return value, overload
        if code == 52 and length:
            overload = value
        at += 2 + length
    return 0, overload


def _headers(packet: bytes, kind: int) -> int:
    """Bytes that each segment of a super-frame repeats behind its Ethernet header."""
    length, port = _transport_headers(packet, kind)
    if port not in (VXLAN, GENEVE) or len(packet) <= length:
        return length
    tunnel = length + 8 + (4 * (packet[length] & 0x3F) if port == GENEVE else 0)
    inner = packet[tunnel:]
    if len(inner) < 14:
        return length
    return tunnel + 14 + _transport_headers(inner[14:], _number(inner, 12))[0]


def _transport_headers(packet: bytes, kind: int) -> tuple[int, int]:
    """(bytes of IP and TCP or UDP, port of a UDP datagram); 0 for a kind not known."""
    if kind == IPV4 and len(packet) >= 20 and packet[0] & 0xF >= 5:
        length, protocol = 4 * (packet[0] & 0xF), packet[9]
    elif kind == IPV6 and len(packet) >= 40:
        length, protocol = 40, packet[6]
    else:
        return 0, 0
    if protocol == TCP and len(packet) >= length + 20:
        return length + 4 * (packet[length + 12] >> 4), 0
    if protocol == UDP and len(packet) >= length + 8:
        (port,) = struct.unpack_from("!H", packet, length + 2)
        return length + 8, port
    return 0, 0
