# SPDX-License-Identifier: Apache-2.0
"""IPv6 and DHCPv6 read in plain Python: the rules of docs/counting.md once more. Pure."""

from __future__ import annotations

from tests.harness.model_message import Message

NO_NEXT_HEADER, UDP, ICMPV6 = 59, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION})
MOST_EXTENSIONS = 6
# Multicast listeners (RFC 2710, RFC 3810), neighbour discovery (RFC 4861).
QUIET_ICMPV6 = frozenset({130, 131, 132, 143, 133, 134, 135, 136, 137})
DHCP6_PORTS = (546, 547)
TYPES = (
    "other", "solicit", "advertise", "request", "confirm", "renew", "rebind", "reply",
    "release", "decline", "reconfigure", "information_request", "relay_forw", "relay_repl",
)  # fmt: skip
OF_SERVERS = frozenset({"advertise", "reply", "reconfigure", "relay_repl"})
OF_RELAYS = frozenset({"relay_forw", "relay_repl"})


def ip6_payload(frame: bytes, at: int, searched_bytes: int) -> tuple[int, int]:
    """(protocol, where it begins) of the packet at `at`; NO_NEXT_HEADER if that can't be read."""
    nothing = NO_NEXT_HEADER, 0
    if len(frame) < at + 40 or frame[at] >> 4 != 6:
        return nothing
    reach = min(len(frame), searched_bytes)
    protocol, here = frame[at + 6], at + 40
    for _ in range(MOST_EXTENSIONS):
        if protocol not in EXTENSIONS:
            break
        if here + 8 > reach:
            return nothing
        length = 8 * (1 + frame[here + 1])
        if protocol == AUTHENTICATION:
            length = 4 * (2 + frame[here + 1])
        elif protocol == FRAGMENT:
            if int.from_bytes(frame[here + 2 : here + 4], "big") >> 3:
                return nothing
            length = 8
        protocol, here = frame[here], here + length
    if here >= searched_bytes or (protocol == UDP and here + 8 > searched_bytes):
        return nothing
    return protocol, here


def read_dhcp6(frame: bytes, at: int, udp: int) -> Message | None:
    """The message in the datagram at `udp` of the packet at `at`, None if it is none."""
    message = udp + 8
    if len(frame) <= message:
        return None
    if not {_number(frame, udp), _number(frame, udp + 2)} & set(DHCP6_PORTS):
        return None
    payload_bytes, udp_bytes = _number(frame, at + 4), _number(frame, udp + 4)
    is_jumbogram = payload_bytes == 0 and frame[at + 6] == HOP_BY_HOP  # RFC 2675
    packet_end = len(frame) if is_jumbogram else at + 40 + payload_bytes
    end = min(packet_end, udp + udp_bytes if udp_bytes else packet_end)
    if end <= message:
        return None
    kind = TYPES[frame[message]] if frame[message] < len(TYPES) else "other"
    exchange = None
    if len(frame) >= message + 4 and kind not in OF_RELAYS:
        client = frame[:6] if kind in OF_SERVERS else frame[6:12]
        exchange = (6, frame[message + 1 : message + 4], client)
    return Message(f"dhcp6.{kind}", kind in OF_SERVERS, exchange)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
