# SPDX-License-Identifier: Apache-2.0
"""A million mutated DHCPv4 messages: no exception, and no difference to dpkt and scapy
but those that tests/harness/dhcp_differences.py names with the RFC that settles them.
"""

from __future__ import annotations

import ipaddress
import logging
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import dpkt
import pytest

from sentinel.dhcp.message4 import Message4, decode4
from sentinel.dhcp.reading import read_step
from tests.harness.captures import DHCP_NAMES
from tests.harness.dhcp_differences import DIFFERENCES, Seen, assert_bounded, record_of, shares
from tests.harness.dhcp_seeds import mutants, seeds4
from tests.harness.model_frame import SEARCHED_BYTES, read_frame

MESSAGES = 1_000_000
WITH_SCAPY = 40_000
OPTIONS_AT = 240
COOKIE = bytes.fromhex("63825363")
KERNEL_NAMES: Final[dict[int | None, str]] = dict(enumerate(DHCP_NAMES, 1))


# dpkt, DHCPv4


def dpkt_options(payload: bytes, seen: Seen) -> list[tuple[int, bytes]]:
    """What dpkt finds; of a last code without a length it makes an IndexError."""
    try:
        found = dpkt.dhcp.DHCP(payload)
    except IndexError:
        seen.need("no_length")
        found = dpkt.dhcp.DHCP(payload[:-1])
    return [(code, bytes(value)) for code, value in found.opts]


def dpkt_in_order(payload: bytes, seen: Seen) -> dict[int, bytes]:
    """dpkt's options, put right: overload followed, parts put together."""
    options = dpkt_options(payload, seen)
    overload = [value[0] for code, value in options if code == 52 and value][-1:]
    for bit, begin, end in ((1, 108, 236), (2, 44, 108)):
        if overload and overload[0] & bit:
            seen.need("overload")
            options += dpkt_options(payload[:OPTIONS_AT] + payload[begin:end], seen)
    together: dict[int, bytes] = {}
    for code, value in options:
        if code in together:
            seen.need("parts")
        together[code] = together.get(code, b"") + value
    return together


def compare_dpkt(payload: bytes, ours: Message4 | None, seen: Seen) -> None:
    if len(payload) < OPTIONS_AT:
        with pytest.raises(dpkt.NeedData):
            dpkt.dhcp.DHCP(payload)
        assert (ours is None) == (len(payload) < 236)
        assert ours is None or (ours.options == {} and ours.type is None)
        return
    assert ours is not None
    if payload[236:OPTIONS_AT] != COOKIE:
        seen.need("no_cookie")
        assert (ours.options, ours.type, ours.has_cookie) == ({}, None, False)
        return
    found = dpkt.dhcp.DHCP(payload[:OPTIONS_AT])
    assert (ours.op, ours.hardware_type, ours.hardware_bytes) == (found.op, found.hrd, found.hln)
    assert (ours.hops, ours.xid, ours.secs) == (found.hops, found.xid, found.secs)
    assert ours.is_broadcast == bool(found.flags & 0x8000)
    for address in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
        assert getattr(ours, address) == dotted(getattr(found, address))
    chaddr = bytes(found.chaddr)
    if found.hrd == 1 and found.hln != 6:
        seen.need("hlen")
        chaddr = payload[28:34]
    assert ours.chaddr == chaddr
    options = dpkt_in_order(payload, seen)
    assert ours.options == options
    assert_values(ours, options)


@cache
def dotted(number: int) -> str:
    return str(ipaddress.IPv4Address(number))


def assert_values(ours: Message4, options: dict[int, bytes]) -> None:
    """What an option's bytes mean: a type is one byte, addresses and times are four."""
    assert ours.type == (options[53][0] if options.get(53) else None)
    for code, value in ((50, ours.requested), (54, ours.server_identifier)):
        assert value == (dotted(word(options[code])) if len(options.get(code, b"")) > 3 else None)
    for code, time in ((51, ours.lease_s), (58, ours.renewal_s), (59, ours.rebinding_s)):
        assert time == (word(options[code]) if len(options.get(code, b"")) > 3 else None)
    assert ours.client_id == (options.get(61, b"")[:255] or None)
    assert ours.is_rapid == (80 in options)


def word(value: bytes) -> int:
    return int(struct.unpack("!I", value[:4])[0])


@pytest.mark.parametrize(("shard", "count"), shares(MESSAGES))
def test_dhcp4_against_dpkt(shard: int, count: int) -> None:
    seen = Seen()
    for number, payload in enumerate(mutants(list(seeds4().values()), count, shard, OPTIONS_AT)):
        compare_dpkt(payload, decode4(payload), seen)
        if number % 8 == 0:
            step = read_step(record_of(payload, 4))
            assert (step is None) == (len(payload) < 236)
            assert_bounded(step)
    assert set(seen) == {"no_cookie", "hlen", "no_length", "overload", "parts"}


# The kernel's rules


def test_types_are_those_that_the_kernel_counts() -> None:
    """Of 53 with value 0 the kernel makes nothing and goes on, we a type that does not exist."""
    seen: Counter[str] = Counter()
    for payload in mutants(list(seeds4().values()), 20_000, 3000, OPTIONS_AT):
        ours = decode4(payload)
        frame = record_of(payload, 4).frame
        if ours is None or ours.type == 0 or len(frame) > SEARCHED_BYTES:
            continue
        counted = read_frame(frame, untagged=True).message
        assert counted is not None
        assert counted.counter == f"dhcp.{KERNEL_NAMES.get(ours.type, 'other')}"
        seen[counted.counter] += 1
    assert len(seen) == len(KERNEL_NAMES) + 1


# scapy, DHCPv4


@pytest.fixture(scope="module")
def scapy4() -> Any:
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    return pytest.importorskip("scapy.layers.dhcp")


def scapy_value(value: Any, code: int) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return ipaddress.IPv4Address(value).packed
    return int(value).to_bytes(1 if code in (52, 53) else 4, "big")


COMPARED4: Final = frozenset({12, 43, 50, 51, 52, 53, 54, 56, 58, 59, 61, 80, 81, 82})


@dataclass
class Found:
    """What scapy finds of COMPARED4."""

    options: dict[int, bytes] = field(default_factory=dict)
    overload: int = 0
    """The first byte of the last option 52 that has one."""
    is_whole: bool = True

    def add(self, code: int, value: bytes, seen: Seen) -> None:
        if code not in COMPARED4:
            return
        if code in self.options:
            seen.need("parts")
        if code == 52 and value:
            self.overload = value[0]
        self.options[code] = self.options.get(code, b"") + value


def scapy_options(scapy: Any, options: Sequence[Any], seen: Seen) -> Found:
    found = Found()
    for at, option in enumerate(options):
        if option == "end":
            if any(each not in ("pad", "end") for each in options[at + 1 :]):
                seen.need("end")
            break
        if option == "pad":
            continue
        if isinstance(option, bytes):
            if len(option) < 2:
                seen.need("no_length")
            elif len(option) < 2 + option[1]:  # cut off: both say what is there
                found.add(option[0], option[2:], seen)
            else:
                seen.need("fixed")
                found.is_whole = False
            break
        name, *values = option
        code = name if isinstance(name, int) else scapy.DHCPRevOptions[name][0]
        if code in COMPARED4:
            found.add(code, b"".join(scapy_value(each, code) for each in values), seen)
    return found


def compare_scapy4(scapy: Any, payload: bytes, ours: Message4, seen: Seen) -> None:
    packet = scapy.BOOTP(payload)
    assert (ours.op, ours.hardware_type, ours.hardware_bytes) == (
        packet.op, packet.htype, packet.hlen,
    )  # fmt: skip
    assert (ours.hops, ours.xid, ours.secs) == (packet.hops, packet.xid, packet.secs)
    assert ours.is_broadcast == bool(int(packet.flags) & 0x8000)
    assert (ours.ciaddr, ours.yiaddr) == (packet.ciaddr, packet.yiaddr)
    assert (ours.siaddr, ours.giaddr) == (packet.siaddr, packet.giaddr)
    if packet.hlen != len(ours.chaddr):
        seen.need("hlen")
    if scapy.DHCP not in packet:
        assert ours.type is None
        return
    found = scapy_options(scapy, packet[scapy.DHCP].options, seen)
    is_overloaded = bool(found.overload & 3)
    if is_overloaded:
        seen.need("overload")
    if is_overloaded or not found.is_whole:
        # Options come first in the order of parts, so that ours begin with scapy's.
        for code, value in found.options.items():
            assert ours.options[code].startswith(value)
        return
    assert {code: v for code, v in ours.options.items() if code in COMPARED4} == found.options


@pytest.mark.parametrize(("shard", "count"), shares(WITH_SCAPY))
def test_dhcp4_against_scapy(shard: int, count: int, scapy4: Any) -> None:
    seen = Seen()
    for payload in mutants(list(seeds4().values()), count, 1000 + shard, OPTIONS_AT):
        ours = decode4(payload)
        if ours is not None and len(payload) >= OPTIONS_AT:
            compare_scapy4(scapy4, payload, ours, seen)
    assert set(seen) == {"hlen", "no_length", "end", "overload", "parts", "fixed"}


def test_each_difference_is_settled_by_an_rfc() -> None:
    assert all(reason.startswith("RFC ") for reason in DIFFERENCES.values())
