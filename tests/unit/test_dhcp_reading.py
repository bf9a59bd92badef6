# SPDX-License-Identifier: Apache-2.0
"""What a DHCPv4 message does: each kind of request and of answer, as RFC 2131 tells them apart."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from time import process_time_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel import abi
from sentinel.dhcp.reading import read_step
from sentinel.dhcp.step import INFINITE_NS, Act, Step
from tests.harness.captures import read_frames
from tests.harness.dhcp import END, option
from tests.harness.dhcp_records import record
from tests.harness.dhcp_seeds import (
    CLIENT,
    DUID_LLT,
    MAC,
    NO_ADDRESS,
    RELAY,
    SERVER,
    address,
    bootp,
    kind,
    seconds,
    seeds4,
)
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, TPID_S, Tag, ethernet
from tests.harness.packets import ETHERTYPE_IPV4, PROTO_UDP, ipv4, udp

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
SERVER_MAC = "fa:16:3e:00:00:01"
EVERYBODY = "255.255.255.255"
SECOND = 10**9


def frame4(
    payload: bytes,
    *,
    macs: tuple[str, str] = (GUEST_MAC, BROADCAST),
    ends: tuple[str, str] = (NO_ADDRESS, EVERYBODY),
    tags: tuple[Tag, ...] = (),
) -> bytes:
    packet = ipv4(*ends, PROTO_UDP, udp(*ends, 68, 67, payload))
    return ethernet(macs[1], macs[0], packet, ETHERTYPE_IPV4, tags)


def read4(
    payload: bytes,
    *,
    macs: tuple[str, str] = (GUEST_MAC, BROADCAST),
    ends: tuple[str, str] = (NO_ADDRESS, EVERYBODY),
    tags: tuple[Tag, ...] = (),
) -> Step:
    step = read_step(record(frame4(payload, macs=macs, ends=ends, tags=tags)))
    assert step is not None
    return step


def request(*options: bytes, ciaddr: str = NO_ADDRESS, giaddr: str = NO_ADDRESS) -> bytes:
    return bootp(kind(3) + b"".join(options) + END, ciaddr=ciaddr, giaddr=giaddr)


def test_where_and_when_come_from_the_record() -> None:
    step = read4(seeds4()["dhclient discover"])
    assert (step.time_ns, step.ifindex, step.port_ifindex) == (1000, 7, 8)
    assert (step.role, step.direction, step.passed) == ("uplink", abi.TAP_OUT, True)
    assert (step.sent_ns, step.received_ns, step.missed) == (300, 200, 3)
    dropped = replace(record(frame4(request())), verdict="dropped")
    other = read_step(dropped)
    assert other is not None
    assert not other.passed


def test_what_is_no_message() -> None:
    assert read_step(record(b"")) is None
    assert read_step(record(frame4(b"too short for BOOTP"))) is None


@pytest.mark.parametrize(
    ("name", "act", "rfc_name"),
    [
        ("dhclient discover", Act.FIND, "DHCPDISCOVER"),
        ("rapid discover", Act.FIND, "DHCPDISCOVER"),
        ("dhclient request", Act.TAKE, "DHCPREQUEST"),
        ("udhcpc reboot", Act.REBOOT, "DHCPREQUEST"),
        ("dhclient renew", Act.REBIND, "DHCPREQUEST"),  # sent to everybody here
        ("dhclient decline", Act.DECLINE, "DHCPDECLINE"),
        ("dhclient release", Act.RELEASE, "DHCPRELEASE"),
        ("dhcpcd inform", Act.INFORM, "DHCPINFORM"),
        ("dnsmasq offer", Act.OFFER, "DHCPOFFER"),
        ("dnsmasq ack", Act.ACK, "DHCPACK"),
        ("ack to an inform", Act.ACK, "DHCPACK"),
        ("dnsmasq nak", Act.NAK, "DHCPNAK"),
        ("overload of file", Act.ACK, "DHCPACK"),
        ("overload of both", Act.OFFER, "DHCPOFFER"),
        ("forcerenew", Act.WAKE, "DHCPFORCERENEW"),
        ("bootp", Act.OTHER, "BOOTREQUEST"),
        ("bootp with options", Act.OTHER, "BOOTREQUEST"),
        ("reply of type 1", Act.OTHER, "DHCPDISCOVER"),
        ("reply of type 3", Act.OTHER, "DHCPREQUEST"),
        ("reply of type 10", Act.OTHER, "DHCPLEASEQUERY"),
        ("reply of type 99", Act.OTHER, "DHCP type 99"),
        ("offer of a request", Act.OTHER, "DHCPOFFER"),
    ],
)
def test_acts_of_dhcp4(name: str, act: Act, rfc_name: str) -> None:
    step = read4(seeds4()[name])
    assert (step.act, step.name, step.family) == (act, rfc_name, 4)


BOOTREPLY_ONLY = bootp(bytes(60), op=2, cookie=bytes(4), yiaddr=CLIENT)


def test_bootp() -> None:
    step = read4(BOOTREPLY_ONLY)
    assert (step.name, step.addresses, step.server_mac) == ("BOOTREPLY", (CLIENT,), GUEST_MAC)
    assert read4(bootp(bytes(60), op=9, cookie=bytes(4))).name == "BOOTP op 9"
    assert read4(bootp(kind(1) + END, op=9)).act is Act.OTHER


ASKED, NAMED = address(50, CLIENT), address(54, SERVER)
# IP source and destination, Ethernet destination.
To = tuple[str, str, str]
FIRST = (NO_ADDRESS, EVERYBODY, BROADCAST)
TO_SERVER = (CLIENT, SERVER, SERVER_MAC)
TO_ALL = (CLIENT, EVERYBODY, BROADCAST)
NO_SERVER, NO_WISH = address(54, NO_ADDRESS), address(50, NO_ADDRESS)


@pytest.mark.parametrize(
    ("payload", "to", "act"),
    [
        pytest.param(request(NAMED, ASKED), FIRST, Act.TAKE, id="selecting"),
        pytest.param(request(NAMED), FIRST, Act.TAKE, id="forgot to ask"),
        pytest.param(request(NAMED, ASKED, ciaddr=CLIENT), TO_SERVER, Act.TAKE, id="all three"),
        pytest.param(request(ASKED), FIRST, Act.REBOOT, id="init-reboot"),
        pytest.param(request(ciaddr=CLIENT), TO_SERVER, Act.RENEW, id="renewing"),
        pytest.param(request(ciaddr=CLIENT), TO_ALL, Act.REBIND, id="rebinding"),
        pytest.param(
            request(ciaddr=CLIENT), (CLIENT, EVERYBODY, SERVER_MAC), Act.RENEW, id="frame"
        ),
        pytest.param(request(ciaddr=CLIENT), (CLIENT, SERVER, BROADCAST), Act.RENEW, id="packet"),
        pytest.param(request(NAMED, ciaddr=CLIENT), TO_SERVER, Act.RENEW, id="names a server"),
        pytest.param(request(ASKED, ciaddr=CLIENT), TO_SERVER, Act.RENEW, id="asks as well"),
        pytest.param(request(ciaddr=CLIENT, giaddr=RELAY), TO_SERVER, Act.REBIND, id="relayed"),
        pytest.param(request(), FIRST, Act.OTHER, id="nothing"),
        pytest.param(request(NO_SERVER, ASKED), FIRST, Act.REBOOT, id="server 0.0.0.0"),
        pytest.param(request(NO_WISH, ciaddr=CLIENT), TO_SERVER, Act.RENEW, id="asks for 0.0.0.0"),
    ],
)
def test_which_request(payload: bytes, to: To, act: Act) -> None:
    """RFC 2131 section 4.3.2, table 4."""
    step = read4(payload, ends=to[:2], macs=(GUEST_MAC, to[2]))
    assert step.act is act
    assert step.addresses == (() if payload in (request(), request(NAMED)) else (CLIENT,))


@pytest.mark.parametrize(
    ("payload", "addresses"),
    [
        pytest.param(bootp(kind(1) + END), (), id="discover"),
        pytest.param(bootp(kind(1) + ASKED + END), (CLIENT,), id="discover with a wish"),
        pytest.param(bootp(kind(4) + ASKED + END), (CLIENT,), id="decline"),
        pytest.param(bootp(kind(7) + END, ciaddr=CLIENT), (CLIENT,), id="release"),
        pytest.param(bootp(kind(8) + END, ciaddr=CLIENT), (CLIENT,), id="inform"),
        pytest.param(request(address(50, SERVER), ciaddr=CLIENT), (CLIENT,), id="renewal"),
        pytest.param(bootp(kind(7) + NAMED + address(50, SERVER) + END, ciaddr=CLIENT), (CLIENT,),
                     id="release that asks"),
        pytest.param(bootp(kind(2) + END, op=2, yiaddr=CLIENT), (CLIENT,), id="offer"),
        pytest.param(
            bootp(kind(5) + END, op=2, yiaddr=CLIENT, ciaddr=SERVER), (CLIENT,), id="ack"
        ),
        pytest.param(bootp(kind(5) + END, op=2, ciaddr=CLIENT), (CLIENT,), id="ack to inform"),
        pytest.param(bootp(kind(2) + END, op=2, ciaddr=CLIENT), (), id="offer of nothing"),
        pytest.param(bootp(kind(6) + END, op=2, ciaddr=CLIENT, yiaddr=CLIENT), (), id="nak"),
    ],
)  # fmt: skip
def test_addresses_of_dhcp4(payload: bytes, addresses: tuple[str, ...]) -> None:
    assert read4(payload).addresses == addresses


def test_times_of_dhcp4() -> None:
    step = read4(seeds4()["dnsmasq ack"])
    assert (step.lease_ns, step.t1_ns, step.t2_ns) == (120 * SECOND, 60 * SECOND, 105 * SECOND)
    assert read4(seeds4()["infinite"]).lease_ns == INFINITE_NS
    assert read4(seeds4()["infinite"]).t1_ns is None
    inform = read4(seeds4()["ack to an inform"])
    assert (inform.lease_ns, inform.t1_ns, inform.t2_ns) == (None, None, None)
    must_not = read4(bootp(kind(5) + seconds(51, 60) + END, op=2, ciaddr=CLIENT))
    assert (must_not.act, must_not.addresses, must_not.lease_ns) == (Act.ACK, (CLIENT,), None)
    asked = read4(bootp(kind(1) + seconds(51, 60) + END))
    assert asked.lease_ns is None


INFINITE = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("lease", "t1", "t2", "expected"),
    [
        (100, 50, 80, (50, 80)), (100, None, None, (None, None)), (100, 50, None, (50, None)),
        (100, None, 80, (None, 80)), (100, 0, 0, (None, None)),
        (100, 80, 50, None), (100, 80, 80, None), (100, 50, 100, None), (100, 100, None, None),
        (100, 50, INFINITE, None), (INFINITE, INFINITE, INFINITE, (INFINITE, INFINITE)),
        (INFINITE, 50, 80, (50, 80)), (INFINITE, 50, INFINITE, (50, INFINITE)),
        (None, 50, 80, (50, 80)), (None, 80, 50, None),
    ],
)  # fmt: skip
def test_times_that_are_out_of_order_are_not_said(
    lease: int | None,
    t1: int | None,
    t2: int | None,
    expected: tuple[int | None, int | None] | None,
) -> None:
    """RFC 2131 section 4.4.5: T1 is before T2, and T2 before the end."""
    said = [(51, lease), (58, t1), (59, t2)]
    options = b"".join(seconds(code, value) for code, value in said if value is not None)
    step = read4(bootp(kind(5) + options + END, op=2, yiaddr=CLIENT))

    def nanoseconds(value: int | None) -> int | None:
        return INFINITE_NS if value == INFINITE else value and value * SECOND

    assert (step.t1_ns, step.t2_ns) == tuple(map(nanoseconds, expected or (None, None)))
    assert step.problems == (
        () if expected else ("T1, T2 and the lease's end are not in order",)
    )  # fmt: skip


def test_who_and_where_of_dhcp4() -> None:
    asked = read4(seeds4()["dhcpcd discover"], tags=((TPID_S, 5, 0), (TPID_C, 6, 0)))
    assert (asked.client, asked.mac) == (GUEST_MAC, GUEST_MAC)
    assert asked.client_id == "ff3e000099" + DUID_LLT.hex()
    assert (asked.server, asked.server_mac, asked.server_address) == (None, None, EVERYBODY)
    assert (asked.vid, asked.host_name) == (5, "guest.example.org")
    assert read4(seeds4()["dhcpcd discover"], tags=((TPID_C, 0, 5),)).vid is None
    told = read4(
        seeds4()["ack behind a relay"], macs=(SERVER_MAC, GUEST_MAC), ends=(SERVER, CLIENT)
    )
    assert (told.client, told.server, told.relay) == (GUEST_MAC, SERVER, RELAY)
    assert (told.server_mac, told.server_address) == (SERVER_MAC, SERVER)
    assert read4(seeds4()["udhcpc discover"]).is_broadcast
    assert read4(seeds4()["udhcpc discover"]).client_id == "01" + MAC.hex()
    assert read4(seeds4()["dnsmasq nak"]).note == "wrong network"
    nameless = bootp(kind(5) + address(54, NO_ADDRESS) + END, op=2, yiaddr=CLIENT)
    assert read4(nameless).server is None
    assert read4(seeds4()["infiniband"]).mac == "00:00:00:00:00:00"


def test_what_only_a_server_sends_is_a_server_s_whatever_op_says() -> None:
    """As the kernel counts it; but no client takes it."""
    step = read4(seeds4()["offer of a request"], macs=(SERVER_MAC, GUEST_MAC))
    assert (step.act, step.server_mac) == (Act.OTHER, SERVER_MAC)
    assert step.problems == ("a server's type in a request",)
    odd = read4(seeds4()["reply of type 3"], macs=(SERVER_MAC, GUEST_MAC))
    assert (odd.server_mac, odd.problems) == (SERVER_MAC, ("a client's type in a reply",))


def test_a_message_that_is_cut() -> None:
    frame = frame4(seeds4()["dnsmasq ack"])
    step = read_step(record(frame[:300]))
    assert step is not None
    assert step.problems[0] == "258 of 312 bytes are there"
    assert (step.act, step.lease_ns) == (Act.ACK, 120 * SECOND)


def test_options_of_a_hostile_length_stay_bounded() -> None:
    text = option(12, b"h" * 255) * 2 + option(56, b"n" * 255) * 2 + option(61, b"\1" * 255) * 2
    step = read4(bootp(kind(6) + text + END, op=2))
    assert (len(step.host_name or ""), len(step.note or "")) == (64, 120)
    assert len(step.client_id or "") == 510


@given(st.binary(max_size=400), st.sampled_from([0, 14, 22, 42, 62]))
def test_any_bytes(tail: bytes, at: int) -> None:
    for frame in (frame4(seeds4()["dnsmasq ack"]), frame4(request())):
        step = read_step(record(frame[:at] + tail))
        assert step is None or isinstance(step.act, Act)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["dhcp-rfc3004", "dhcp-option-33", "bootp_asan"])
def test_captures_are_called_as_tshark_calls_them(name: str) -> None:
    path = CAPTURES / f"{name}.pcap"
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f",
         "-e", "dhcp.option.dhcp", "-e", "dhcp.hw.mac_addr"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    numbers = {"1": "DHCPDISCOVER", "2": "DHCPOFFER", "3": "DHCPREQUEST", "5": "DHCPACK"}
    for frame, line in zip(read_frames(path), done.stdout.splitlines(), strict=True):
        step = read_step(record(frame))
        number, mac = line.split("\t")
        if step is not None and number:
            assert (step.name, step.mac) == (numbers[number], mac)


@pytest.mark.alone
def test_speed() -> None:
    """A usual message takes less than 60 µs; the best of five, as others may be at work."""
    messages = [record(frame4(seeds4()[name])) for name in ("dhclient request", "dnsmasq ack")]
    best_us = float("inf")
    for _ in range(5):
        begin = process_time_ns()
        for _ in range(1000):
            for message in messages:
                read_step(message)
        best_us = min(best_us, (process_time_ns() - begin) / 2000 / 1000)
    assert best_us < 60, f"{best_us:.0f} µs"
