# SPDX-License-Identifier: Apache-2.0
"""DHCP messages as real clients and servers lay them out, and mutations of them. Pure.

Spelled out by hand after the order and the sizes of options that dhclient, udhcpc,
dhcpcd and dnsmasq use. The mutations are drawn from a seeded generator, so that a
message has a number and comes again.
"""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable, Iterator, Sequence

from tests.harness.dhcp import END, MAGIC, option
from tests.harness.frames import GUEST_MAC, mac_bytes

XID = 0x3903F326
CLIENT, SERVER, RELAY = "10.0.0.7", "10.0.0.1", "10.9.0.1"
NO_ADDRESS = "0.0.0.0"  # noqa: S104
MAC = mac_bytes(GUEST_MAC)
DUID_LLT = struct.pack("!HHI", 1, 1, 0x2C3D4E5F) + MAC
DUID_EN = struct.pack("!HI", 2, 9) + bytes.fromhex("0cc084d303000912")
DUID_LL = struct.pack("!HH", 3, 1) + bytes.fromhex("fa163e000001")
DUID_UUID = struct.pack("!H", 4) + bytes(range(16))


def packed(address: str) -> bytes:
    """Either family."""
    return ipaddress.ip_address(address).packed


def bootp(
    options: bytes,
    *,
    op: int = 1,
    xid: int = XID,
    secs: int = 0,
    flags: int = 0,
    ciaddr: str = NO_ADDRESS,
    yiaddr: str = NO_ADDRESS,
    siaddr: str = NO_ADDRESS,
    giaddr: str = NO_ADDRESS,
    hardware: tuple[int, int] = (1, 6),
    chaddr: bytes = MAC,
    sname: bytes = b"",
    file: bytes = b"",
    cookie: bytes = MAGIC,
    least_bytes: int = 0,
) -> bytes:
    """A message with these options behind the cookie, padded to `least_bytes`."""
    return (
        struct.pack("!BBBBIHH", op, *hardware, 0, xid, secs, flags)
        + b"".join(packed(each) for each in (ciaddr, yiaddr, siaddr, giaddr))
        + chaddr.ljust(16, b"\0")
        + sname.ljust(64, b"\0")
        + file.ljust(128, b"\0")
        + cookie
        + options
    ).ljust(least_bytes, b"\0")


def kind(number: int) -> bytes:
    """Option 53."""
    return option(53, bytes((number,)))


def seconds(code: int, value: int) -> bytes:
    """An option that holds a time."""
    return option(code, struct.pack("!I", value))


def address(code: int, value: str) -> bytes:
    """An option that holds an address."""
    return option(code, packed(value))


PARAMETERS = option(55, bytes((1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42)))
SERVERS = (
    address(54, SERVER) + seconds(51, 120) + seconds(58, 60) + seconds(59, 105)
    + address(1, "255.255.255.0") + address(28, "10.0.0.255") + address(3, SERVER)
    + address(6, SERVER) + option(12, b"guest") + option(15, b"example.org")
)  # fmt: skip
CIRCUIT = option(82, option(1, b"eth0/3") + option(2, bytes.fromhex("0006fa163e000001")))


def seeds4() -> dict[str, bytes]:
    """DHCPv4, by who sends it."""
    dhclient = PARAMETERS + END
    udhcpc = (
        option(61, b"\1" + MAC) + option(57, struct.pack("!H", 576))
        + option(55, bytes((1, 3, 6, 12, 15, 28, 42))) + option(60, b"udhcp 1.35.0") + END
    )  # fmt: skip
    dhcpcd = (
        option(61, b"\xff" + struct.pack("!I", 0x3E000099) + DUID_LLT)
        + option(57, struct.pack("!H", 1472)) + option(60, b"dhcpcd-9.4.1:Linux-6.1:x86_64")
        + option(81, b"\4\0\0\5guest\7example\3org\0") + option(145, b"\1") + PARAMETERS + END
    )  # fmt: skip
    long_list = bytes(range(1, 200))
    odd = {f"reply of type {number}": bootp(kind(number) + END, op=2) for number in (1, 3, 10, 99)}
    return {
        **odd,
        "dhclient discover": bootp(kind(1) + option(12, b"guest") + dhclient, least_bytes=300),
        "dhclient request": bootp(
            kind(3) + address(54, SERVER) + address(50, CLIENT) + dhclient, least_bytes=300
        ),
        "dhclient renew": bootp(kind(3) + dhclient, ciaddr=CLIENT, least_bytes=300),
        "dhclient decline": bootp(kind(4) + address(54, SERVER) + address(50, CLIENT) + END),
        "dhclient release": bootp(kind(7) + address(54, SERVER) + END, ciaddr=CLIENT),
        "udhcpc discover": bootp(kind(1) + udhcpc, secs=3, flags=0x8000),
        "udhcpc reboot": bootp(kind(3) + address(50, CLIENT) + udhcpc),
        "dhcpcd discover": bootp(kind(1) + dhcpcd),
        "dhcpcd inform": bootp(kind(8) + dhcpcd, ciaddr=CLIENT),
        "rapid discover": bootp(kind(1) + option(80, b"") + dhcpcd),
        "dnsmasq offer": bootp(kind(2) + SERVERS + END, op=2, yiaddr=CLIENT, siaddr=SERVER),
        "dnsmasq ack": bootp(kind(5) + SERVERS + END, op=2, yiaddr=CLIENT, least_bytes=300),
        "dnsmasq nak": bootp(
            kind(6) + address(54, SERVER) + option(56, b"wrong network") + END, op=2, flags=0x8000
        ),
        "ack behind a relay": bootp(
            kind(5) + SERVERS + CIRCUIT + END, op=2, yiaddr=CLIENT, giaddr=RELAY
        ),
        "ack to an inform": bootp(
            kind(5) + address(54, SERVER) + address(6, SERVER) + END, op=2, ciaddr=CLIENT
        ),
        "overload of file": bootp(
            address(54, SERVER) + option(52, b"\1") + END,
            op=2, yiaddr=CLIENT, file=kind(5) + seconds(51, 120) + END,
        ),
        "overload of both": bootp(
            option(52, b"\3") + option(12, b"gu") + END,
            op=2, yiaddr=CLIENT, sname=option(12, b"t") + address(54, SERVER) + END,
            file=kind(2) + option(12, b"es") + seconds(51, 3600) + END,
        ),
        "long option in parts": bootp(
            kind(1) + option(55, long_list) + option(43, bytes(250)) + option(55, long_list) + END
        ),
        "type last": bootp(
            bytes(7) + option(43, bytes(200)) + SERVERS + CIRCUIT + kind(5) + END, op=2,
            yiaddr=CLIENT,
        ),
        "forcerenew": bootp(kind(9) + address(54, SERVER) + END, op=2),
        "infinite": bootp(
            kind(5) + address(54, SERVER) + seconds(51, 0xFFFFFFFF) + END, op=2, yiaddr=CLIENT
        ),
        "hlen lies": bootp(kind(1) + dhclient, hardware=(1, 200)),
        "infiniband": bootp(kind(1) + option(61, bytes(9)) + END, hardware=(32, 0), chaddr=b""),
        "bootp": bootp(bytes(60), cookie=bytes(4)),
        "bootp with options": bootp(PARAMETERS + END, least_bytes=300),
        "offer of a request": bootp(kind(2) + SERVERS + END, yiaddr=CLIENT),
    }  # fmt: skip


def option6(code: int, value: bytes) -> bytes:
    """Code, length, value (RFC 8415 § 21.1)."""
    return struct.pack("!HH", code, len(value)) + value


def message6(number: int, options: bytes, xid: int = 0x1234AB) -> bytes:
    """A message of a client or a server."""
    return bytes((number,)) + xid.to_bytes(3, "big") + options


def status6(code: int, text: bytes = b"") -> bytes:
    """RFC 8415 § 21.13."""
    return option6(13, struct.pack("!H", code) + text)


def ia_address(address_: str, preferred: int = 60, valid: int = 120, inside: bytes = b"") -> bytes:
    """RFC 8415 § 21.6."""
    return option6(5, packed(address_) + struct.pack("!II", preferred, valid) + inside)


def ia_prefix(prefix: str, preferred: int = 60, valid: int = 120, inside: bytes = b"") -> bytes:
    """RFC 8415 § 21.22."""
    network, size = prefix.split("/")
    head = struct.pack("!IIB", preferred, valid, int(size))
    return option6(26, head + packed(network) + inside)


def ia_na(inside: bytes = b"", iaid: int = 0x3E000099, t1: int = 0, t2: int = 0) -> bytes:
    """RFC 8415 § 21.4."""
    return option6(3, struct.pack("!III", iaid, t1, t2) + inside)


def ia_ta(inside: bytes = b"", iaid: int = 7) -> bytes:
    """RFC 8415 § 21.5."""
    return option6(4, struct.pack("!I", iaid) + inside)


def ia_pd(inside: bytes = b"", iaid: int = 1, t1: int = 0, t2: int = 0) -> bytes:
    """RFC 8415 § 21.21."""
    return option6(25, struct.pack("!III", iaid, t1, t2) + inside)


def relayed(
    inner: bytes,
    *,
    number: int = 12,
    hops: int = 0,
    link: str = "2001:db8:9::1",
    peer: str = "fe80::1",
    before: bytes = b"",
) -> bytes:
    """RFC 8415 § 9."""
    return bytes((number, hops)) + packed(link) + packed(peer) + before + option6(9, inner)


ADDRESS6, OTHER6, PREFIX6 = "2001:db8::77", "2001:db8::78", "2001:db8:40::/56"
CLIENT6, SERVER6 = option6(1, DUID_LLT), option6(2, DUID_LL)
ORO = option6(6, struct.pack("!4H", 23, 24, 39, 31))
ELAPSED = option6(8, struct.pack("!H", 150))
FQDN6 = option6(39, b"\1\5guest\7example\3org\0")


def seeds6() -> dict[str, bytes]:
    """DHCPv6, by what it is."""
    granted = ia_na(ia_address(ADDRESS6), t1=60, t2=96)
    solicit = message6(
        1, CLIENT6 + option6(14, b"") + ORO + ELAPSED + FQDN6 + ia_na() + option6(20, b"")
    )
    reply = message6(
        7, CLIENT6 + SERVER6 + granted + status6(0, b"success") + option6(23, packed("2001:db8::1"))
    )
    return {
        "solicit": solicit,
        "solicit for a prefix": message6(1, CLIENT6 + ia_na() + ia_pd(ia_prefix("::/60", 0, 0))),
        "advertise": message6(2, CLIENT6 + SERVER6 + option6(7, b"\xff") + granted),
        "advertise of nothing": message6(
            2, CLIENT6 + SERVER6 + status6(2, b"no addresses available")
        ),
        "request": message6(3, CLIENT6 + SERVER6 + ELAPSED + ia_na(ia_address(ADDRESS6))),
        "confirm": message6(4, option6(1, DUID_UUID) + ia_na(ia_address(ADDRESS6))),
        "renew": message6(5, CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6)) + ELAPSED),
        "rebind": message6(6, option6(1, DUID_EN) + ia_na(ia_address(ADDRESS6)) + ELAPSED),
        "reply": reply,
        "reply of all kinds": message6(
            7,
            CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6) + ia_address(OTHER6, 0, 0))
            + ia_ta(ia_address(OTHER6, 10, 20)) + ia_pd(ia_prefix(PREFIX6), t1=30, t2=50),
        ),
        "reply of no binding": message6(
            7, CLIENT6 + SERVER6 + ia_na(status6(3, b"no binding found"))
        ),
        "reply to a release": message6(
            7, CLIENT6 + SERVER6 + ia_na(status6(3)) + status6(0, b"release received")
        ),
        "reply of lifetime 0": message6(7, CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6, 0, 0))),
        "reply of an address refused": message6(
            7, CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6, 0, 0, status6(4, b"not on link")))
        ),
        "reply of options": message6(7, CLIENT6 + SERVER6 + option6(32, struct.pack("!I", 3600))),
        "infinite": message6(
            7,
            CLIENT6 + SERVER6
            + ia_na(ia_address(ADDRESS6, 2**32 - 1, 2**32 - 1), t1=2**32 - 1, t2=2**32 - 1),
        ),
        "release": message6(8, CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6))),
        "decline": message6(9, CLIENT6 + SERVER6 + ia_na(ia_address(ADDRESS6))),
        "reconfigure": message6(10, CLIENT6 + SERVER6 + option6(19, b"\5"), xid=0),
        "information-request": message6(11, ORO + ELAPSED),
        "relayed": relayed(
            solicit, before=option6(79, b"\0\1" + MAC) + option6(18, b"eth0/3")
        ),
        "relayed twice": relayed(relayed(solicit), hops=1, link="2001:db8:a::1"),
        "relayed reply": relayed(relayed(reply, number=13), number=13, hops=1),
        "no prefix": message6(7, CLIENT6 + SERVER6 + ia_pd(ia_prefix("2001:db8::1/200"))),
        "bits behind a prefix": message6(7, CLIENT6 + SERVER6 + ia_pd(ia_prefix("2001:db8::1/9"))),
        "no DUIDs": message6(5, option6(1, b"\0\1") + option6(2, bytes(131)) + ia_na()),
        "two of each": message6(5, 2 * CLIENT6 + 2 * SERVER6 + 2 * ELAPSED + 2 * ia_na()),
        "empty relay": bytes((12, 0)) + bytes(32),
    }  # fmt: skip


Mutation = Callable[[random.Random, bytearray, Sequence[bytes], int], None]
_BYTES4 = (0, 1, 2, 3, 4, 5, 6, 12, 50, 51, 52, 53, 54, 56, 58, 59, 61, 81, 82, 127, 254, 255)
_BYTES6 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 16, 24, 25, 26, 39, 64, 128, 254, 255)


def _flip(rng: random.Random, message: bytearray, _: Sequence[bytes], __: int) -> None:
    message[rng.randrange(len(message))] ^= 1 << rng.randrange(8)


def _put(rng: random.Random, message: bytearray, _: Sequence[bytes], begin: int) -> None:
    """A byte that means something, where options are."""
    at = rng.randrange(min(begin, len(message) - 1), len(message))
    message[at] = rng.choice(_BYTES4 if begin else _BYTES6)


def _cut(rng: random.Random, message: bytearray, _: Sequence[bytes], begin: int) -> None:
    del message[rng.randrange(min(begin, len(message) - 1), len(message)) + 1 :]


def _cut_anywhere(rng: random.Random, message: bytearray, _: Sequence[bytes], __: int) -> None:
    del message[rng.randrange(len(message)) + 1 :]


def _drop(rng: random.Random, message: bytearray, _: Sequence[bytes], begin: int) -> None:
    at = rng.randrange(min(begin, len(message) - 1), len(message))
    if len(message) > 8:
        del message[at : at + rng.randrange(1, 8)]


def _insert(rng: random.Random, message: bytearray, _: Sequence[bytes], begin: int) -> None:
    at = rng.randrange(min(begin, len(message)), len(message) + 1)
    message[at:at] = rng.randbytes(rng.randrange(1, 8))


def _again(rng: random.Random, message: bytearray, _: Sequence[bytes], begin: int) -> None:
    """A piece of it once more."""
    at = rng.randrange(min(begin, len(message) - 1), len(message))
    piece = message[at : at + rng.randrange(1, 40)]
    to = rng.randrange(min(begin, len(message)), len(message) + 1)
    message[to:to] = piece


def _splice(rng: random.Random, message: bytearray, all_: Sequence[bytes], begin: int) -> None:
    """The tail of another one."""
    other = rng.choice(all_)
    at = rng.randrange(min(begin, len(other) - 1), len(other))
    message[rng.randrange(min(begin, len(message) - 1), len(message)) :] = other[at:]


def _overload(rng: random.Random, message: bytearray, all_: Sequence[bytes], begin: int) -> None:
    """Option 52, and options in `file` and `sname`; for DHCPv6 a length that lies."""
    if not begin:
        at = rng.randrange(len(message))
        message[at : at + 2] = struct.pack("!H", rng.choice((0, 1, 4, 12, 24, 40, 0xFFFF)))
        return
    if len(message) < begin:
        return
    message[begin:begin] = bytes((52, 1, rng.choice((0, 1, 2, 3, 3, 7))))
    area = rng.choice(all_)[begin : begin + 128]
    message[108 : 108 + len(area)] = area
    message[44:108] = rng.choice(all_)[begin : begin + 64].ljust(64, b"\xff")


_MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _put, _put, _cut, _cut_anywhere, _drop, _insert, _again, _splice, _overload,
)  # fmt: skip


def mutants(seeds: Sequence[bytes], count: int, seed: int, begin: int) -> Iterator[bytes]:
    """`count` messages, each a seed with one to four mutations; the same for the same `seed`.

    `begin` is where a message's options begin if most mutations are to be there, or 0.
    """
    rng = random.Random(seed)
    for _ in range(count):
        message = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 5)):
            rng.choice(_MUTATIONS)(rng, message, seeds, begin)
        yield bytes(message)
