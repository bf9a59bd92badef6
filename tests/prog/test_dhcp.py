# SPDX-License-Identifier: Apache-2.0
"""DHCP: the message type wherever it stands, and lengths that lie. RFC 2131, RFC 2132."""

from __future__ import annotations

import struct

import pytest

from tests.harness.dhcp import (
    END,
    MAGIC,
    OPTION_OVERLOAD,
    OPTION_TYPE,
    PAD,
    DhcpType,
    Where,
    dhcp,
    dhcp_message,
    option,
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
from tests.harness.packets import ETHERTYPE_IPV4, PROTO_TCP, PROTO_UDP, ipv4, ipv6, tcp, udp
from tests.harness.programs import FROM_GUEST, PROGRAMS, TO_GUEST, TO_WIRE, Programs

SENDER, TO_ALL = "192.0.2.1", "255.255.255.255"
OFFER = option(OPTION_TYPE, b"\x02")
ACK = option(OPTION_TYPE, b"\x05")
UDP_AT, IP_AT = 34, 14
STACKS: list[tuple[Tag, ...]] = [
    (),
    ((TPID_C, 5, 0),),
    ((TPID_S, 5, 0), (TPID_C, 6, 0)),
    ((TPID_OLD, 5, 0), (TPID_S, 6, 0), (TPID_C, 7, 0)),
]


def message(options: bytes, *, file: bytes = b"", sname: bytes = b"") -> bytes:
    """A BOOTP message with these options and areas."""
    plain = dhcp_message(2, where="nowhere", end=False)
    return plain[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + MAGIC + options


def datagram(payload: bytes, ports: tuple[int, int] = (67, 68)) -> bytes:
    return udp(SENDER, TO_ALL, *ports, payload)


def frame_of(payload: bytes, ports: tuple[int, int] = (67, 68), ip_options: bytes = b"") -> bytes:
    packet = ipv4(SENDER, TO_ALL, PROTO_UDP, datagram(payload, ports), options=ip_options)
    return ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4)


def patched(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + struct.pack("!H", value) + frame[at + 2 :]


def counted(programs: Programs, frame: bytes) -> str | None:
    """The type that one frame is counted as, None for no message at all."""
    programs.add()
    programs.check(FROM_GUEST, frame)
    found = [name for name in programs.counts()[0] if name.startswith("dhcp.")]
    assert len(found) <= 1
    return found[0].removeprefix("dhcp.") if found else None


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", DhcpType)
def test_every_type_in_every_program(programs: Programs, program: str, kind: DhcpType) -> None:
    programs.add(role="port" if "guest" in program else "uplink")
    for tags in STACKS:
        assert not programs.check(program, dhcp(kind, tags=tags))
    counts = programs.counts()[program in (TO_GUEST, TO_WIRE)]
    assert counts[f"dhcp.{kind.name.lower()}"] == len(STACKS)


PLACES: dict[Where, tuple[int, ...]] = {
    "options": (0, 1, 2, 3, 50, 300),
    "file": (0, 1, 2, 124),
    "sname": (0, 1, 2, 60),
}


@pytest.mark.parametrize("where", PLACES)
def test_every_place(programs: Programs, where: Where) -> None:
    for pads in PLACES[where]:
        assert counted(programs, dhcp(DhcpType.OFFER, where=where, pads=pads)) == "offer", pads


def test_the_last_bytes_of_an_area(programs: Programs) -> None:
    """An end need not follow: the area's own end is one."""
    file, sname = PAD * 125 + OFFER, PAD * 61 + OFFER
    assert counted(programs, frame_of(message(overload(1), file=file))) == "offer"
    assert counted(programs, frame_of(message(overload(2), sname=sname))) == "offer"


def test_anywhere_in_a_full_packet(programs: Programs) -> None:
    """To the last byte of 1500: behind pads, empty options and long ones."""
    room = 1500 - 20 - 8 - 240 - len(OFFER)
    fillings = {
        "pads": PAD * room,
        "empty options": option(80, b"") * (room // 2),
        "pads and empty options": (PAD + option(80, b"")) * (room // 3),
        "one byte each": option(80, b"x") * (room // 3),
        "long": option(43, bytes(255)) * (room // 257),
    }
    for name, filling in fillings.items():
        assert counted(programs, frame_of(message(filling + OFFER))) == "offer", name
        assert counted(programs, frame_of(message(filling + OFFER[:2]))) == "other", name


@pytest.mark.parametrize("depth", range(len(STACKS)))
def test_behind_tags_and_ip_options(programs: Programs, depth: int) -> None:
    for ip_options in (b"", b"\x94\x04\0\0", b"\x01" * 40):
        frame = dhcp(DhcpType.ACK, tags=STACKS[depth], ip_options=ip_options, pads=9)
        assert counted(programs, frame) == "ack"


def test_what_lies_beyond_the_search_is_other(programs: Programs) -> None:
    """1536 bytes of a frame are searched, and nothing that stands before the options."""
    decoy = option(OPTION_TYPE, b"\x05") * 21
    for pads in (1250, 1251, 1254, 1300, 1700, 1764, 1800, 2500):
        payload = message(PAD * pads + OFFER, file=decoy, sname=decoy)
        expected = "offer" if 14 + 20 + 8 + 240 + pads + 3 <= 1536 else "other"
        assert counted(programs, frame_of(payload)) == expected, pads
    jumbo = frame_of(message(option(43, bytes(255)) * 8 + OFFER, sname=decoy))
    assert counted(programs, jumbo) == "other"


OPTIONS = {
    "none": (b"", "other"),
    "end alone": (END, "other"),
    "first": (OFFER, "offer"),
    "first of two": (ACK + OFFER, "ack"),
    "behind an end": (END + OFFER, "other"),
    "of no length": (option(OPTION_TYPE, b"") + OFFER, "offer"),
    "of two bytes": (option(OPTION_TYPE, b"\x02\x05"), "offer"),
    "of type 0": (option(OPTION_TYPE, b"\0") + OFFER, "other"),
    "of type 8": (option(OPTION_TYPE, b"\x08"), "inform"),
    "of type 9": (option(OPTION_TYPE, b"\x09") + OFFER, "other"),
    "of type 255": (option(OPTION_TYPE, b"\xff"), "other"),
    "inside of another": (option(43, OFFER) + ACK, "ack"),
    "behind a length that lies": (b"\x0c\xf0" + OFFER, "other"),
    "cut behind its code": (b"\x35", "other"),
    "cut behind its length": (b"\x35\x01", "other"),
    "behind pads and cut": (PAD * 30 + b"\x35\x01", "other"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(programs: Programs, name: str) -> None:
    options, expected = OPTIONS[name]
    assert counted(programs, frame_of(message(options))) == expected


def overload(bits: int) -> bytes:
    return option(OPTION_OVERLOAD, bytes((bits,)))


OVERLOADS = {
    "file": (overload(1), OFFER, b"", "offer"),
    "sname": (overload(2), b"", OFFER, "offer"),
    "both, file first": (overload(3), ACK, OFFER, "ack"),
    "both, in sname": (overload(3), END, OFFER, "offer"),
    "options win": (overload(3) + ACK, OFFER, OFFER, "ack"),
    "options win, before it": (ACK + overload(3), OFFER, OFFER, "ack"),
    "not asked for": (END, OFFER, OFFER, "other"),
    "file only": (overload(1), END, OFFER, "other"),
    "bits that are none": (overload(4), OFFER, OFFER, "other"),
    "of no length": (option(OPTION_OVERLOAD, b"") + END, OFFER, OFFER, "other"),
    "the last one": (overload(1) + overload(2), ACK, OFFER, "offer"),
    "file sends to nowhere": (overload(3), overload(0) + END, OFFER, "offer"),
    "file sends to sname": (overload(1), overload(2) + END, OFFER, "other"),
    "file runs over": (overload(1), bytes((43, 255)), OFFER, "other"),
    "file runs into the cookie": (overload(1), PAD * 126 + OFFER[:2], b"", "other"),
}


@pytest.mark.parametrize("name", OVERLOADS)
def test_overload(programs: Programs, name: str) -> None:
    options, file, sname, expected = OVERLOADS[name]
    frame = frame_of(message(options, file=file, sname=sname))
    assert counted(programs, frame) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (message(OFFER).replace(MAGIC, b"\x63\x82\x53\x62"), "other"),
        (message(OFFER)[:240], "other"),
        (message(OFFER)[:239], "other"),
        (message(OFFER)[:100], "other"),
        (b"\x02", "other"),
        (b"", None),
    ],
    ids=["no cookie", "no options", "cut cookie", "cut", "one byte", "empty"],
)
def test_bootp(programs: Programs, payload: bytes, expected: str | None) -> None:
    assert counted(programs, frame_of(payload)) == expected


@pytest.mark.parametrize(
    ("ports", "is_message"),
    [((67, 68), 1), ((68, 67), 1), ((67, 67), 1), ((9, 67), 1), ((9, 68), 1), ((67, 9), 1),
     ((68, 9), 1), ((66, 69), 0), ((546, 547), 0), ((4011, 4011), 0), ((0x4300, 0x4400), 0)],
)  # fmt: skip
def test_ports(programs: Programs, ports: tuple[int, int], is_message: int) -> None:
    found = counted(programs, frame_of(message(OFFER), ports))
    assert found == ("offer" if is_message else None)


def test_udp_length(programs: Programs) -> None:
    """Bytes behind it are not the message's; one that is too long ends with the packet."""
    frame = frame_of(message(PAD + OFFER + END))
    needed = 8 + 240 + 1 + 3
    for length in (*range(12), needed - 1, needed, needed + 1, 65535):
        expected = None if length <= 8 else "offer" if length >= needed else "other"
        assert counted(programs, patched(frame, UDP_AT + 4, length)) == expected, length


def test_ip_total_length(programs: Programs) -> None:
    frame = frame_of(message(PAD + OFFER + END))
    needed = 20 + 8 + 240 + 1 + 3
    for length in (1, 19, 20, 27, 28, 29, needed - 1, needed, needed + 1, 65535):
        expected = None if length <= 28 else "offer" if length >= needed else "other"
        assert counted(programs, patched(frame, IP_AT + 2, length)) == expected, length
    assert counted(programs, patched(frame, IP_AT + 2, 0)) == "offer"  # as offloads leave it


def test_cut_anywhere(programs: Programs) -> None:
    whole = frame_of(message(OFFER))
    for length in range(34, len(whole) + 1):
        expected = None if length <= 42 else "offer" if length == len(whole) else "other"
        assert counted(programs, whole[:length]) == expected, length


def test_fragments(programs: Programs) -> None:
    """The first says what it is as far as it goes; the others have no ports."""
    whole = datagram(message(OFFER))
    first = ipv4(SENDER, TO_ALL, PROTO_UDP, whole, more_fragments=True)
    short = ipv4(SENDER, TO_ALL, PROTO_UDP, whole[:200], more_fragments=True)
    later = ipv4(SENDER, TO_ALL, PROTO_UDP, whole, fragment_offset=1)
    for packet, expected in ((first, "offer"), (short, "other"), (later, None)):
        frame = ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4)
        assert counted(programs, frame) == expected


@pytest.mark.parametrize("first_byte", [0x00, 0x40, 0x44, 0x46, 0x4F, 0x55, 0x65], ids=hex)
def test_ip_headers_that_lie(programs: Programs, first_byte: int) -> None:
    frame = frame_of(message(OFFER))
    assert counted(programs, frame[:14] + bytes((first_byte,)) + frame[15:]) is None


def test_wrong_checksums_do_not_hide_it(programs: Programs) -> None:
    frame = patched(patched(frame_of(message(OFFER)), IP_AT + 10, 1), UDP_AT + 6, 1)
    assert counted(programs, frame) == "offer"


def test_other_protocols_on_those_ports(programs: Programs) -> None:
    v6 = ipv6("fe80::1", "ff02::1", PROTO_UDP, udp("fe80::1", "ff02::1", 67, 68, message(OFFER)))
    assert counted(programs, ethernet(BROADCAST, GUEST_MAC, v6, 0x86DD)) is None
    segment = tcp(SENDER, TO_ALL, 67, 68, message(OFFER))
    v4 = ipv4(SENDER, TO_ALL, PROTO_TCP, segment)
    assert counted(programs, ethernet(BROADCAST, GUEST_MAC, v4, ETHERTYPE_IPV4)) is None


@pytest.mark.parametrize(
    ("oui", "expected"), [("000000", "offer"), ("0000f8", "offer"), ("00000c", None)]
)
def test_behind_snap(programs: Programs, oui: str, expected: str | None) -> None:
    """IP may be sent so (RFC 1042), and some guests listen to it."""
    packet = ipv4(SENDER, TO_ALL, PROTO_UDP, datagram(message(OFFER)))
    frame = ethernet(BROADCAST, GUEST_MAC, snap(bytes.fromhex(oui), 0x0800, packet))
    assert counted(programs, frame) == expected


@pytest.mark.parametrize("kind", DhcpType)
def test_rogue_servers(programs: Programs, kind: DhcpType) -> None:
    """Only a server offers, acknowledges or refuses; it may hide behind other options."""
    for before in (b"", option(54, bytes(4)) + PAD):
        programs.configure(rogue_dhcp="drop")
        programs.add()
        is_server = kind in (DhcpType.OFFER, DhcpType.ACK, DhcpType.NAK)
        assert programs.check(FROM_GUEST, dhcp(kind, before=before)) == is_server
        assert programs.counts()[0]["dropped.rogue_dhcp"] == is_server


def of_op(op: int, frame: bytes) -> bytes:
    """A message of another op: 1 is a client's, 2 a server's."""
    return frame[:42] + bytes((op,)) + frame[43:]


REPLIES = {
    "no type": message(END),
    "no options": message(b""),
    "no cookie": message(OFFER).replace(MAGIC, bytes(4)),
    "cut": message(OFFER)[:100],
    "one byte": b"\x02",
    "a request": message(option(OPTION_TYPE, b"\x03")),
    "a request, then an ack": message(option(OPTION_TYPE, b"\x03") + ACK),
    "hidden and doubled": message(
        overload(3) + END, file=option(OPTION_TYPE, b"\x01"), sname=OFFER
    ),
    "of type 9": message(option(OPTION_TYPE, b"\x09")),  # DHCPFORCERENEW, RFC 3203
    "beyond the search": message(PAD * 1800 + OFFER),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_a_server_s_whatever_its_type(programs: Programs, name: str) -> None:
    """BOOTP's op (RFC 951) says it too, and a client may look at nothing else."""
    programs.configure(rogue_dhcp="drop")
    programs.add()
    reply = frame_of(REPLIES[name])
    assert programs.check(FROM_GUEST, of_op(2, reply))
    assert programs.counts()[0]["dhcp_server"] == 1
    for op in (0, 1, 3, 255):
        assert not programs.check(FROM_GUEST, of_op(op, reply)), op
    assert programs.counts()[0]["dhcp_server"] == 1


@pytest.mark.parametrize("kind", [DhcpType.OFFER, DhcpType.ACK, DhcpType.NAK])
def test_a_server_s_type_is_a_server_s_whatever_its_op(programs: Programs, kind: DhcpType) -> None:
    programs.configure(rogue_dhcp="drop")
    programs.add()
    for op in (0, 1, 2, 3, 255):
        assert programs.check(FROM_GUEST, of_op(op, dhcp(kind))), op
    assert programs.counts()[0]["dhcp_server"] == 5
