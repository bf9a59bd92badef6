# SPDX-License-Identifier: Apache-2.0
"""The builders' frames, read by somebody else's decoder."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.harness.dhcp import DhcpType, Where, dhcp, option
from tests.harness.frames import (
    BROADCAST,
    GUEST_MAC,
    TPID_C,
    TPID_S,
    Bpdu,
    all_bpdus,
    ethernet,
    not_bpdus,
)
from tests.harness.packets import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTO_ICMP,
    PROTO_TCP,
    PROTO_UDP,
    arp,
    icmp_echo,
    ipv4,
    ipv6,
    tcp,
    udp,
)

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

CHECKED = ("ip.check_checksum", "udp.check_checksum", "tcp.check_checksum")


def decoded(tmp_path: Path, frames: Iterable[bytes], *fields: str) -> list[list[str]]:
    """One row a frame: the fields as tshark reads them, from the innermost last."""
    capture = tmp_path / "frames.pcap"
    records = [struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for frame in frames:
        records.append(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame)
    capture.write_bytes(b"".join(records))
    command = ["tshark", "-r", str(capture), "-T", "fields"]
    for name in CHECKED:
        command += ["-o", f"{name}:TRUE"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_bpdus_are_what_they_say(tmp_path: Path) -> None:
    rows = decoded(tmp_path, all_bpdus().values(), "stp.version", "stp.type", "_ws.malformed")
    assert dict(zip(Bpdu, rows, strict=True)) == {
        Bpdu.STP: ["0", "0x00", ""],
        Bpdu.TCN: ["0", "0x80", ""],
        Bpdu.RSTP: ["2", "0x02", ""],
        Bpdu.MSTP: ["3", "0x02", ""],
        Bpdu.SPB: ["4", "0x02", ""],
        Bpdu.PROVIDER: ["2", "0x02", ""],
        Bpdu.PVST: ["0", "0x00", ""],
        Bpdu.RPVST: ["2", "0x02", ""],
        Bpdu.VLAN_BRIDGE: ["0", "0x00", ""],
    }


def test_tags_are_in_order(tmp_path: Path) -> None:
    frames = all_bpdus(tags=((TPID_S, 20, 0), (TPID_C, 100, 3))).values()
    rows = decoded(tmp_path, frames, "ieee8021ad.id", "vlan.id", "vlan.priority")
    assert rows == [["20", "100", "3"]] * len(Bpdu)


def test_neighbours_are_no_bpdus(tmp_path: Path) -> None:
    rows = decoded(tmp_path, not_bpdus().values(), "frame.len", "stp.version")
    assert rows == [[str(len(frame)), ""] for frame in not_bpdus().values()]


@pytest.mark.parametrize("where", ["options", "file", "sname"])
@pytest.mark.parametrize("pads", [0, 5])
def test_a_dhcp_type_is_found_wherever_it_is(tmp_path: Path, where: Where, pads: int) -> None:
    frames = [
        dhcp(kind, where=where, pads=pads, before=option(61, b"\1client")) for kind in DhcpType
    ]
    fields = ("dhcp.option.dhcp", "dhcp.option.option_overload", "udp.checksum.status")
    overload = {"options": "", "file": "1", "sname": "2"}[where]
    rows = decoded(tmp_path, frames, *fields)
    assert rows == [[str(int(kind)), overload, "1"] for kind in DhcpType]


def test_checksums_are_right(tmp_path: Path) -> None:
    v4, v6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")

    def on_ipv4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
        packet = ipv4(*v4, protocol, payload, options=options)
        return ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4)

    def on_ipv6(protocol: int, payload: bytes) -> bytes:
        return ethernet(BROADCAST, GUEST_MAC, ipv6(*v6, protocol, payload), ETHERTYPE_IPV6)

    frames = [
        on_ipv4(PROTO_UDP, udp(*v4, 1, 2, b"odd")),
        on_ipv4(PROTO_TCP, tcp(*v4, 1, 2, b"even")),
        on_ipv4(PROTO_UDP, udp(*v4, 1, 2, b""), options=b"\x94\x04\x00\x00\x01"),
        on_ipv4(PROTO_ICMP, icmp_echo(1, 2, b"x")),
        on_ipv6(PROTO_UDP, udp(*v6, 1, 2, b"odd")),
        on_ipv6(PROTO_TCP, tcp(*v6, 1, 2, b"even")),
        arp(GUEST_MAC, *v4),
        arp(GUEST_MAC, *v4, dst_mac=BROADCAST),
    ]
    status = [f"{name}.checksum.status" for name in ("ip", "udp", "tcp", "icmp")]
    rows = decoded(tmp_path, frames, *status, "arp.opcode")
    assert rows == [
        ["1", "1", "", "", ""],
        ["1", "", "1", "", ""],
        ["1", "1", "", "", ""],
        ["1", "", "", "1", ""],
        ["", "1", "", "", ""],
        ["", "", "1", "", ""],
        ["", "", "", "", "1"],
        ["", "", "", "", "2"],
    ]
