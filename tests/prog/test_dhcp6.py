# SPDX-License-Identifier: Apache-2.0
"""DHCPv6: which frame is a message, behind extension headers and lengths that lie. RFC 8415."""

from __future__ import annotations

import struct

import pytest

from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.dhcp6 import (
    CLIENT,
    CLIENT_PORT,
    FROM_SERVER6,
    SERVER_PORT,
    SERVERS_AND_RELAYS,
    Dhcp6Type,
    dhcp6,
    dhcp6_message,
)
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Tag,
    ethernet,
    snap,
)
from tests.harness.packets import (
    AUTHENTICATION,
    DESTINATION,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    FRAGMENT,
    HOP_BY_HOP,
    PROTO_TCP,
    PROTO_UDP,
    ROUTER_ALERT,
    ROUTING,
    Extension,
    authentication_header,
    fragment_header,
    ipv4,
    ipv6,
    options_header,
    routing_header,
    tcp,
    udp,
)
from tests.harness.programs import FROM_GUEST, PROGRAMS, TO_GUEST, TO_WIRE, Programs, within

BETWEEN = CLIENT, SERVERS_AND_RELAYS
IP_AT, UDP_AT, MESSAGE_AT = 14, 54, 62
STACKS: list[tuple[Tag, ...]] = [
    (),
    ((TPID_C, 5, 0),),
    ((TPID_S, 5, 0), (TPID_C, 6, 0)),
    ((TPID_OLD, 5, 0), (TPID_S, 6, 0), (TPID_C, 7, 0)),
]
SOLICIT = dhcp6(Dhcp6Type.SOLICIT)


def frame_of(
    payload: bytes,
    ports: tuple[int, int] = (CLIENT_PORT, SERVER_PORT),
    extensions: tuple[Extension, ...] = (),
) -> bytes:
    datagram = udp(*BETWEEN, *ports, payload)
    packet = ipv6(*BETWEEN, PROTO_UDP, datagram, extensions=extensions)
    return ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV6)


def patched(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + struct.pack("!H", value) + frame[at + 2 :]


def counted(programs: Programs, frame: bytes) -> str | None:
    """The type that one frame is counted as, None for no message at all."""
    programs.add()
    programs.check(FROM_GUEST, frame)
    found = [name for name in programs.counts()[0] if name.startswith("dhcp6.")]
    assert len(found) <= 1
    assert not any(name.startswith("dhcp.") for name in programs.counts()[0])
    return found[0].removeprefix("dhcp6.") if found else None


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", Dhcp6Type)
def test_every_type_in_every_program(programs: Programs, program: str, kind: Dhcp6Type) -> None:
    programs.add(role="port" if "guest" in program else "uplink")
    for tags in STACKS:
        assert not programs.check(program, dhcp6(kind, tags=tags))
    counts = programs.counts()[program in (TO_GUEST, TO_WIRE)]
    assert counts[f"dhcp6.{kind.name.lower()}"] == len(STACKS)
    assert counts["dhcp_server"] == (len(STACKS) if kind in FROM_SERVER6 else 0)


@pytest.mark.parametrize("kind", [0, 14, 15, 31, 32, 128, 223, 224, 255])
def test_other_types(programs: Programs, kind: int) -> None:
    """Also 223 and more, which would run over where both protocols share one number."""
    assert counted(programs, dhcp6(kind)) == "other"
    assert "dhcp_server" not in programs.counts()[0]


CHAINS = {
    "hop-by-hop": (options_header(HOP_BY_HOP, ROUTER_ALERT),),
    "long options": (options_header(DESTINATION, bytes(900)),),
    "routing": (routing_header(3),),
    "destination": (options_header(DESTINATION),),
    "authentication": (authentication_header(),),
    "authentication, short": (authentication_header(0),),
    "authentication, not of 8 bytes": (authentication_header(16),),
    "atomic fragment": (fragment_header(more=False),),
    "first fragment": (fragment_header(),),
    "out of order": (options_header(DESTINATION), options_header(HOP_BY_HOP)),
    "one of each": (
        options_header(HOP_BY_HOP, ROUTER_ALERT),
        options_header(DESTINATION),
        routing_header(),
        fragment_header(),
        authentication_header(),
        options_header(DESTINATION),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_behind_extension_headers(programs: Programs, name: str) -> None:
    for tags in STACKS:
        frame = dhcp6(Dhcp6Type.REPLY, tags=tags, extensions=CHAINS[name])
        assert counted(programs, frame) == "reply"


def test_six_extension_headers_are_followed(programs: Programs) -> None:
    each = options_header(DESTINATION)
    for number in range(10):
        frame = dhcp6(Dhcp6Type.SOLICIT, extensions=(each,) * number)
        assert counted(programs, frame) == ("solicit" if number <= 6 else None), number


@pytest.mark.parametrize("offset", [1, 2, 0x1FFF])
def test_later_fragments_are_the_middle_of_something(programs: Programs, offset: int) -> None:
    for more in (False, True):
        fragment = fragment_header(offset, more=more)
        for chain in ((fragment,), (options_header(DESTINATION), fragment)):
            assert counted(programs, dhcp6(Dhcp6Type.REPLY, extensions=chain)) is None


@pytest.mark.parametrize("number", [1, 41, 47, 50, 58, 59, 132, 135, 139, 140, 253, 255])
def test_what_is_no_extension_header(programs: Programs, number: int) -> None:
    chain = (Extension(number, bytes(7)),)
    assert counted(programs, dhcp6(Dhcp6Type.SOLICIT, extensions=chain)) is None
    behind = (options_header(DESTINATION), *chain)
    assert counted(programs, dhcp6(Dhcp6Type.SOLICIT, extensions=behind)) is None


@pytest.mark.parametrize("number", [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION])
def test_extension_headers_that_are_cut(programs: Programs, number: int) -> None:
    """No message, wherever the frame ends in them."""
    headers = {
        HOP_BY_HOP: options_header(HOP_BY_HOP, bytes(12)),
        ROUTING: routing_header(1),
        FRAGMENT: fragment_header(),
        AUTHENTICATION: authentication_header(),
        DESTINATION: options_header(DESTINATION, bytes(12)),
    }
    frame = dhcp6(Dhcp6Type.SOLICIT, extensions=(headers[number],) * 2)
    message_at = frame.index(dhcp6_message(Dhcp6Type.SOLICIT))
    for length in range(UDP_AT, message_at + 2):
        expected = "solicit" if length > message_at else None
        assert counted(programs, frame[:length]) == expected, length


def test_headers_are_followed_to_1536_bytes(programs: Programs) -> None:
    """Of a frame: a message begins there at the latest."""
    chains = (
        (options_header(DESTINATION, bytes(1470)), 1534, "solicit"),
        (options_header(DESTINATION, bytes(446)), 1538, None),
        (options_header(DESTINATION, bytes(1478)), 1542, None),
        (options_header(DESTINATION, bytes(2040)), 2110, None),
    )
    for header, expected_at, expected in chains:
        extensions = [header]
        if expected_at == 1538:  # 1028 bytes more, the longest that is not of eights
            extensions.append(authentication_header(1016))
        frame = dhcp6(Dhcp6Type.SOLICIT, extensions=extensions)
        assert frame.index(dhcp6_message(Dhcp6Type.SOLICIT)) == expected_at
        assert counted(programs, frame) == expected, expected_at
    beyond = (options_header(DESTINATION, bytes(1470)), options_header(DESTINATION))
    assert counted(programs, dhcp6(Dhcp6Type.SOLICIT, extensions=beyond)) is None


@pytest.mark.parametrize("length", range(0, 256, 15))
def test_extension_lengths_that_lie(programs: Programs, length: int) -> None:
    """The message is where the length says, or nowhere."""
    for number in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION):
        counted(programs, dhcp6(7, extensions=(Extension(number, bytes((length,)) + bytes(6)),)))


@pytest.mark.parametrize(
    ("ports", "is_message"),
    [((546, 547), 1), ((547, 546), 1), ((547, 547), 1), ((9, 547), 1), ((9, 546), 1),
     ((546, 9), 1), ((547, 9), 1), ((545, 548), 0), ((67, 68), 0), ((0x2202, 0x2302), 0)],
)  # fmt: skip
def test_ports(programs: Programs, ports: tuple[int, int], is_message: int) -> None:
    found = counted(programs, frame_of(dhcp6_message(Dhcp6Type.RENEW), ports))
    assert found == ("renew" if is_message else None)


def test_udp_length(programs: Programs) -> None:
    """0 is that of a jumbogram (RFC 2675 § 4), which Linux takes; 1 to 8 hold no message."""
    for length in (*range(12), 100, 65535):
        expected = "solicit" if length == 0 or length > 8 else None
        assert counted(programs, patched(SOLICIT, UDP_AT + 4, length)) == expected, length


def test_payload_length(programs: Programs) -> None:
    """What stands behind it is no message; with hop-by-hop options 0 may be a jumbogram's."""
    for length in (*range(12), 100, 65535):
        expected = "solicit" if length > 8 else None
        assert counted(programs, patched(SOLICIT, IP_AT + 4, length)) == expected, length
    behind = dhcp6(Dhcp6Type.SOLICIT, extensions=(options_header(DESTINATION),))
    jumbo = dhcp6(Dhcp6Type.SOLICIT, extensions=(options_header(HOP_BY_HOP),))
    for length, expected in ((0, None), (8, None), (16, None), (17, "solicit")):
        assert counted(programs, patched(behind, IP_AT + 4, length)) == expected, length
        hopped = counted(programs, patched(jumbo, IP_AT + 4, length))
        assert hopped == (expected if length else "solicit"), length


def test_cut_anywhere(programs: Programs) -> None:
    """One byte is a message: its type. (An IPv6 runt is refused by some test runs.)"""
    for length in range(UDP_AT, len(SOLICIT) + 1):
        expected = None if length <= MESSAGE_AT else "solicit"
        assert counted(programs, SOLICIT[:length]) == expected, length


@pytest.mark.parametrize("first_byte", [0x00, 0x40, 0x45, 0x50, 0x70, 0xF0], ids=hex)
def test_ip_versions_that_lie(programs: Programs, first_byte: int) -> None:
    assert counted(programs, SOLICIT[:14] + bytes((first_byte,)) + SOLICIT[15:]) is None


def test_traffic_class_and_wrong_checksums_do_not_hide_it(programs: Programs) -> None:
    frame = SOLICIT[:14] + b"\x6f\xff\xff\xff" + SOLICIT[18:]
    assert counted(programs, patched(frame, UDP_AT + 6, 0)) == "solicit"


def test_other_protocols_on_those_ports(programs: Programs) -> None:
    message = dhcp6_message(Dhcp6Type.SOLICIT)
    v4 = ipv4("192.0.2.9", "192.0.2.1", PROTO_UDP, udp("192.0.2.9", "192.0.2.1", 546, 547, message))
    assert counted(programs, ethernet(BROADCAST, GUEST_MAC, v4, ETHERTYPE_IPV4)) is None
    segment = tcp(*BETWEEN, 546, 547, message)
    v6 = ipv6(*BETWEEN, PROTO_TCP, segment)
    assert counted(programs, ethernet(BROADCAST, GUEST_MAC, v6, ETHERTYPE_IPV6)) is None


@pytest.mark.parametrize(
    ("oui", "expected"), [("000000", "solicit"), ("0000f8", "solicit"), ("00000c", None)]
)
def test_behind_snap(programs: Programs, oui: str, expected: str | None) -> None:
    packet = SOLICIT[14:]
    frame = ethernet(BROADCAST, GUEST_MAC, snap(bytes.fromhex(oui), ETHERTYPE_IPV6, packet))
    assert counted(programs, frame) == expected


@pytest.mark.parametrize("kind", Dhcp6Type)
def test_rogue_servers(programs: Programs, kind: Dhcp6Type) -> None:
    """What only servers and their relays send: RFC 8415 § 7.3."""
    for extensions in ((), CHAINS["one of each"]):
        programs.configure(rogue_dhcp="drop")
        programs.add()
        is_server = kind in FROM_SERVER6
        assert programs.check(FROM_GUEST, dhcp6(kind, extensions=extensions)) == is_server
        assert programs.counts()[0]["dropped.rogue_dhcp"] == is_server


def test_a_flood_is_of_both_protocols_together(programs: Programs) -> None:
    programs.configure(dhcp_flood=within(3, "drop"))
    programs.add()
    for frame in (dhcp(DhcpType.DISCOVER), SOLICIT, dhcp(DhcpType.REQUEST)):
        assert not programs.check(FROM_GUEST, frame)
    assert programs.check(FROM_GUEST, SOLICIT)
    assert programs.check(FROM_GUEST, dhcp(DhcpType.DISCOVER))
    assert programs.counts()[0]["dropped.dhcp_flood"] == 2


@pytest.mark.parametrize("kind", FROM_SERVER6)
def test_events_name_the_type(programs: Programs, kind: Dhcp6Type) -> None:
    programs.add()
    programs.check(FROM_GUEST, dhcp6(kind))
    (event,) = programs.drain()
    name = kind.name.lower().replace("_", "-")
    assert (event.check, event.kind) == ("rogue_dhcp", f"dhcpv6 {name}")
