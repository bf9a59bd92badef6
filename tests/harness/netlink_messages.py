# SPDX-License-Identifier: Apache-2.0
"""Messages of rtnetlink, written by hand: linux/netlink.h, linux/rtnetlink.h."""

from __future__ import annotations

import struct


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number_attribute(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def link_body(ifindex: int, attributes: bytes, *, family: int = 0) -> bytes:
    """Of an Ethernet device that is up and has a carrier."""
    return struct.pack("=BxHiII", family, 1, ifindex, 0x10001, 0) + attributes


def link_message(kind: int, ifindex: int, attributes: bytes) -> bytes:
    return netlink_message(kind, link_body(ifindex, attributes))


def netlink_message(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """`length`: what its header says, if it lies."""
    said = 16 + len(body) if length is None else length
    return struct.pack("=IHHII", said, kind, 0, 0, 0) + body
