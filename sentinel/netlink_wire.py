# SPDX-License-Identifier: Apache-2.0
"""Attributes of a netlink message as they lie in the kernel's buffer.

Only what is asked for is read: a host of a thousand taps tells a hundred thousand
attributes at once, of which a few matter. The layout is that of linux/netlink.h;
numbers are in the host's byte order unless it is said otherwise.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

_ATTRIBUTE: Final = struct.Struct("=HH")
_NLA_TYPE_MASK: Final = 0x3FFF
_ORDER: Final = sys.byteorder


def attributes(data: memoryview) -> dict[int, memoryview]:
    """Values by type; of two of one type the first. Raises ValueError for an impossible length."""
    found: dict[int, memoryview] = {}
    at, end = 0, len(data)
    unpack = _ATTRIBUTE.unpack_from
    while at + 4 <= end:
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:
            raise ValueError(f"an attribute of {length} bytes where {end - at} are left")
        found.setdefault(kind & _NLA_TYPE_MASK, data[at + 4 : at + length])
        at += (length + 3) & ~3
    return found


def number(value: memoryview | None) -> int | None:
    """An unsigned number of any length; None where there is none."""
    return None if value is None else int.from_bytes(value, _ORDER)


def network_number(value: memoryview | None) -> int | None:
    """The same in network order."""
    return None if value is None else int.from_bytes(value, "big")


def text(value: memoryview | None) -> bytes:
    """A string up to its NUL; empty where there is none."""
    return b"" if value is None else bytes(value).partition(b"\0")[0]
