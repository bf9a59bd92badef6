# SPDX-License-Identifier: Apache-2.0
"""What a DHCPv6 message does: each kind of request and of answer, as RFC 8415 tells them apart."""

from __future__ import annotations

import pytest

from sentinel.dhcp.reading import read_step
from sentinel.dhcp.step import INFINITE_NS, OF_CLIENT, OF_SERVER, Act, Step
from tests.harness.dhcp_records import record
from tests.harness.dhcp_seeds import (
    ADDRESS6,
    CLIENT6,
    DUID_LL,
    DUID_LLT,
    OTHER6,
    PREFIX6,
    SERVER6,
    ia_address,
    ia_na,
    ia_pd,
    ia_prefix,
    ia_ta,
    message6,
    option6,
    relayed,
    seeds6,
    status6,
)
from tests.harness.frames import BROADCAST, GUEST_MAC, ethernet
from tests.harness.packets import ETHERTYPE_IPV6, PROTO_UDP, ipv6, udp

SERVER_MAC = "fa:16:3e:00:00:01"
SECOND = 10**9
ENDS = ("fe80::1", "ff02::1:2")


def frame6(payload: bytes, macs: tuple[str, str]) -> bytes:
    packet = ipv6(*ENDS, PROTO_UDP, udp(*ENDS, 546, 547, payload))
    return ethernet(macs[1], macs[0], packet, ETHERTYPE_IPV6)


def read6(payload: bytes, *, macs: tuple[str, str] = (GUEST_MAC, "33:33:00:01:00:02")) -> Step:
    step = read_step(record(frame6(payload, macs)))
    assert step is not None
    return step


def test_what_is_no_message() -> None:
    assert read_step(record(frame6(b"\1ab", (GUEST_MAC, BROADCAST)))) is None


@pytest.mark.parametrize(
    ("name", "act", "rfc_name"),
    [
        ("solicit", Act.FIND, "Solicit"), ("advertise", Act.OFFER, "Advertise"),
        ("advertise of nothing", Act.NAK, "Advertise"), ("request", Act.TAKE, "Request"),
        ("confirm", Act.REBOOT, "Confirm"), ("renew", Act.RENEW, "Renew"),
        ("rebind", Act.REBIND, "Rebind"), ("reply", Act.ACK, "Reply"),
        ("reply of all kinds", Act.ACK, "Reply"), ("reply of no binding", Act.NAK, "Reply"),
        ("reply to a release", Act.ACK, "Reply"), ("reply of lifetime 0", Act.NAK, "Reply"),
        ("reply of an address refused", Act.NAK, "Reply"), ("reply of options", Act.ACK, "Reply"),
        ("release", Act.RELEASE, "Release"), ("decline", Act.DECLINE, "Decline"),
        ("reconfigure", Act.WAKE, "Reconfigure"),
        ("information-request", Act.INFORM, "Information-request"),
        ("relayed", Act.FIND, "Solicit"), ("relayed twice", Act.FIND, "Solicit"),
        ("relayed reply", Act.ACK, "Reply"), ("empty relay", Act.OTHER, "Relay-forward"),
    ],
)  # fmt: skip
def test_acts_of_dhcp6(name: str, act: Act, rfc_name: str) -> None:
    step = read6(seeds6()[name])
    assert (step.act, step.name, step.family) == (act, rfc_name, 6)


def reply(*options: bytes, number: int = 7) -> Step:
    return read6(message6(number, CLIENT6 + SERVER6 + b"".join(options)))


GOOD = ia_address(ADDRESS6)
GONE = ia_address(OTHER6, 0, 0)


@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize(
    ("options", "addresses", "note"),
    [
        pytest.param([ia_na(GOOD)], (ADDRESS6,), None, id="granted"),
        pytest.param([ia_na(GOOD + GONE)], (ADDRESS6,), None, id="renumbered"),
        pytest.param([ia_na(GOOD), status6(0)], (ADDRESS6,), None, id="success"),
        pytest.param([ia_na(status6(2, b"sorry")), ia_pd(ia_prefix(PREFIX6))], (PREFIX6,), None,
                     id="one of two"),
        pytest.param([ia_na(GOOD), ia_ta(ia_address(OTHER6)), ia_pd(ia_prefix(PREFIX6))],
                     (ADDRESS6, OTHER6, PREFIX6), None, id="all kinds"),
        pytest.param([ia_na(GOOD + GOOD)], (ADDRESS6,), None, id="twice the same"),
        pytest.param([], (), None, id="no association"),
        pytest.param([ia_na()], (), None, id="empty association"),
        pytest.param([ia_na(), ia_pd(status6(6))], (), None, id="nothing said of one"),
        pytest.param([status6(0, b"ok")], (), None, id="success and nothing else"),
        pytest.param([ia_na(GOOD, t1=9, t2=5)], (), None, id="T1 after T2"),
        pytest.param([ia_na(ia_address(ADDRESS6, 9, 5))], (), None, id="preferred after valid"),
        *(pytest.param([status6(code, b"why")], None, f"{name}: why", id=name)
          for code, name in ((1, "UnspecFail"), (2, "NoAddrsAvail"), (3, "NoBinding"),
                             (4, "NotOnLink"), (5, "UseMulticast"), (6, "NoPrefixAvail"),
                             (77, "status 77"))),
        pytest.param([ia_na(status6(3))], None, "NoBinding", id="association refused"),
        pytest.param([ia_na(status6(2)), ia_pd(status6(6, b"x"))], None, "NoAddrsAvail", id="both"),
        pytest.param([ia_na(status6(4) + GOOD)], None, "NotOnLink", id="refused with an address"),
        pytest.param([status6(5), ia_na(GOOD)], None, "UseMulticast", id="refused as a whole"),
        pytest.param([ia_na(GONE)], None, "valid lifetime 0", id="withdrawn"),
        pytest.param([ia_na(GONE), ia_pd(status6(3))], None, "valid lifetime 0", id="and refused"),
        pytest.param([ia_na(ia_address(ADDRESS6, 60, 120, status6(1)))], None, "UnspecFail",
                     id="address refused"),
        pytest.param([status6(0), ia_na(status6(2))], None, "NoAddrsAvail",
                     id="success of nothing"),
    ],
)  # fmt: skip
def test_what_a_server_says(
    options: list[bytes], addresses: tuple[str, ...] | None, note: str | None, number: int
) -> None:
    """RFC 8415 sections 18.2.9 and 18.2.10."""
    step = reply(*options, number=number)
    granted = Act.ACK if number == 7 else Act.OFFER
    assert step.act is (Act.NAK if addresses is None else granted)
    assert (step.addresses, step.note) == (addresses or (), note)
    assert (step.lease_ns is None) == (not addresses)


def test_success_and_no_binding_answer_a_release() -> None:
    """RFC 8415 sections 18.3.7 and 18.3.8: nothing was there to be released."""
    assert reply(status6(0), ia_na(status6(3))).act is Act.ACK
    assert reply(ia_na(status6(3))).act is Act.NAK


def test_times_of_dhcp6() -> None:
    """The longest lifetime, the earliest T1 and T2 that are said, of what is granted."""
    step = reply(
        ia_na(GOOD, t1=0, t2=96), ia_pd(ia_prefix(PREFIX6, 60, 300), t1=40, t2=80),
        ia_na(status6(2), t1=1, t2=2, iaid=9), ia_na(GONE, t1=3, t2=4, iaid=8),
    )  # fmt: skip
    assert (step.lease_ns, step.t1_ns, step.t2_ns) == (300 * SECOND, 40 * SECOND, 80 * SECOND)
    infinite = read6(seeds6()["infinite"])
    assert (infinite.lease_ns, infinite.t1_ns, infinite.t2_ns) == (INFINITE_NS,) * 3
    untold = reply(ia_na(GOOD))
    assert (untold.lease_ns, untold.t1_ns, untold.t2_ns) == (120 * SECOND, None, None)
    asked = read6(message6(3, CLIENT6 + SERVER6 + ia_na(GOOD, t1=5, t2=6)))
    assert (asked.lease_ns, asked.t1_ns, asked.addresses) == (None, None, (ADDRESS6,))


def test_who_and_where_of_dhcp6() -> None:
    asked = read6(seeds6()["solicit"])
    assert (asked.client, asked.mac, asked.client_id) == (DUID_LLT.hex(), GUEST_MAC, "3e000099")
    assert (asked.server, asked.server_mac, asked.server_address) == (None, None, "ff02::1:2")
    assert (asked.host_name, asked.relay, asked.xid) == ("guest.example.org", None, 0x1234AB)
    told = read6(seeds6()["reply of all kinds"], macs=(SERVER_MAC, GUEST_MAC))
    assert (told.client, told.mac) == (DUID_LLT.hex(), GUEST_MAC)
    assert (told.server, told.server_mac) == (DUID_LL.hex(), SERVER_MAC)
    assert (told.server_address, told.client_id) == ("fe80::1", "00000001,00000007,3e000099")
    assert read6(seeds6()["information-request"]).client == ""
    assert read6(seeds6()["information-request"]).client_id is None


def test_relayed_messages() -> None:
    asked = read6(seeds6()["relayed"], macs=(SERVER_MAC, BROADCAST))
    assert (asked.mac, asked.relay) == (GUEST_MAC, "2001:db8:9::1")  # RFC 6939
    further = read6(relayed(seeds6()["relayed"], hops=1), macs=(SERVER_MAC, BROADCAST))
    assert further.mac == GUEST_MAC
    assert read6(seeds6()["relayed twice"]).relay == "2001:db8:a::1"
    told = read6(seeds6()["relayed reply"], macs=(SERVER_MAC, GUEST_MAC))
    assert (told.act, told.server_mac, told.addresses) == (Act.ACK, SERVER_MAC, (ADDRESS6,))


@pytest.mark.parametrize(("name", "number"), [("reply", 12), ("solicit", 13), ("request", 13)])
def test_what_goes_the_other_way_does_nothing(name: str, number: int) -> None:
    """Also as the kernel counts it: a Relay-reply is a server's, a Relay-forward is none."""
    step = read6(relayed(seeds6()[name], number=number))
    assert step.act is Act.OTHER
    assert (step.server_mac is not None) == (number == 13)
    assert "in a relay message of the other way" in step.problems[0]


def test_unknown_types_of_dhcp6() -> None:
    step = read6(message6(36, CLIENT6))
    assert (step.act, step.name, step.server_mac) == (Act.OTHER, "type 36", None)


def test_every_act_is_read() -> None:
    acts = {read6(seed).act for seed in seeds6().values()}
    assert acts == OF_CLIENT | OF_SERVER | {Act.OTHER}


def test_what_a_hostile_message_holds_stays_bounded() -> None:
    many = b"".join(ia_address(f"::{number:x}") for number in range(1, 30))
    more = b"".join(ia_address(f"1::{number:x}") for number in range(1, 30))
    step = reply(ia_na(many), ia_na(more, iaid=2), option6(39, b"\0" + b"\1x" * 100))
    assert (len(step.addresses), len(step.host_name or "")) == (32, 64)
