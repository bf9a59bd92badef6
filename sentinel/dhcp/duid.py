# SPDX-License-Identifier: Apache-2.0
"""DHCP unique identifiers: RFC 8415 section 11, RFC 6355."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEAST_BYTES: Final = 3
"""A type and at least one byte (RFC 8415 section 11.1)."""
MOST_BYTES: Final = 130
"""A type and at most 128 bytes."""

_KINDS: Final = {1: "llt", 2: "en", 3: "ll", 4: "uuid"}
# Of type and all fields of fixed length, and one byte of what follows them.
_LEAST_OF_KIND: Final = {"llt": 9, "en": 7, "ll": 5, "uuid": 18}
_LINK_LAYER_AT: Final = {"llt": 8, "ll": 4}
_ETHERNET: Final = b"\0\1"


@dataclass(frozen=True, slots=True)
class Duid:
    """An identifier. It is only ever compared; its parts are for a reader."""

    raw: bytes
    kind: str
    """ "llt", "en", "ll", "uuid" or "unknown"."""
    mac: str | None
    """Of the interface that it was made from, if that was Ethernet."""
    problem: str | None


def read_duid(raw: bytes) -> Duid | None:
    """Reads one; None if it is shorter or longer than an identifier can be."""
    if not LEAST_BYTES <= len(raw) <= MOST_BYTES:
        return None
    kind = _KINDS.get(raw[0] << 8 | raw[1], "unknown")
    if len(raw) < _LEAST_OF_KIND.get(kind, 0) or (kind == "uuid" and len(raw) != 18):
        return Duid(raw, kind, None, f"DUID of type {kind} with {len(raw)} bytes")
    mac = None
    at = _LINK_LAYER_AT.get(kind)
    if at is not None and raw[2:4] == _ETHERNET and len(raw) == at + 6:
        mac = raw[at:].hex(":")
    return Duid(raw, kind, mac, None)
