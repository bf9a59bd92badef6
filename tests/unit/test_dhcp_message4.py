# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 messages into fields, rule by rule; and against tshark."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.dhcp.datagram import find_datagram
from sentinel.dhcp.message4 import Message4, decode4
from sentinel.dhcp.wire_text import MOST_PROBLEMS
from tests.harness.captures import read_frames, write_pcap
from tests.harness.dhcp import END, PAD, option
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
from tests.harness.frames import BROADCAST, GUEST_MAC, ethernet
from tests.harness.packets import ETHERTYPE_IPV4, PROTO_UDP, ipv4, udp

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="no tshark installed")


def decoded(payload: bytes) -> Message4:
    message = decode4(payload)
    assert message is not None
    return message


def test_fixed_fields() -> None:
    message = decoded(
        bootp(kind(3) + END, xid=7, secs=9, flags=0x8000, ciaddr=CLIENT, yiaddr="10.0.0.8",
              siaddr=SERVER, giaddr=RELAY)
    )  # fmt: skip
    assert (message.op, message.hardware_type, message.hardware_bytes) == (1, 1, 6)
    assert (message.xid, message.secs, message.is_broadcast) == (7, 9, True)
    assert (message.ciaddr, message.yiaddr) == (CLIENT, "10.0.0.8")
    assert (message.siaddr, message.giaddr) == (SERVER, RELAY)
    assert (message.chaddr, message.type, message.problems) == (MAC, 3, ())


def test_options_of_a_server() -> None:
    message = decoded(seeds4()["dnsmasq ack"])
    assert (message.type, message.yiaddr, message.server_identifier) == (5, CLIENT, SERVER)
    assert (message.lease_s, message.renewal_s, message.rebinding_s) == (120, 60, 105)
    assert (message.host_name, message.problems) == ("guest", ())


@pytest.mark.parametrize("name", sorted(seeds4()))
def test_real_layouts_have_no_problem(name: str) -> None:
    assert decoded(seeds4()[name]).problems == (
        ("hlen is 200 for Ethernet",) if "lies" in name else ()
    )


def test_too_short_for_any_message() -> None:
    assert decode4(bootp(b"")[:235]) is None
    assert decoded(bootp(b"")[:236]).type is None


@pytest.mark.parametrize("cookie", [bytes(4), b"\x63\x82\x53\x64", b"\x63\x82"])
def test_without_cookie_it_is_bootp(cookie: bytes) -> None:
    message = decoded(bootp(kind(5), cookie=cookie))
    assert (message.has_cookie, message.type, message.options) == (False, None, {})


def test_with_cookie_and_without_type_it_is_bootp() -> None:
    message = decoded(bootp(option(12, b"x") + END))
    assert (message.has_cookie, message.type, message.host_name) == (True, None, "x")


SPLIT = decoded(
    bootp(
        option(52, b"\3") + option(61, b"\1o") + END,
        file=option(61, b"f") + option(12, b"fi") + END,
        sname=option(12, b"sn") + option(61, b"s") + END,
    )
)


def test_parts_are_put_together_in_the_order_options_file_sname() -> None:
    """RFC 3396 section 5, RFC 2131 section 4.1."""
    assert (SPLIT.client_id, SPLIT.host_name) == (b"\1ofs", "fisn")


def test_an_address_in_parts() -> None:
    """RFC 3396 section 7: whatever the option."""
    parts = option(54, b"\x0a\0") + PAD + option(12, b"x") + option(54, b"\0\1")
    assert decoded(bootp(parts + END)).server_identifier == SERVER


@pytest.mark.parametrize(
    ("overload", "expected"),
    [(b"\0", None), (b"\1", 1), (b"\2", 2), (b"\3", 1), (b"\7", 1), (b"\4", None), (b"", None)],
)
def test_overload(overload: bytes, expected: int | None) -> None:
    options = option(52, overload) + END
    message = decoded(bootp(options, file=kind(1) + END, sname=kind(2) + END))
    assert message.type == expected
    is_odd = overload[:1] not in (b"\1", b"\2", b"\3", b"")
    assert ("option 52 is not one of 1 to 3, once" in message.problems) == is_odd


def test_of_two_overloads_the_last_counts_and_none_in_file_does() -> None:
    """As the kernel goes by."""
    two = bootp(option(52, b"\1") + option(52, b"\2") + END, file=kind(1), sname=kind(2) + END)
    assert decoded(two).type == 2
    inside = bootp(option(52, b"\1") + END, file=option(52, b"\2") + END, sname=kind(2) + END)
    assert decoded(inside).type is None


def test_options_of_another_area_end_with_it() -> None:
    """An option of `sname` does not reach into `file`, and one of `file` not into the cookie."""
    inside = bootp(
        option(52, b"\3") + END, sname=bytes(60) + bytes((12, 9)) + b"ab",
        file=bytes(124) + bytes((56, 9)) + b"cd",
    )  # fmt: skip
    message = decoded(inside)
    assert (message.host_name, message.message) == ("ab", "cd")
    assert message.problems == ("file: option 56 is cut off", "sname: option 12 is cut off")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(bytes((12, 9)) + b"guest", "options: option 12 is cut off", id="length"),
        pytest.param(b"\x0c", "options: option 12 has no length", id="no length"),
        pytest.param(option(12, b"guest"), "options: no end", id="no end"),
        pytest.param(b"", "options: no end", id="nothing"),
        pytest.param(option(54, b"abc") + END, "option 54 is 3 bytes long, not 4", id="short"),
        pytest.param(option(51, bytes(5)) + END, "option 51 is 5 bytes long, not 4", id="long"),
        pytest.param(
            kind(1) + kind(2) + END, "option 53 is longer than one byte, or there twice", id="53"
        ),
        pytest.param(
            option(61, b"\1") + END, "client identifier is shorter than two bytes", id="short 61"
        ),
        pytest.param(
            option(61, bytes(255)) + option(61, b"x") + END, "client identifier of 256 bytes",
            id="long client identifier",
        ),
        pytest.param(
            option(61, b"\xff" + bytes(6)) + END, "client identifier of type 255 without a DUID",
            id="no DUID",
        ),
        pytest.param(option(82, b"\1\5abc") + END, "option 82: a length lies", id="82"),
        pytest.param(option(82, b"\1") + END, "option 82: a length lies", id="half of 82"),
        pytest.param(option(81, b"\0\0") + END, "option 81 is shorter than three bytes", id="81"),
        pytest.param(
            option(81, b"\4\0\0\x09abc") + END, "domain name: a label's length lies", id="label"
        ),
    ],
)  # fmt: skip
def test_problems(options: bytes, problem: str) -> None:
    assert decoded(bootp(options)).problems == (problem,)


@pytest.mark.parametrize(
    ("fields_", "problem"),
    [({"op": 3}, "op is 3"), ({"flags": 1}, "flags that must be zero are set"),
     ({"hardware": (1, 0)}, "hlen is 0 for Ethernet"), ({"hardware": (32, 17)}, "hlen is 17")],
)  # fmt: skip
def test_problems_of_the_header(fields_: dict[str, int], problem: str) -> None:
    assert decoded(bootp(END, **fields_)).problems == (problem,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hardware", "size"), [((1, 6), 6), ((1, 0), 6), ((1, 255), 6), ((32, 0), 0), ((32, 20), 16)]
)
def test_a_hardware_length_that_lies(hardware: tuple[int, int], size: int) -> None:
    chaddr = MAC + bytes(range(10))
    message = decoded(bootp(END, hardware=hardware, chaddr=chaddr))
    assert (message.chaddr, message.hardware_bytes) == (chaddr[:size], hardware[1])


def test_what_is_behind_a_cut_option_is_not_read_and_what_is_there_is() -> None:
    message = decoded(bootp(kind(5) + bytes((54, 200)) + bytes((10, 0, 0, 1)) + kind(6)))
    assert (message.type, message.server_identifier) == (5, SERVER)


def test_a_pad_is_one_byte_and_nothing_follows_the_end() -> None:
    message = decoded(bootp(PAD * 3 + kind(1) + PAD + option(12, b"a") + END + option(12, b"b")))
    assert (message.type, message.host_name) == (1, "a")


def test_no_time_is_a_problem_and_the_largest_is_kept() -> None:
    message = decoded(bootp(seconds(51, 0xFFFFFFFF) + seconds(58, 0) + END))
    assert (message.lease_s, message.renewal_s, message.rebinding_s) == (0xFFFFFFFF, 0, None)


def test_client_identifier_with_a_duid() -> None:
    """RFC 4361 section 6.1."""
    message = decoded(seeds4()["dhcpcd discover"])
    assert (message.iaid, message.duid) == (0x3E000099, DUID_LLT)
    assert message.client_id == b"\xff\x3e\0\0\x99" + DUID_LLT
    assert decoded(seeds4()["udhcpc discover"]).duid is None


def test_relay_agent_information() -> None:
    """RFC 3046 section 2.0; of two suboptions the first."""
    message = decoded(bootp(option(82, b"\1\2ab\x05\4xxxx\2\1c\1\1z") + END))
    assert (message.circuit_id, message.remote_id) == (b"ab", b"c")
    assert decoded(seeds4()["dnsmasq ack"]).circuit_id is None


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (option(12, b"guest\0\0"), "guest"),
        (option(12, b"\0"), None),
        (option(12, b"\xff\xfe"), "��"),
        (option(12, b"a" * 100), "a" * 64),
        (option(12, "é".encode() * 100), "é" * 64),
        (option(12, b"\x1b[31m"), "\x1b[31m"),
        (option(81, b"\0\xff\xffhost.example.org"), "host.example.org"),
        (option(81, b"\5\0\0\4host\7example\0"), "host.example"),
        (option(81, b"\4\0\0\4host"), "host"),
        (option(12, b"short") + option(81, b"\0\0\0long.example"), "short"),
        (option(12, b"") + option(81, b"\0\0\0long"), "long"),
    ],
)
def test_host_name(options: bytes, name: str | None) -> None:
    assert decoded(bootp(options + END)).host_name == name


def test_a_message_of_the_server_is_bounded() -> None:
    assert decoded(bootp(option(56, b"x" * 255) + END)).message == "x" * 120
    assert decoded(bootp(option(56, b"\xc3") + END)).message == "�"


def test_rapid_commit() -> None:
    """RFC 4039: it has no value."""
    assert decoded(seeds4()["rapid discover"]).is_rapid
    assert not decoded(seeds4()["udhcpc discover"]).is_rapid


def test_problems_are_bounded() -> None:
    bad = b"".join(option(code, b"a") for code in (50, 51, 54, 58, 59, 61, 81, 82)) + kind(1) * 2
    message = decoded(bootp(bad, op=9, flags=1, hardware=(1, 9)))
    assert len(message.problems) == MOST_PROBLEMS


@given(st.binary(max_size=700))
def test_any_bytes(payload: bytes) -> None:
    message = decode4(payload)
    assert (message is None) == (len(payload) < 236)


@given(st.binary(max_size=600), st.binary(max_size=64), st.binary(max_size=128), st.integers(0, 3))
def test_any_options(options: bytes, sname: bytes, file: bytes, overload: int) -> None:
    lead = option(52, bytes((overload,)))
    message = decoded(bootp(lead + options, sname=sname, file=file))
    assert sum(map(len, message.options.values())) <= 3 + len(options) + 64 + 128
    assert len(message.problems) <= MOST_PROBLEMS
    assert {each.name for each in fields(message)} >= {"type", "problems"}


def test_work_is_linear() -> None:
    """The largest payload there can be, of the smallest options; none is looked at twice."""
    payload = bootp(bytes((12, 0)) * 32_000, file=bytes((52, 1)) * 64)
    assert decoded(payload).problems == ("options: no end",)


FIELDS = (
    *("dhcp.type", "dhcp.id", "dhcp.hw.len", "dhcp.ip.client", "dhcp.ip.your", "dhcp.ip.relay"),
    *("dhcp.flags.bc", "dhcp.option.dhcp", "dhcp.option.requested_ip_address"),
    *("dhcp.option.dhcp_server_id", "dhcp.option.ip_address_lease_time"),
    *("dhcp.option.renewal_time_value", "dhcp.option.rebinding_time_value"),
    *("dhcp.option.hostname", "dhcp.option.message"),
)


def tshark(path: Path) -> list[dict[str, str]]:
    """Each frame's fields, the first of each."""
    words = [word for field in FIELDS for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-o", "ip.defragment:FALSE", "-T", "fields",
         "-E", "occurrence=f", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]


def assert_same(frames: Sequence[bytes], path: Path) -> int:
    """All that tshark reads, we read alike; how many messages there were."""
    messages = 0
    for frame, theirs in zip(frames, tshark(path), strict=True):
        datagram = find_datagram(frame)
        if datagram is None:
            assert not theirs["dhcp.id"]
            continue
        ours = decode4(datagram.payload)
        if ours is None:
            continue  # cut off in the fixed part
        messages += 1
        assert int(theirs["dhcp.type"]) == ours.op
        assert int(theirs["dhcp.id"], 16) == ours.xid
        assert int(theirs["dhcp.hw.len"]) == ours.hardware_bytes
        assert (theirs["dhcp.ip.client"], theirs["dhcp.ip.your"]) == (ours.ciaddr, ours.yiaddr)
        assert theirs["dhcp.ip.relay"] == ours.giaddr
        assert theirs["dhcp.flags.bc"] in ("01"[ours.is_broadcast], str(ours.is_broadcast))
        for field, value in {
            "dhcp.option.dhcp": ours.type,
            "dhcp.option.requested_ip_address": ours.requested,
            "dhcp.option.dhcp_server_id": ours.server_identifier,
            "dhcp.option.ip_address_lease_time": ours.lease_s,
            "dhcp.option.renewal_time_value": ours.renewal_s,
            "dhcp.option.rebinding_time_value": ours.rebinding_s,
            "dhcp.option.message": ours.message,
        }.items():
            assert theirs[field] == ("" if value is None else str(value)), field
        if 12 in ours.options:
            assert theirs["dhcp.option.hostname"] == ours.host_name
    return messages


@needs_tshark
@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")
@pytest.mark.parametrize(("name", "messages"), [("dhcp-rfc3004", 4), ("dhcp-option-33", 1)])
def test_captures_against_tshark(name: str, messages: int) -> None:
    path = CAPTURES / f"{name}.pcap"
    assert assert_same(read_frames(path), path) >= messages


@pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")
def test_a_capture_that_crashed_a_decoder() -> None:
    for frame in read_frames(CAPTURES / "bootp_asan.pcap"):
        datagram = find_datagram(frame)
        if datagram is not None:
            decode4(datagram.payload)


# tshark shows parts of an option one by one, and none of what `file` holds of it.
NOT_AS_TSHARK = {"overload of both", "long option in parts"}


@needs_tshark
def test_seeds_against_tshark(tmp_path: Path) -> None:
    seeds = {name: seed for name, seed in seeds4().items() if name not in NOT_AS_TSHARK}
    ends = (NO_ADDRESS, "255.255.255.255")
    frames = [
        ethernet(
            BROADCAST, GUEST_MAC, ipv4(*ends, PROTO_UDP, udp(*ends, 68, 67, seed)), ETHERTYPE_IPV4
        )
        for seed in seeds.values()
    ]
    path = tmp_path / "seeds.pcap"
    write_pcap(path, frames)
    assert assert_same(frames, path) == len(seeds)


def test_an_address_of_a_client_is_its_own_option() -> None:
    asked = decoded(bootp(kind(3) + address(50, CLIENT) + END))
    assert (asked.requested, asked.server_identifier) == (CLIENT, None)
