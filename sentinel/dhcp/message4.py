# SPDX-License-Identifier: Apache-2.0
"""A DHCPv4 or BOOTP message: bytes into fields. RFC 2131, RFC 2132, RFC 3396.

Nothing here raises, whatever the bytes are, and all work is linear in them. What is
not as its RFC says is noted in `problems`, and the rest is read all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sentinel.dhcp.datagram import ipv4_text
from sentinel.dhcp.wire_text import (
    HOST_NAME_CHARACTERS,
    NOTE_CHARACTERS,
    Problems,
    dns_name,
    wire_text,
)

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
ETHERNET: Final = 1
"""A hardware type (RFC 1700)."""
NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - as it stands in a message, nothing is bound
FIXED_BYTES: Final = 236
"""RFC 2131 section 2, figure 1: all in front of the options."""
MOST_CLIENT_ID_BYTES: Final = 255

PAD: Final = 0
HOST_NAME: Final = 12
REQUESTED_ADDRESS: Final = 50
LEASE_TIME: Final = 51
OVERLOAD: Final = 52
MESSAGE_TYPE: Final = 53
SERVER_IDENTIFIER: Final = 54
MESSAGE: Final = 56
RENEWAL_TIME: Final = 58
REBINDING_TIME: Final = 59
CLIENT_IDENTIFIER: Final = 61
RAPID_COMMIT: Final = 80
"""RFC 4039."""
CLIENT_FQDN: Final = 81
"""RFC 4702."""
RELAY_AGENT: Final = 82
"""RFC 3046."""
END: Final = 255

_CIRCUIT_ID, _REMOTE_ID = 1, 2
_NODE_SPECIFIC_ID: Final = 255  # RFC 4361 section 6.1: IAID and DUID
_COOKIE: Final = bytes.fromhex("63825363")
_OPTIONS_AT: Final = FIXED_BYTES + len(_COOKIE)
_SNAME_AT, _FILE_AT = 44, 108
_OVERLOAD_FILE, _OVERLOAD_SNAME = 1, 2
_BROADCAST_FLAG: Final = 0x8000
_CHADDR_BYTES: Final = 16
_MAC_BYTES: Final = 6
_HEADER: Final = struct.Struct("!BBBBIHH")


@dataclass(frozen=True, slots=True)
class Message4:
    """One message. Addresses are text, NO_ADDRESS where the field is zero."""

    op: int
    hardware_type: int
    hardware_bytes: int
    """hlen as it stands there, which may be a lie; `chaddr` is bounded."""
    hops: int
    xid: int
    secs: int
    is_broadcast: bool
    ciaddr: str
    yiaddr: str
    siaddr: str
    giaddr: str
    chaddr: bytes
    """Six bytes for Ethernet, else as many as hlen says."""
    has_cookie: bool
    """False: plain BOOTP (RFC 951), which has no options."""
    type: int | None
    """Option 53; None: it is BOOTP."""
    requested: str | None
    server_identifier: str | None
    lease_s: int | None
    """0xffffffff: no end (RFC 2131 section 3.3)."""
    renewal_s: int | None
    rebinding_s: int | None
    client_id: bytes | None
    iaid: int | None
    """Of a client identifier that has one (RFC 4361)."""
    duid: bytes | None
    is_rapid: bool
    host_name: str | None
    message: str | None
    circuit_id: bytes | None
    remote_id: bytes | None
    options: Mapping[int, bytes]
    """All of them, those in parts put together (RFC 3396)."""
    problems: tuple[str, ...]


def decode4(payload: bytes) -> Message4 | None:
    """Reads a UDP payload; None if it is shorter than the fixed part of a message.

    A message without the cookie, or without option 53, is BOOTP: its `type` is None.
    """
    if len(payload) < FIXED_BYTES:
        return None
    problems = Problems()
    op, hardware_type, hardware_bytes, hops, xid, secs, flags = _HEADER.unpack_from(payload)
    if op not in (BOOTREQUEST, BOOTREPLY):
        problems.add(f"op is {op}")
    if flags & ~_BROADCAST_FLAG:
        problems.add("flags that must be zero are set")
    has_cookie = payload[FIXED_BYTES:_OPTIONS_AT] == _COOKIE
    options: dict[int, bytes] = read_options(payload, problems) if has_cookie else {}
    kind = options.get(MESSAGE_TYPE)
    if kind and len(kind) > 1:
        problems.add("option 53 is longer than one byte, or there twice")
    client_id = _client_id(options, problems)
    iaid, duid = _node_specific(client_id, problems)
    circuit_id, remote_id = _relay_agent(options, problems)
    message = options.get(MESSAGE)
    return Message4(
        op=op,
        hardware_type=hardware_type,
        hardware_bytes=hardware_bytes,
        hops=hops,
        xid=xid,
        secs=secs,
        is_broadcast=bool(flags & _BROADCAST_FLAG),
        ciaddr=ipv4_text(payload, 12),
        yiaddr=ipv4_text(payload, 16),
        siaddr=ipv4_text(payload, 20),
        giaddr=ipv4_text(payload, 24),
        chaddr=_chaddr(payload, hardware_type, hardware_bytes, problems),
        has_cookie=has_cookie,
        type=kind[0] if kind else None,
        requested=_address(options, REQUESTED_ADDRESS, problems),
        server_identifier=_address(options, SERVER_IDENTIFIER, problems),
        lease_s=_seconds(options, LEASE_TIME, problems),
        renewal_s=_seconds(options, RENEWAL_TIME, problems),
        rebinding_s=_seconds(options, REBINDING_TIME, problems),
        client_id=client_id,
        iaid=iaid,
        duid=duid,
        is_rapid=RAPID_COMMIT in options,
        host_name=_host_name(options, problems),
        message=wire_text(message, NOTE_CHARACTERS) if message else None,
        circuit_id=circuit_id,
        remote_id=remote_id,
        options=options,
        problems=problems.as_tuple(),
    )


def read_options(payload: bytes, problems: Problems) -> dict[int, bytes]:
    """The options of a message with a cookie, wherever option 52 puts them.

    Parts of one option are put together in the order options, file, sname (RFC 3396
    section 5). Option 52 counts among the options alone, the last one of several.
    """
    parts: dict[int, list[bytes]] = {}
    _walk(payload, _OPTIONS_AT, len(payload), "options", parts, problems)
    said = [value for value in parts.get(OVERLOAD, ()) if value]
    overload = said[-1][0] if said else 0
    if said and (len(said) > 1 or len(said[0]) > 1 or not 1 <= overload <= 3):
        problems.add("option 52 is not one of 1 to 3, once")
    if overload & _OVERLOAD_FILE:
        _walk(payload, _FILE_AT, FIXED_BYTES, "file", parts, problems)
    if overload & _OVERLOAD_SNAME:
        _walk(payload, _SNAME_AT, _FILE_AT, "sname", parts, problems)
    return {
        code: values[0] if len(values) == 1 else b"".join(values) for code, values in parts.items()
    }


def _walk(
    payload: bytes,
    at: int,
    end: int,
    area: str,
    parts: dict[int, list[bytes]],
    problems: Problems,
) -> None:
    """RFC 2132 section 2: code, length, value; pads and the end are one byte each.

    Of an option that reaches beyond its area, what is there is kept: a client goes
    on from there too.
    """
    while at < end:
        code = payload[at]
        if code == PAD:
            at += 1
            continue
        if code == END:
            return
        if at + 1 == end:
            problems.add(f"{area}: option {code} has no length")
            return
        begin = at + 2
        at = begin + payload[at + 1]
        value = payload[begin : min(at, end)]
        if code in parts:
            parts[code].append(value)
        else:
            parts[code] = [value]
        if at > end:
            problems.add(f"{area}: option {code} is cut off")
            return
    problems.add(f"{area}: no end")


def _chaddr(payload: bytes, kind: int, size: int, problems: Problems) -> bytes:
    """The hardware address. Ethernet's is six bytes long whatever hlen says."""
    if kind == ETHERNET:
        if size != _MAC_BYTES:
            problems.add(f"hlen is {size} for Ethernet")
        size = _MAC_BYTES
    elif size > _CHADDR_BYTES:
        problems.add(f"hlen is {size}")
        size = _CHADDR_BYTES
    return payload[28 : 28 + size]


def _word(options: Mapping[int, bytes], code: int, problems: Problems) -> bytes | None:
    """An option of four bytes (RFC 2132 sections 9.1, 9.2, 9.7, 9.11, 9.12)."""
    value = options.get(code)
    if value is None:
        return None
    if len(value) != 4:
        problems.add(f"option {code} is {len(value)} bytes long, not 4")
    return value if len(value) >= 4 else None


def _address(options: Mapping[int, bytes], code: int, problems: Problems) -> str | None:
    value = _word(options, code, problems)
    return None if value is None else ipv4_text(value)


def _seconds(options: Mapping[int, bytes], code: int, problems: Problems) -> int | None:
    value = _word(options, code, problems)
    return None if value is None else int.from_bytes(value[:4], "big")


def _client_id(options: Mapping[int, bytes], problems: Problems) -> bytes | None:
    """RFC 2132 section 9.14: a type and at least one byte."""
    value = options.get(CLIENT_IDENTIFIER)
    if value is None:
        return None
    if len(value) < 2:
        problems.add("client identifier is shorter than two bytes")
    elif len(value) > MOST_CLIENT_ID_BYTES:
        problems.add(f"client identifier of {len(value)} bytes")
    return value[:MOST_CLIENT_ID_BYTES] or None


def _node_specific(client_id: bytes | None, problems: Problems) -> tuple[int | None, bytes | None]:
    """IAID and DUID of a client identifier of type 255 (RFC 4361 section 6.1)."""
    if client_id is None or client_id[0] != _NODE_SPECIFIC_ID:
        return None, None
    if len(client_id) < 1 + 4 + 3:
        problems.add("client identifier of type 255 without a DUID")
        return None, None
    return int.from_bytes(client_id[1:5], "big"), client_id[5:]


def _host_name(options: Mapping[int, bytes], problems: Problems) -> str | None:
    """Option 12, else the name in option 81 (RFC 4702 section 2)."""
    if plain := options.get(HOST_NAME):
        return wire_text(plain, HOST_NAME_CHARACTERS)
    qualified = options.get(CLIENT_FQDN)
    if qualified is None:
        return None
    if len(qualified) < 3:
        problems.add("option 81 is shorter than three bytes")
        return None
    if qualified[0] & 0x04:  # E: labels as DNS has them
        return dns_name(qualified[3:], problems)
    return wire_text(qualified[3:], HOST_NAME_CHARACTERS)


def _relay_agent(
    options: Mapping[int, bytes], problems: Problems
) -> tuple[bytes | None, bytes | None]:
    """Circuit and remote identifier (RFC 3046 section 2.0); of two the first counts."""
    value = options.get(RELAY_AGENT)
    if value is None:
        return None, None
    found: dict[int, bytes] = {}
    at = 0
    while at < len(value):
        if at + 2 > len(value) or at + 2 + value[at + 1] > len(value):
            problems.add("option 82: a length lies")
            break
        size = value[at + 1]
        found.setdefault(value[at], value[at + 2 : at + 2 + size])
        at += 2 + size
    return found.get(_CIRCUIT_ID), found.get(_REMOTE_ID)
