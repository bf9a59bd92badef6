# SPDX-License-Identifier: Apache-2.0
"""A DHCPv6 message: bytes into fields, relay messages unwrapped. RFC 8415.

Nothing here raises, whatever the bytes are. Options nest to a fixed depth, each level
is read once, and there are bounds on how many relays, associations and addresses are
kept. What is not as the RFC says is noted in `problems`; an option whose length lies
ends the options around it (section 16 leaves it to the reader).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from sentinel.dhcp.datagram import ipv6_text
from sentinel.dhcp.duid import Duid, read_duid
from sentinel.dhcp.wire_text import NOTE_CHARACTERS, Problems, dns_name, wire_text

(
    SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, RECONFIGURE,
    INFORMATION_REQUEST, RELAY_FORW, RELAY_REPL,
) = range(1, 14)  # fmt: skip
NAMES: Final = (
    "", "Solicit", "Advertise", "Request", "Confirm", "Renew", "Rebind", "Reply", "Release",
    "Decline", "Reconfigure", "Information-request", "Relay-forward", "Relay-reply",
)  # fmt: skip
"""Section 7.3, by type."""
RELAYED: Final = frozenset({RELAY_FORW, RELAY_REPL})
OF_SERVER: Final = frozenset({ADVERTISE, REPLY, RECONFIGURE})

MOST_RELAYS: Final = 9
"""Section 19.1.2: who receives a hop-count of HOP_COUNT_LIMIT (8) discards; they begin at 0."""
MOST_ASSOCIATIONS: Final = 32
MOST_LEASES: Final = 32
"""Addresses and prefixes in one association."""

STATUS_NAMES: Final = (
    "Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast",
    "NoPrefixAvail",
)  # fmt: skip
"""Section 21.13."""
SUCCESS, UNSPEC_FAIL, NO_ADDRS_AVAIL, NO_BINDING, NOT_ON_LINK, USE_MULTICAST, NO_PREFIX_AVAIL = (
    range(7)
)

CLIENT_IDENTIFIER: Final = 1
SERVER_IDENTIFIER: Final = 2
IA_NA: Final = 3
IA_TA: Final = 4
IA_ADDRESS: Final = 5
OPTION_REQUEST: Final = 6
PREFERENCE: Final = 7
ELAPSED_TIME: Final = 8
RELAY_MESSAGE: Final = 9
STATUS_CODE: Final = 13
RAPID_COMMIT: Final = 14
INTERFACE_ID: Final = 18
RECONFIGURE_MESSAGE: Final = 19
RECONFIGURE_ACCEPT: Final = 20
IA_PD: Final = 25
IA_PREFIX: Final = 26
CLIENT_FQDN: Final = 39
"""RFC 4704."""
CLIENT_LINK_LAYER: Final = 79
"""RFC 6939."""

_ASSOCIATIONS: Final = frozenset({IA_NA, IA_TA, IA_PD})
_ETHERNET: Final = b"\0\1"
# Section 16: what a message without, or with, is to be discarded for.
_NEEDS_CLIENT: Final = frozenset(
    {SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE, RECONFIGURE}
)
_NEEDS_SERVER: Final = frozenset({ADVERTISE, REQUEST, RENEW, REPLY, RELEASE, DECLINE, RECONFIGURE})
_NEVER_A_SERVER: Final = frozenset({SOLICIT, CONFIRM, REBIND})


@dataclass(frozen=True, slots=True)
class Status:
    """Section 21.13."""

    code: int
    message: str | None

    @property
    def name(self) -> str:
        """As the RFC calls it."""
        return STATUS_NAMES[self.code] if self.code < len(STATUS_NAMES) else f"status {self.code}"


@dataclass(frozen=True, slots=True)
class Lease6:
    """One address or prefix. Lifetimes of 0xffffffff have no end (section 7.7)."""

    address: str
    """A prefix is followed by its length."""
    preferred_s: int
    valid_s: int
    status: Status | None
    is_valid: bool
    """False: it is to be discarded (sections 21.6 and 21.22)."""


@dataclass(frozen=True, slots=True)
class Association:
    """An identity association and what it holds."""

    kind: Literal["na", "ta", "pd"]
    iaid: int
    t1_s: int
    """0: left to the client (section 14.2)."""
    t2_s: int
    leases: tuple[Lease6, ...]
    status: Status | None
    is_valid: bool
    """False: a server put T1 behind T2, and it is to be ignored (section 21.4)."""


@dataclass(frozen=True, slots=True)
class Relay6:
    """The header of one Relay-forward or Relay-reply."""

    type: int
    hops: int
    link_address: str
    peer_address: str
    interface_id: bytes | None
    client_mac: str | None
    """The client's, as the relay beside it saw it (RFC 6939)."""


@dataclass(frozen=True, slots=True)
class Message6:
    """One message without its relays' headers, which stand in `relays`."""

    type: int
    """RELAY_FORW or RELAY_REPL if no message of a client or a server was found inside."""
    xid: int
    """24 bits; 0 if there is none."""
    client: Duid | None
    server: Duid | None
    associations: tuple[Association, ...]
    status: Status | None
    """Of the message; None: not said, which is as good as Success."""
    preference: int | None
    elapsed_ms: int | None
    is_rapid: bool
    reconfigure_type: int | None
    accepts_reconfigure: bool
    requested_options: tuple[int, ...]
    host_name: str | None
    relays: tuple[Relay6, ...]
    """Outermost first."""
    problems: tuple[str, ...]


def decode6(payload: bytes) -> Message6 | None:
    """Reads a UDP payload; None if it is shorter than the header that its type asks for."""
    problems = Problems()
    relays: list[Relay6] = []
    message = payload
    while message and message[0] in RELAYED:
        if len(message) < 34:
            if not relays:
                return None
            problems.add("relayed message is cut off")
            break
        if len(relays) == MOST_RELAYS:
            problems.add(f"more than {MOST_RELAYS} relays")
            break
        relay, inner = _read_relay(message, problems)
        if relays and relay.type != relays[0].type:
            problems.add("Relay-forward and Relay-reply in one message")
        relays.append(relay)
        if inner is None:
            problems.add("relayed message is missing")
            break
        message = inner
    else:
        if len(message) >= 4:
            return _read_message(message, tuple(relays), problems)
        if not relays:
            return None
        problems.add("relayed message is cut off")
    return Message6(
        type=relays[0].type, xid=0, client=None, server=None, associations=(), status=None,
        preference=None, elapsed_ms=None, is_rapid=False, reconfigure_type=None,
        accepts_reconfigure=False, requested_options=(), host_name=None, relays=tuple(relays),
        problems=problems.as_tuple(),
    )  # fmt: skip


def walk_options(data: bytes, at: int, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Code and value of each option whose length is true (section 21.1)."""
    end = len(data)
    while at + 4 <= end:
        code = data[at] << 8 | data[at + 1]
        size = data[at + 2] << 8 | data[at + 3]
        at += 4
        if at + size > end:
            problems.add(f"option {code} is cut off")
            return
        yield code, data[at : at + size]
        at += size
    if at < end:
        problems.add("bytes behind the last option")


def _options(
    data: bytes, at: int, problems: Problems, *, several: frozenset[int] = frozenset()
) -> tuple[dict[int, bytes], list[tuple[int, bytes]]]:
    """Options by code, the first of each, and those of which there may be several (section 21)."""
    single: dict[int, bytes] = {}
    many: list[tuple[int, bytes]] = []
    for code, value in walk_options(data, at, problems):
        if code in several:
            many.append((code, value))
        elif code in single:
            problems.add(f"option {code} is there twice")
        else:
            single[code] = value
    return single, many


def _read_relay(message: bytes, problems: Problems) -> tuple[Relay6, bytes | None]:
    """Section 9: type, hop-count, two addresses, options."""
    options, _ = _options(message, 34, problems)
    link_layer = options.get(CLIENT_LINK_LAYER)
    mac = None
    if link_layer is not None and link_layer[:2] == _ETHERNET and len(link_layer) == 8:
        mac = link_layer[2:].hex(":")
    relay = Relay6(
        message[0], message[1], ipv6_text(message[2:18]), ipv6_text(message[18:34]),
        options.get(INTERFACE_ID), mac,
    )  # fmt: skip
    return relay, options.get(RELAY_MESSAGE)


def _read_message(message: bytes, relays: tuple[Relay6, ...], problems: Problems) -> Message6:
    """Section 8: type, transaction, options."""
    kind = message[0]
    options, inside = _options(message, 4, problems, several=_ASSOCIATIONS)
    if len(inside) > MOST_ASSOCIATIONS:
        problems.add(f"{len(inside)} identity associations")
    found = [
        _association(code, value, problems, from_server=kind in OF_SERVER)
        for code, value in inside[:MOST_ASSOCIATIONS]
    ]
    client = _duid(options, CLIENT_IDENTIFIER, problems)
    server = _duid(options, SERVER_IDENTIFIER, problems)
    _check_identifiers(kind, client, server, problems)
    elapsed = _fixed(options, ELAPSED_TIME, 2, problems)
    return Message6(
        type=kind,
        xid=int.from_bytes(message[1:4], "big"),
        client=client,
        server=server,
        associations=tuple(each for each in found if each is not None),
        status=_status(options, problems),
        preference=_fixed(options, PREFERENCE, 1, problems),
        elapsed_ms=None if elapsed is None else 10 * elapsed,
        is_rapid=RAPID_COMMIT in options,
        reconfigure_type=_fixed(options, RECONFIGURE_MESSAGE, 1, problems),
        accepts_reconfigure=RECONFIGURE_ACCEPT in options,
        requested_options=_requested(options, problems),
        host_name=_host_name(options, problems),
        relays=relays,
        problems=problems.as_tuple(),
    )


def _check_identifiers(
    kind: int, client: Duid | None, server: Duid | None, problems: Problems
) -> None:
    """Section 16, but for what takes the client's state to know."""
    name = NAMES[kind] if kind < len(NAMES) else ""
    if client is None and kind in _NEEDS_CLIENT:
        problems.add(f"{name} without client identifier")
    if server is None and kind in _NEEDS_SERVER:
        problems.add(f"{name} without server identifier")
    if server is not None and kind in _NEVER_A_SERVER:
        problems.add(f"{name} with server identifier")


def _duid(options: dict[int, bytes], code: int, problems: Problems) -> Duid | None:
    value = options.get(code)
    if value is None:
        return None
    duid = read_duid(value)
    if duid is None:
        problems.add(f"DUID of {len(value)} bytes")
    elif duid.problem is not None:
        problems.add(duid.problem)
    return duid


def _fixed(options: dict[int, bytes], code: int, size: int, problems: Problems) -> int | None:
    """A number of `size` bytes; None if it is not there or not of that size."""
    value = options.get(code)
    if value is None:
        return None
    if len(value) != size:
        problems.add(f"option {code} is {len(value)} bytes long, not {size}")
        return None
    return int.from_bytes(value, "big")


def _status(options: dict[int, bytes], problems: Problems) -> Status | None:
    value = options.get(STATUS_CODE)
    if value is None:
        return None
    if len(value) < 2:
        problems.add("status code is cut off")
        return None
    return Status(value[0] << 8 | value[1], wire_text(value[2:], NOTE_CHARACTERS))


def _requested(options: dict[int, bytes], problems: Problems) -> tuple[int, ...]:
    """Section 21.7."""
    value = options.get(OPTION_REQUEST, b"")
    if len(value) % 2:
        problems.add("option request of half an option")
    return tuple(value[at] << 8 | value[at + 1] for at in range(0, len(value) - 1, 2))


def _host_name(options: dict[int, bytes], problems: Problems) -> str | None:
    """RFC 4704 section 4: flags, and labels as DNS has them."""
    value = options.get(CLIENT_FQDN)
    return dns_name(value[1:], problems) if value else None


def _association(
    code: int, value: bytes, problems: Problems, *, from_server: bool
) -> Association | None:
    """Sections 21.4 (IA_NA), 21.5 (IA_TA, which has no times) and 21.21 (IA_PD)."""
    kind: Literal["na", "ta", "pd"] = "na" if code == IA_NA else "ta" if code == IA_TA else "pd"
    fixed_bytes = 4 if kind == "ta" else 12
    if len(value) < fixed_bytes:
        problems.add(f"IA_{kind.upper()} is cut off")
        return None
    wanted = IA_PREFIX if kind == "pd" else IA_ADDRESS
    options, inside = _options(value, fixed_bytes, problems, several=frozenset({wanted}))
    if len(inside) > MOST_LEASES:
        problems.add(f"{len(inside)} addresses in one association")
    read = _prefix if kind == "pd" else _address
    leases = [read(each, problems, from_server) for _, each in inside[:MOST_LEASES]]
    t1_s = t2_s = 0
    if kind != "ta":
        t1_s, t2_s = int.from_bytes(value[4:8], "big"), int.from_bytes(value[8:12], "big")
    is_valid = not (from_server and t1_s > t2_s > 0)
    if not is_valid:
        problems.add(f"IA_{kind.upper()}: T1 is after T2")
    return Association(
        kind, int.from_bytes(value[:4], "big"), t1_s, t2_s,
        tuple(each for each in leases if each is not None), _status(options, problems), is_valid,
    )  # fmt: skip


def _address(value: bytes, problems: Problems, from_server: bool) -> Lease6 | None:
    """Section 21.6."""
    if len(value) < 24:
        problems.add("IA address is cut off")
        return None
    return _lease(
        ipv6_text(value[:16]), value[16:24], _options(value, 24, problems)[0], problems, from_server
    )


def _prefix(value: bytes, problems: Problems, from_server: bool) -> Lease6 | None:
    """Section 21.22. Bits behind the prefix's length are ignored."""
    if len(value) < 25:
        problems.add("IA prefix is cut off")
        return None
    size = value[8]
    if size > 128:
        problems.add(f"prefix of {size} bits")
        return None
    bits = int.from_bytes(value[9:25], "big") >> (128 - size) << (128 - size)
    return _lease(
        f"{ipv6_text(bits.to_bytes(16, 'big'))}/{size}", value[:8],
        _options(value, 25, problems)[0], problems, from_server,
    )  # fmt: skip


def _lease(
    address: str, times: bytes, options: dict[int, bytes], problems: Problems, from_server: bool
) -> Lease6:
    preferred_s, valid_s = int.from_bytes(times[:4], "big"), int.from_bytes(times[4:], "big")
    is_valid = not (from_server and preferred_s > valid_s)
    if not is_valid:
        problems.add("preferred lifetime is longer than the valid one")
    return Lease6(address, preferred_s, valid_s, _status(options, problems), is_valid)
