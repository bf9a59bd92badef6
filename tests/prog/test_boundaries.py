# SPDX-License-Identifier: Apache-2.0
"""Frames made up around every boundary, and made small where one differs from the model."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.dhcp import dhcp_message
from tests.harness.frames import BROADCAST, GUEST_MAC, Tag, ethernet
from tests.harness.fuzz import TYPES, may_be_refused
from tests.harness.packets import PROTO_UDP, ipv4, udp
from tests.harness.programs import FROM_GUEST, FrameRefusedError, Programs

V4 = ("192.0.2.1", "255.255.255.255")
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TAGS: st.SearchStrategy[list[Tag]] = st.lists(
    st.tuples(
        st.sampled_from((0x8100, 0x88A8, 0x9100, 0x9200)), st.integers(0, 4095), st.integers(0, 7)
    ),
    max_size=6,
)
LAST = st.sampled_from((0x00, 0x01, 0x08, 0x0D, 0x0E, 0x1F, 0x20, 0x21, 0x2F, 0x30))
LLC = st.tuples(
    st.sampled_from((0x42, 0xAA, 0x43, 0x06, 0x00)),
    st.sampled_from((0x42, 0xAA, 0x00)),
    st.sampled_from((0x03, 0x13, 0x00, 0x02, 0x01, 0xAF)),
).map(bytes)
BEHIND_LLC = st.one_of(
    st.tuples(
        st.sampled_from((0, 1, 2, 0xFFFF)), st.integers(0, 5), st.sampled_from((0, 2, 0x80))
    ).map(lambda header: struct.pack("!HBB", *header)),
    st.tuples(
        st.sampled_from(("00000c", "000000", "0000f8", "0080c2", "00000d")),
        st.sampled_from((0x010B, 0x010C, 0x000E, 0x0800, 0x8181, 0x010D)),
    ).map(lambda snap: bytes.fromhex(snap[0]) + struct.pack("!H", snap[1])),
)


def option_of(code_and_value: tuple[int, bytes]) -> bytes:
    code, value = code_and_value
    return bytes((code, len(value))) + value


OPTIONS = st.lists(
    st.one_of(
        st.just(b"\0"),
        st.just(b"\xff"),
        st.tuples(st.sampled_from((52, 53)), st.binary(max_size=2)).map(option_of),
        st.tuples(st.integers(1, 254), st.binary(max_size=40)).map(option_of),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


def hold_against_model(programs: Programs, frame: bytes, **where: Any) -> None:
    programs.configure(bpdu="drop")
    programs.add(**where)
    try:
        programs.check(FROM_GUEST, frame)
    except FrameRefusedError:
        assert may_be_refused(frame, 0)


@EXAMPLES
@given(last=LAST, tags=TAGS, llc=LLC, behind=BEHIND_LLC, cut=st.integers(14, 80))
def test_llc(
    programs: Programs, last: int, tags: list[Tag], llc: bytes, behind: bytes, cut: int
) -> None:
    to = f"01:80:c2:00:00:{last:02x}"
    frame = ethernet(to, GUEST_MAC, llc + behind + bytes(8), None, tags)
    hold_against_model(programs, frame[:cut])


@EXAMPLES
@given(options=OPTIONS, file=OPTIONS, sname=OPTIONS, tags=TAGS, cut=st.integers(0, 12))
def test_options(
    programs: Programs, options: bytes, file: bytes, sname: bytes, tags: list[Tag], cut: int
) -> None:
    plain = dhcp_message(2, where="nowhere", end=False)
    areas = sname[:64].ljust(64, b"\0") + file[:128].ljust(128, b"\0")
    message = plain[:44] + areas + plain[236:240] + options
    packet = ipv4(*V4, PROTO_UDP, udp(*V4, 67, 68, message))
    frame = ethernet(BROADCAST, GUEST_MAC, packet, 0x0800, tags, pad=False)
    hold_against_model(programs, frame[: len(frame) - cut])


@EXAMPLES
@given(
    ethertype=st.sampled_from(TYPES),
    mtu_bytes=st.integers(46, 1600),
    over=st.integers(-26, 26),
    tags=TAGS,
)
def test_sizes(
    programs: Programs, ethertype: int, mtu_bytes: int, over: int, tags: list[Tag]
) -> None:
    payload = bytes(max(0, mtu_bytes + over))
    frame = ethernet(BROADCAST, GUEST_MAC, payload, ethertype, tags)
    hold_against_model(programs, frame, mtu_bytes=mtu_bytes)


@pytest.mark.parametrize("first", [0x44, 0x45, 0x46, 0x4F])
@EXAMPLES
@given(
    total=st.integers(0, 320),
    length=st.integers(0, 300),
    fragment=st.sampled_from((0, 1, 0x1FFF, 0x2000, 0x4000)),
    ports=st.tuples(st.sampled_from((66, 67, 68, 69)), st.sampled_from((66, 67, 68, 69))),
)
def test_lengths(
    programs: Programs, first: int, total: int, length: int, fragment: int, ports: tuple[int, int]
) -> None:
    message = dhcp_message(2)
    header = struct.pack("!BBHHHBBH8x", first, 0, total, 0, fragment, 64, PROTO_UDP, 0)
    frame = ethernet(
        BROADCAST,
        GUEST_MAC,
        header
        + bytes(4 * max(0, (first & 15) - 5))
        + struct.pack("!HHHH", *ports, length, 0)
        + message,
        0x0800,
    )
    hold_against_model(programs, frame)
