# SPDX-License-Identifier: Apache-2.0
"""Captures replayed through a tap give tshark's counts; where they may not is spelled out."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.captures import (
    CaptureError,
    comparable,
    dissect,
    expected_counts,
    read_frames,
    same_terms,
    write_pcap,
)
from tests.harness.dhcp import END, PAD, DhcpType, dhcp, dhcp_message, option
from tests.harness.dhcp6 import CLIENT, SERVER, Dhcp6Type, dhcp6, dhcp6_message, option6
from tests.harness.frames import (
    BRIDGE_GROUP,
    BROADCAST,
    CISCO_OUI,
    GUEST_MAC,
    PVST_GROUP,
    TPID_C,
    TPID_OLD,
    TPID_S,
    Bpdu,
    Tag,
    all_bpdus,
    bpdu,
    config_body,
    ethernet,
    llc,
    mac_bytes,
    not_bpdus,
    snap,
)
from tests.harness.guarded_tap import GuardedTap
from tests.harness.packets import (
    DESTINATION,
    HOP_BY_HOP,
    PROTO_UDP,
    ROUTER_ALERT,
    Extension,
    arp,
    authentication_header,
    fragment_header,
    ipv4,
    ipv6,
    options_header,
    routing_header,
    udp,
    udp_frame,
)
from tests.harness.programs import difference
from tests.harness.replay import captures_in, replay

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
V4 = ("192.0.2.1", "255.255.255.255")
BODY = config_body(GUEST_MAC)
ARP = arp(GUEST_MAC, "192.0.2.9", "192.0.2.1")[14:]
OFFER = udp(*V4, 67, 68, dhcp_message(2))
OFFER_PACKET = ipv4(*V4, PROTO_UDP, OFFER)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="taps and BPF need root"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]


@pytest.fixture(scope="module")
def tap() -> Iterator[GuardedTap]:
    with GuardedTap() as guarded:
        yield guarded


def tags_of(*tpids: int) -> tuple[Tag, ...]:
    return tuple((tpid, 5 + at, 0) for at, tpid in enumerate(tpids))


@pytest.mark.parametrize(
    "path", captures_in([CAPTURES]) or [pytest.param(None, id="none")], ids=lambda path: path.name
)
def test_shared_captures(path: Path | None, tap: GuardedTap) -> None:
    if path is None:
        pytest.skip(f"no captures in {CAPTURES.name} beside the checkout")
    found = replay(path, tap)
    assert found.gap == ""
    assert found.refused == 0


def framed(payload: bytes, dst: str = BRIDGE_GROUP, ethertype: int | None = None) -> bytes:
    return ethernet(dst, GUEST_MAC, payload, ethertype)


def message(options: bytes) -> bytes:
    payload = dhcp_message(2, where="nowhere", end=False) + options
    return framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, payload)), BROADCAST, 0x0800)


def solicit_behind(*extensions: Extension) -> bytes:
    return dhcp6(Dhcp6Type.SOLICIT, extensions=extensions)


def with_number(frame: bytes, at: int, number: int) -> bytes:
    return frame[:at] + struct.pack("!H", number) + frame[at + 2 :]


ANY_OPTIONS = options_header(DESTINATION)
SOLICIT = dhcp6(Dhcp6Type.SOLICIT)
VXLAN = bytes.fromhex("0800000000000500")
INNER = bpdu(Bpdu.RSTP, tags=tags_of(TPID_C))
SAME = {
    **{f"BPDU {kind}": frame for kind, frame in all_bpdus().items()},
    **{f"tagged BPDU {kind}": frame for kind, frame in all_bpdus(tags=tags_of(TPID_C)).items()},
    **{f"two tags, {kind}": bpdu(kind, tags=tags_of(TPID_S, TPID_C)) for kind in Bpdu},
    **{f"old tags, {kind}": bpdu(kind, tags=tags_of(TPID_OLD, TPID_C)) for kind in Bpdu},
    **not_bpdus(),
    **{f"tagged {name}": frame for name, frame in not_bpdus(tags=tags_of(TPID_C)).items()},
    **{f"DHCP {kind.name}": dhcp(kind) for kind in DhcpType},
    **{f"tagged DHCP {kind.name}": dhcp(kind, tags=tags_of(TPID_S)) for kind in DhcpType},
    "bridged PDU behind SNAP": framed(snap(bytes.fromhex("0080c2"), 0x000E, BODY)),
    "bare BPDU": framed(BODY, ethertype=0x8181),
    "bare BPDU behind SNAP": framed(snap(bytes(3), 0x8181, BODY)),
    "jumbo LLC": framed(llc(BODY), ethertype=0x8870),
    "information frame": framed(llc(b"\0" + BODY, control=0)),
    "any source SAP": framed(llc(BODY, ssap=0)),
    "group DSAP": framed(llc(BODY, dsap=0x43)),
    "BPDU to a station": framed(llc(BODY), "52:54:00:aa:bb:cc"),
    "protocol 1 to a station": framed(llc(b"\0\x01" + BODY[2:]), "52:54:00:aa:bb:cc"),
    "protocol 1 to the bridges": framed(llc(b"\0\x01" + BODY[2:])),
    "GVRP of protocol 2": framed(llc(b"\0\x02" + BODY[2:]), "01:80:c2:00:00:21"),
    "cut BPDU": bpdu(Bpdu.RSTP)[:22],
    "cut PVST+": bpdu(Bpdu.PVST)[:23],
    "PVST+ of another maker": framed(snap(bytes.fromhex("00000b"), 0x010B, BODY), PVST_GROUP),
    "CDP's neighbour": framed(snap(CISCO_OUI, 0x010D, BODY), PVST_GROUP),
    "three tags": ethernet(BROADCAST, GUEST_MAC, ARP, 0x0806, tags_of(TPID_C, TPID_C, TPID_C)),
    "two S tags": ethernet(BROADCAST, GUEST_MAC, ARP, 0x0806, tags_of(TPID_S, TPID_S)),
    "three S tags": ethernet(BROADCAST, GUEST_MAC, ARP, 0x0806, tags_of(TPID_S, TPID_S, TPID_S)),
    "C over S": ethernet(BROADCAST, GUEST_MAC, ARP, 0x0806, tags_of(TPID_C, TPID_S)),
    "no tag": ethernet(BROADCAST, GUEST_MAC, ARP, 0x9200),
    "provider backbone": framed(struct.pack("!I", 5) + INNER, "01:1e:83:00:00:01", 0x88E7),
    "type in file": dhcp(5, where="file", pads=20),
    "type in sname": dhcp(5, where="sname", pads=20),
    "type behind pads": dhcp(5, pads=200),
    "BOOTP": message(END),
    "type 18": message(option(53, b"\x12") + END),
    "types of two bytes": message(option(53, b"\x05\x06") + END),
    "behind an end": message(END + option(53, b"\x05")),
    "lying option": message(b"\x0c\xf0" + option(53, b"\x05")),
    "unterminated": message(option(53, b"\x05")),
    "DHCP behind SNAP": framed(snap(bytes(3), 0x0800, OFFER_PACKET), BROADCAST),
    "DHCP behind 802.1H": framed(snap(bytes.fromhex("0000f8"), 0x0800, OFFER_PACKET), BROADCAST),
    "IP options": dhcp(3, ip_options=b"\x94\x04\0\0"),
    "first fragment": framed(ipv4(*V4, PROTO_UDP, OFFER, more_fragments=True), BROADCAST, 0x0800),
    "later fragment": framed(ipv4(*V4, PROTO_UDP, OFFER, fragment_offset=9), BROADCAST, 0x0800),
    "empty datagram": udp_frame(GUEST_MAC, BROADCAST, *V4, src_port=67, dst_port=68),
    "cut DHCP": dhcp(1)[:200],
    "BPDU in VXLAN": udp_frame(GUEST_MAC, BROADCAST, *V4, dst_port=4789, payload=VXLAN + INNER),
    **{f"DHCPv6 {kind.name}": dhcp6(kind) for kind in Dhcp6Type},
    **{f"tagged DHCPv6 {kind.name}": dhcp6(kind, tags=tags_of(TPID_S)) for kind in Dhcp6Type},
    **{f"DHCPv6 of type {kind}": dhcp6(kind) for kind in (0, 14, 35, 255)},
    "DHCPv6 relayed": dhcp6(12, options=option6(9, dhcp6_message(1))),
    "DHCPv6, hop-by-hop": solicit_behind(options_header(HOP_BY_HOP, ROUTER_ALERT)),
    "DHCPv6, routing": solicit_behind(routing_header()),
    "DHCPv6, authentication": solicit_behind(authentication_header()),
    "DHCPv6, first fragment": solicit_behind(fragment_header()),
    "DHCPv6, later fragment": solicit_behind(fragment_header(9)),
    "DHCPv6, six extensions": solicit_behind(*(ANY_OPTIONS,) * 6),
    "DHCPv6 behind SNAP": framed(snap(bytes(3), 0x86DD, SOLICIT[14:]), BROADCAST),
    "DHCPv6, cut": SOLICIT[:63],
    "DHCPv6, cut before its type": SOLICIT[:62],
    "DHCPv6, UDP length 0": with_number(SOLICIT, 58, 0),
    "DHCPv6, UDP length 8": with_number(SOLICIT, 58, 8),
    "DHCPv6, payload length 0": with_number(SOLICIT, 18, 0),
    "DHCPv6 of IP version 5": SOLICIT[:14] + b"\x50" + SOLICIT[15:],
    "DHCP in DNS": framed(ipv4(*V4, PROTO_UDP, udp(*V4, 53, 5353, OFFER)), BROADCAST, 0x0800),
}  # fmt: skip


ISL = (
    bytes.fromhex("01000c0000") + b"\0" + mac_bytes(GUEST_MAC) + struct.pack("!H", 86)
    + bytes.fromhex("aaaa0300000c") + struct.pack("!HHH", 5 << 1 | 1, 0, 0)
    + bpdu(Bpdu.STP) + bytes(4)
)  # fmt: skip
# Frame, and what we count more (+) or less (-) than tshark. The reasons: docs/counting.md.
DIFFERENT = {
    "length of 0": (framed(llc(BODY), ethertype=0), "bpdu.stp +1"),
    "length of 2": (framed(llc(BODY), ethertype=2), "bpdu.stp +1"),
    "length that is none": (framed(llc(BODY), ethertype=1501), "bpdu.stp +1"),
    "poll bit": (framed(llc(BODY, control=0x13)), "bpdu.stp +1"),
    "STP to provider's GVRP": (framed(llc(BODY), "01:80:c2:00:00:0d"), "bpdu.stp +1"),
    "BPDU under an S tag alone": (bpdu(Bpdu.STP, tags=tags_of(TPID_S)), "bpdu.stp +1"),
    "five tags": (bpdu(Bpdu.STP, tags=tags_of(*(TPID_C,) * 5)), "bpdu.stp -1"),
    "half an inner tag": (
        ethernet(BROADCAST, GUEST_MAC, b"", TPID_C, tags_of(TPID_C), pad=False).ljust(20, b"\0"),
        "vlan_nested -1"),
    "tag behind SNAP": (
        framed(snap(bytes(3), TPID_C, b"\0\x05\x08\x06" + ARP), BROADCAST), "vlan_tagged -1"),
    "PXE": (
        framed(ipv4(*V4, PROTO_UDP, udp(*V4, 4011, 4011, dhcp_message(5))), BROADCAST, 0x0800),
        "dhcp.ack -1"),
    "a port of both": (
        framed(ipv4(*V4, PROTO_UDP, udp(*V4, 67, 53, dhcp_message(2))), BROADCAST, 0x0800),
        "dhcp.offer +1"),
    "empty option 53 first": (
        message(option(53, b"") + option(53, b"\x05")), "dhcp.ack +1, dhcp.other -1"),
    "beyond the search": (
        message(PAD * 1400 + option(53, b"\x05")), "dhcp.ack -1, dhcp.other +1"),
    "seven extensions": (solicit_behind(*(ANY_OPTIONS,) * 7), "dhcp6.solicit -1"),
    "DHCPv6 over IPv4": (
        framed(ipv4(*V4, PROTO_UDP, udp(*V4, 546, 547, dhcp6_message(1))), BROADCAST, 0x0800), ""),
    "a port of both over IPv6": (
        framed(ipv6(CLIENT, SERVER, PROTO_UDP, udp(CLIENT, SERVER, 546, 53, dhcp6_message(1))),
               BROADCAST, 0x86DD), "dhcp6.solicit +1"),
    "ISL": (ISL, ""),
    "DHCP's ports in IPv6": (
        framed(ipv6("fe80::1", "ff02::1", PROTO_UDP,
                    udp("fe80::1", "ff02::1", 67, 68, dhcp_message(2))), BROADCAST, 0x86DD), ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def gaps(tap: GuardedTap, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For each frame what we count otherwise than tshark, which reads them all at once."""
    frames = SAME | {name: frame for name, (frame, _) in DIFFERENT.items()}
    path = tmp_path_factory.mktemp("captures") / "all.pcap"
    write_pcap(path, list(frames.values()))
    found = {}
    for (name, frame), dissected in zip(frames.items(), dissect(path), strict=True):
        before = tap.settled()
        assert tap.write(frame), name
        counted = comparable(tap.settled() - before)
        found[name] = difference(*same_terms(counted, expected_counts([frame], [dissected])))
    return found


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_tshark(name: str, gaps: dict[str, str]) -> None:
    assert gaps[name] == ""


@pytest.mark.parametrize("name", DIFFERENT)
def test_differences_are_those_that_are_documented(name: str, gaps: dict[str, str]) -> None:
    assert gaps[name] == DIFFERENT[name][1]


def test_tunnels_are_not_opened(tap: GuardedTap, tmp_path: Path) -> None:
    path = tmp_path / "tunnel.pcap"
    write_pcap(path, [SAME["BPDU in VXLAN"]])
    found = replay(path, tap)
    assert (found.inside, found.ours) == (1, {})


def test_what_a_tap_does_not_take_is_said(tap: GuardedTap, tmp_path: Path) -> None:
    path = tmp_path / "runts.pcap"
    write_pcap(path, [bytes(13), SAME["three tags"][:19], SAME["three tags"]])
    found = replay(path, tap)
    assert (found.frames, found.refused, found.gap) == (3, 2, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no capture"),
        (b"not a capture at all", "no capture"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113"),
        (bytes.fromhex("0a0d0d0a") + bytes(20), "no capture"),
    ],
)
def test_files_that_are_none(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=reason):
        read_frames(path)


@pytest.mark.parametrize("order", "<>")
def test_byte_orders_and_files_cut_short(order: str, tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    head = struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack(f"{order}IIII", 0, 0, 20, 20) + bytes(20)
    path.write_bytes(head + record + record[:-1])
    assert read_frames(path) == [bytes(20)]
