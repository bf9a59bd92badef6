# SPDX-License-Identifier: Apache-2.0
"""Captures: frames out of a file, and what tshark counts in them.

tshark opens tunnels and counts what it finds inside as well; a switch does
not, so only the outermost headers are read off its list of protocols.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from tests.harness.model import Counts
from tests.harness.model_frame import reaches_tc
from tests.harness.model_ip6 import TYPES

ETHERNET = 1  # LINKTYPE_ETHERNET
PCAP_MAGIC = {
    bytes.fromhex("d4c3b2a1"): "<",
    bytes.fromhex("4d3cb2a1"): "<",  # nanoseconds
    bytes.fromhex("a1b2c3d4"): ">",
    bytes.fromhex("a1b23c4d"): ">",
}
FIELDS = (
    *("frame.protocols", "stp.protocol", "stp.version", "stp.type", "llc.cisco_pid"),
    *("ieee8021ad.svid", "dhcp.option.dhcp", "dhcpv6.msgtype"),
)
STP_KINDS = {(0, 0): "stp", (0, 0x80): "stp", (2, 2): "rstp", (3, 2): "mstp"}
DHCP_NAMES = ("discover", "offer", "request", "decline", "ack", "nak", "release", "inform")
GARP = {"gvrp", "gmrp"}
TAGS = {"vlan", "ieee8021ad"}
UNREAD = "unread"  # a BPDU that is cut off: tshark says that it is one, and not which
EXTENSIONS = {"ipv6.hopopts", "ipv6.routing", "ipv6.fraghdr", "ipv6.dstopts", "ah"}
COMPARED = ("bpdu.", "vlan_", "dhcp.", "dhcp6.")


class CaptureError(Exception):
    """A capture that cannot be replayed through a tap; says why."""


def read_frames(path: Path) -> list[bytes]:
    """Every frame of a capture of Ethernet, as far as it was captured.

    Raises CaptureError for another link type and for a file that is none.
    """
    data = path.read_bytes()
    if data and data[:4] not in PCAP_MAGIC:
        data = _as_pcap(path)
    order = PCAP_MAGIC.get(data[:4])
    if order is None or len(data) < 24:
        raise CaptureError("no capture")
    (link_type,) = struct.unpack_from(f"{order}I", data, 20)
    if link_type & 0xFFFF != ETHERNET:
        raise CaptureError(f"link type {link_type & 0xFFFF}, not Ethernet")
    return list(_records(data, order))


def _records(data: bytes, order: str) -> Iterator[bytes]:
    at, header = 24, struct.Struct(f"{order}IIII")
    while at + header.size <= len(data):
        captured_bytes = header.unpack_from(data, at)[2]
        at += header.size
        if at + captured_bytes > len(data):
            return
        yield data[at : at + captured_bytes]
        at += captured_bytes


def _as_pcap(path: Path) -> bytes:
    """A file of any other format that tshark reads."""
    with tempfile.NamedTemporaryFile(suffix=".pcap") as plain:
        done = subprocess.run(
            ["tshark", "-r", str(path), "-F", "pcap", "-w", plain.name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CaptureError(f"no capture: {done.stderr.strip()[-80:]}")
        return Path(plain.name).read_bytes()


def write_pcap(path: Path, frames: Sequence[bytes]) -> None:
    """A capture of these frames."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, ETHERNET))
        for number, frame in enumerate(frames):
            file.write(struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame)


@dataclass(frozen=True, slots=True)
class Dissected:
    """One frame as tshark reads its outermost headers; `inside`: more of ours in a tunnel."""

    tags: int
    bpdu: str | None
    dhcp: str | None
    dhcp6: str | None
    inside: bool


def dissect(path: Path) -> list[Dissected]:
    """What tshark says of each frame. Raises CaptureError where it fails."""
    fields = [word for field in FIELDS for word in ("-e", field)]
    # A frame of a fragmented datagram is read by itself, as a port reads it.
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-o", "ip.defragment:FALSE",
         "-o", "ipv6.defragment:FALSE", "-T", "fields", "-E", "occurrence=f", *fields],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0 and not done.stdout:
        raise CaptureError(f"tshark: {done.stderr.strip()[-80:]}")
    return [_dissected(line.split("\t")) for line in done.stdout.splitlines()]


def _dissected(columns: list[str]) -> Dissected:
    protocols = [name for name in columns[0].split(":") if name != "ethertype"]
    all_of_ours = sum(name in {"stp", "dhcp", "dhcpv6", *TAGS} for name in protocols)
    tags, at = 0, 1
    while at < len(protocols) and protocols[at] in TAGS:
        tags += 1
        at += 1
    rest = protocols[at:]
    if rest[:1] == ["llc"] and rest[1:2] != ["stp"]:
        rest = rest[1:]  # a type behind SNAP
        tags += rest[:1] != [] and rest[0] in TAGS
    counted = tags
    tags += bool(columns[5]) and "ieee8021ad" in protocols[:at]  # two tags in one
    bpdu = dhcp = dhcp6 = None
    if rest[:1] == ["stp"] or rest[:2] == ["llc", "stp"]:
        counted += 1
        bpdu = None if GARP & set(rest) else _bpdu_kind(columns)
    if rest[:3] == ["ip", "udp", "dhcp"]:
        counted += 1
        kind = int(columns[6] or 0)
        dhcp = DHCP_NAMES[kind - 1] if 1 <= kind <= 8 else "other"
    if rest[:1] == ["ipv6"] and _without_extensions(rest[1:])[:2] == ["udp", "dhcpv6"]:
        counted += 1
        kind = int(columns[7] or 0)
        dhcp6 = TYPES[kind] if kind < len(TYPES) else "other"
    return Dissected(tags, bpdu, dhcp, dhcp6, inside=all_of_ours > counted)


def _without_extensions(protocols: list[str]) -> list[str]:
    return list(dropwhile(lambda name: name in EXTENSIONS, protocols))


def _bpdu_kind(columns: list[str]) -> str:
    if columns[4]:
        return "pvst"
    if not columns[3]:
        return UNREAD
    if int(columns[1] or "0", 0):
        return "other"
    return STP_KINDS.get((int(columns[2] or "0", 0), int(columns[3], 0)), "other")


def expected_counts(frames: Sequence[bytes], dissected: Sequence[Dissected]) -> Counts:
    """tshark's findings as the counters that a tap should have, of what a tap hands on."""
    counts: Counts = Counter()
    for frame, found in zip(frames, dissected, strict=True):
        if not reaches_tc(frame):
            continue
        counts["vlan_tagged"] += found.tags > 0
        counts["vlan_nested"] += found.tags > 1
        if found.bpdu:
            counts[f"bpdu.{found.bpdu}"] += 1
        if found.dhcp:
            counts[f"dhcp.{found.dhcp}"] += 1
        if found.dhcp6:
            counts[f"dhcp6.{found.dhcp6}"] += 1
    return +counts


def same_terms(ours: Counts, tsharks: Counts) -> tuple[Counts, Counts]:
    """Both, with BPDUs in one sum where tshark could not tell the kind of one."""
    if f"bpdu.{UNREAD}" not in tsharks:
        return ours, tsharks
    summed = []
    for counts in (ours, tsharks):
        total: Counts = Counter()
        for name, number in counts.items():
            total["bpdu" if name.startswith("bpdu.") else name] += number
        summed.append(total)
    return summed[0], summed[1]


def comparable(counts: Counts) -> Counts:
    """Those of a port's counters that tshark has an answer to."""
    return Counter({name: n for name, n in counts.items() if name.startswith(COMPARED)})
