# SPDX-License-Identifier: Apache-2.0
"""Layer 2 frames as bytes: tags, LLC, SNAP, every BPDU, and what only looks like one.

Pure and without a library, so that what a test sends is spelled out here and
nowhere else. IP lives in packets.py, DHCP in dhcp.py.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import StrEnum

MINIMUM_BYTES = 60  # without the FCS; IEEE 802.3 § 4A.4.2
BROADCAST = "ff:ff:ff:ff:ff:ff"
BRIDGE_GROUP = "01:80:c2:00:00:00"  # IEEE 802.1D table 7-10
PROVIDER_BRIDGE_GROUP = "01:80:c2:00:00:08"  # IEEE 802.1ad
PVST_GROUP = "01:00:0c:cc:cc:cd"
CISCO_GROUP = "01:00:0c:cc:cc:cc"
VLAN_BRIDGE_GROUP = "01:00:0c:cd:cd:ce"

TPID_C, TPID_S, TPID_OLD = 0x8100, 0x88A8, 0x9100
CISCO_OUI = bytes.fromhex("00000c")
LLC_BRIDGE = bytes.fromhex("424203")
# Format, name, revision, digest (IEEE 802.1Q § 13.8).
MST_IDENTIFIER = b"\0" + b"region".ljust(32, b"\0") + struct.pack("!H", 1) + bytes(16)
GUEST_MAC = "fa:16:3e:00:00:99"

Tag = tuple[int, int, int]  # TPID, VID, priority


class Bpdu(StrEnum):
    """Every bridge protocol data unit that may trip a guard."""

    STP = "stp"
    TCN = "tcn"
    RSTP = "rstp"
    MSTP = "mstp"
    SPB = "spb"
    PROVIDER = "provider"
    PVST = "pvst"
    RPVST = "rpvst"
    VLAN_BRIDGE = "vlan_bridge"


def mac_bytes(mac: str) -> bytes:
    """Six bytes of an address written with colons. Raises ValueError."""
    octets = bytes.fromhex(mac.replace(":", ""))
    if len(octets) != 6:
        raise ValueError(f"{mac!r} is no MAC address")
    return octets


def mac_text(octets: bytes) -> str:
    """An address as it is written: lower case, with colons."""
    return octets.hex(":")


def padded(frame: bytes, to_bytes: int = MINIMUM_BYTES) -> bytes:
    """The frame, filled with zeros to Ethernet's minimum."""
    return frame.ljust(to_bytes, b"\0")


def vlan_tags(tags: Sequence[Tag]) -> bytes:
    """The bytes between the source address and the type, outermost tag first."""
    return b"".join(
        struct.pack("!HH", tpid, priority << 13 | vid & 0xFFF) for tpid, vid, priority in tags
    )


def ethernet(
    dst: str,
    src: str,
    payload: bytes,
    ethertype: int | None = None,
    tags: Sequence[Tag] = (),
    *,
    pad: bool = True,
) -> bytes:
    """Ethernet II with `ethertype`, or, without one, 802.3 with the payload's length."""
    type_or_length = len(payload) if ethertype is None else ethertype
    frame = (
        mac_bytes(dst)
        + mac_bytes(src)
        + vlan_tags(tags)
        + struct.pack("!H", type_or_length)
        + payload
    )
    return padded(frame) if pad else frame


def llc(payload: bytes, dsap: int = 0x42, ssap: int = 0x42, control: int = 0x03) -> bytes:
    """IEEE 802.2 header with an 8-bit control field (UI unless told)."""
    return bytes((dsap, ssap, control)) + payload


def snap(oui: bytes, protocol: int, payload: bytes) -> bytes:
    """LLC/SNAP header: aa aa 03, organisation, protocol."""
    return llc(oui + struct.pack("!H", protocol) + payload, 0xAA, 0xAA)


def bridge_id(mac: str, priority: int = 0) -> bytes:
    """Priority and address (IEEE 802.1D § 9.2.5)."""
    return struct.pack("!H", priority) + mac_bytes(mac)


def config_body(mac: str, version: int = 0, kind: int = 0x00, flags: int = 0) -> bytes:
    """35 bytes of a configuration BPDU whose sender claims to be root (IEEE 802.1D § 9.3.1)."""
    seconds = 256  # times are in 1/256 s
    return (
        struct.pack("!HBBB", 0, version, kind, flags)
        + bridge_id(mac)
        + struct.pack("!I", 0)
        + bridge_id(mac)
        + struct.pack("!HHHHH", 0x8001, 0, 20 * seconds, 2 * seconds, 15 * seconds)
    )


def mst_body(mac: str, version: int = 3) -> bytes:
    """An MST BPDU without further instances (IEEE 802.1Q § 14.3.1)."""
    instance = MST_IDENTIFIER + struct.pack("!I", 0) + bridge_id(mac) + b"\x14"
    return (
        config_body(mac, version, 0x02, 0x7C) + b"\0" + struct.pack("!H", len(instance)) + instance
    )


def spb_body(mac: str) -> bytes:
    """An SPT BPDU: an MST BPDU with an auxiliary identifier and an agreement behind."""
    agreement = bytes((0x10, 0x02)) + bytes(12) + bytes(20)
    behind = MST_IDENTIFIER + agreement
    return mst_body(mac, version=4) + struct.pack("!H", len(behind)) + behind


def bpdu(
    kind: Bpdu, src: str = GUEST_MAC, tags: Sequence[Tag] = (), vid: int = 1, dst: str | None = None
) -> bytes:
    """One BPDU of the kind, superior to any sane bridge's. `vid` is what PVST+ speaks for."""
    of_vlan = b"\0" + struct.pack("!HHH", 0, 2, vid)
    body, usual_dst = {
        Bpdu.STP: (llc(config_body(src)), BRIDGE_GROUP),
        Bpdu.TCN: (llc(bytes((0, 0, 0, 0x80))), BRIDGE_GROUP),
        Bpdu.RSTP: (llc(config_body(src, 2, 0x02, 0x3C) + b"\0"), BRIDGE_GROUP),
        Bpdu.MSTP: (llc(mst_body(src)), BRIDGE_GROUP),
        Bpdu.SPB: (llc(spb_body(src)), BRIDGE_GROUP),
        Bpdu.PROVIDER: (llc(config_body(src, 2, 0x02, 0x3C) + b"\0"), PROVIDER_BRIDGE_GROUP),
        Bpdu.PVST: (snap(CISCO_OUI, 0x010B, config_body(src) + of_vlan), PVST_GROUP),
        Bpdu.RPVST: (
            snap(CISCO_OUI, 0x010B, config_body(src, 2, 0x02, 0x3C) + of_vlan),
            PVST_GROUP,
        ),
        Bpdu.VLAN_BRIDGE: (snap(CISCO_OUI, 0x010C, config_body(src)), VLAN_BRIDGE_GROUP),
    }[kind]
    return ethernet(dst or usual_dst, src, body, tags=tags)


def all_bpdus(src: str = GUEST_MAC, tags: Sequence[Tag] = ()) -> dict[Bpdu, bytes]:
    """One of each kind."""
    return {kind: bpdu(kind, src, tags) for kind in Bpdu}


def not_bpdus(src: str = GUEST_MAC, tags: Sequence[Tag] = ()) -> dict[str, bytes]:
    """Frames that sit close to BPDUs by address, LLC or maker, and are none."""

    def typed(last: int, ethertype: int, payload: bytes) -> bytes:
        return ethernet(f"01:80:c2:00:00:{last:02x}", src, payload, ethertype, tags)

    def framed(dst: str, payload: bytes) -> bytes:
        return ethernet(dst, src, payload, tags=tags)

    def cisco(protocol: int, payload: bytes) -> bytes:
        return framed(CISCO_GROUP, snap(CISCO_OUI, protocol, payload))

    port_name = b"\x05" + b"eth0"
    lldp = (
        struct.pack("!HB", 1 << 9 | 7, 4)
        + mac_bytes(src)
        + struct.pack("!H", 2 << 9 | len(port_name))
        + port_name
        + struct.pack("!HHH", 3 << 9 | 2, 120, 0)
    )
    # GARP (IEEE 802.1D § 12.10): protocol 0001, one attribute, end marks.
    garp = llc(bytes.fromhex("0001 01 04 02 0064 00 00"))
    mrp = bytes.fromhex("00 01 02 0001 0064 6c 0000 0000")
    return {
        "lldp": typed(0x0E, 0x88CC, lldp),
        "lacp": typed(0x02, 0x8809, bytes((1, 1, 1, 20)) + bytes(106)),
        "marker": typed(0x02, 0x8809, bytes((2, 1, 1, 16)) + bytes(106)),
        "eapol": typed(0x03, 0x888E, bytes((1, 1, 0, 0))),
        "pause": typed(0x01, 0x8808, struct.pack("!HH", 1, 0xFFFF)),
        "mvrp": typed(0x21, 0x88F5, mrp),
        "mvrp_provider": typed(0x0D, 0x88F5, mrp),
        "mmrp": typed(0x20, 0x88F6, mrp),
        "gmrp": framed("01:80:c2:00:00:20", garp),
        "gvrp": framed("01:80:c2:00:00:21", garp),
        "gvrp_provider": framed("01:80:c2:00:00:0d", garp),
        "cdp": cisco(0x2000, bytes.fromhex("02b4 0000 0001 0008 67756573")),
        "vtp": cisco(0x2003, bytes((1, 1, 0, 4)) + b"corp".ljust(32, b"\0")),
        "dtp": cisco(0x2004, bytes.fromhex("01 0001 0005 00 0002 0005 03")),
        "pagp": cisco(0x0104, bytes((1, 0)) + bytes(20)),
        "udld": cisco(0x0111, bytes.fromhex("21 00 0000 0001 0008 67756573")),
        "llc_xid": framed(BRIDGE_GROUP, llc(bytes((0x81, 1, 0)), control=0xAF)),
        "llc_test": framed(BRIDGE_GROUP, llc(b"hello", control=0xE3)),
        "netbios": framed("03:00:00:00:00:01", llc(bytes.fromhex("2c00ffef08"), 0xF0, 0xF0)),
        "ipx": framed(BROADCAST, llc(b"\xff\xff" + bytes(28), 0xE0, 0xE0)),
    }
