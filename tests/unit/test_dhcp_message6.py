# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 messages into fields, rule by rule; and against tshark."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.dhcp import message6 as v6
from sentinel.dhcp.duid import Duid, read_duid
from sentinel.dhcp.message6 import Association, Lease6, Message6, Status, decode6
from sentinel.dhcp.wire_text import MOST_PROBLEMS
from tests.harness.dhcp_seeds import (
    ADDRESS6,
    CLIENT6,
    DUID_EN,
    DUID_LL,
    DUID_LLT,
    DUID_UUID,
    ELAPSED,
    MAC,
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
    packed,
    relayed,
    seeds6,
    status6,
)
from tests.harness.frames import GUEST_MAC

INFINITE = 2**32 - 1


def decoded(payload: bytes) -> Message6:
    message = decode6(payload)
    assert message is not None
    return message


def reply(*options: bytes) -> Message6:
    return decoded(message6(7, CLIENT6 + SERVER6 + b"".join(options)))


def test_a_message_of_a_client() -> None:
    message = decoded(seeds6()["solicit"])
    assert (message.type, message.xid) == (v6.SOLICIT, 0x1234AB)
    assert message.client is not None
    assert (message.client.raw, message.client.mac) == (DUID_LLT, GUEST_MAC)
    assert message.server is None
    assert message.associations == (Association("na", 0x3E000099, 0, 0, (), None, True),)
    assert (message.is_rapid, message.accepts_reconfigure) == (True, True)
    assert (message.elapsed_ms, message.requested_options) == (1500, (23, 24, 39, 31))
    assert (message.host_name, message.relays) == ("guest.example.org", ())


def test_a_message_of_a_server() -> None:
    message = decoded(seeds6()["reply of all kinds"])
    assert message.server is not None
    assert message.server.raw == DUID_LL
    na, ta, pd = message.associations
    assert na.leases == (
        Lease6(ADDRESS6, 60, 120, None, True), Lease6(OTHER6, 0, 0, None, True),
    )  # fmt: skip
    assert (ta.kind, ta.iaid, ta.t1_s, ta.leases) == (
        "ta", 7, 0, (Lease6(OTHER6, 10, 20, None, True),),
    )  # fmt: skip
    assert (pd.kind, pd.t1_s, pd.t2_s) == ("pd", 30, 50)
    assert pd.leases == (Lease6(PREFIX6, 60, 120, None, True),)
    assert decoded(seeds6()["advertise"]).preference == 255
    assert decoded(seeds6()["reconfigure"]).reconfigure_type == v6.RENEW
    assert decoded(seeds6()["infinite"]).associations[0].t1_s == INFINITE


MEANT = {
    "empty relay": ("relayed message is missing",),
    "no prefix": ("prefix of 200 bits",),
    "no DUIDs": ("DUID of 2 bytes", "DUID of 131 bytes", "Renew without client identifier",
                 "Renew without server identifier"),
    "two of each": ("option 1 is there twice", "option 2 is there twice",
                    "option 8 is there twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(seeds6()))
def test_real_layouts_have_no_problem(name: str) -> None:
    assert decoded(seeds6()[name]).problems == MEANT.get(name, ())


@pytest.mark.parametrize(
    "payload", [b"", b"\1", message6(7, b"")[:3], b"\x0c", bytes((12, 0)) + bytes(31)]
)
def test_too_short_for_any_message(payload: bytes) -> None:
    assert decode6(payload) is None


def test_the_smallest_messages() -> None:
    assert decoded(message6(11, b"")).type == v6.INFORMATION_REQUEST
    assert decoded(message6(200, b"")).type == 200
    assert decoded(bytes((13, 0)) + bytes(32)).type == v6.RELAY_REPL


@pytest.mark.parametrize(
    ("raw", "kind", "mac", "is_good"),
    [
        (DUID_LLT, "llt", GUEST_MAC, True),
        (DUID_EN, "en", None, True),
        (DUID_LL, "ll", "fa:16:3e:00:00:01", True),
        (DUID_UUID, "uuid", None, True),
        (struct.pack("!HH", 3, 32) + bytes(20), "ll", None, True),
        (struct.pack("!HH", 3, 6) + MAC, "ll", None, True),
        (b"\0\x63x", "unknown", None, True),
        (b"\0\1" + bytes(6), "llt", None, False),
        (b"\0\2" + bytes(4), "en", None, False),
        (b"\0\3\0", "ll", None, False),
        (DUID_UUID + b"x", "uuid", None, False),
    ],
)
def test_duids(raw: bytes, kind: str, mac: str | None, is_good: bool) -> None:
    duid = read_duid(raw)
    assert isinstance(duid, Duid)
    assert (duid.raw, duid.kind, duid.mac, duid.problem is None) == (raw, kind, mac, is_good)
    if not is_good:
        assert duid.problem in decoded(message6(1, option6(1, raw))).problems


@pytest.mark.parametrize(
    ("size", "is_one"), [(0, False), (2, False), (3, True), (130, True), (131, False)]
)
def test_a_duid_is_3_to_130_bytes_long(size: int, is_one: bool) -> None:
    assert (read_duid(b"\xff" * size) is not None) == is_one
    message = decoded(message6(1, option6(1, b"\xff" * size)))
    assert (message.client is not None) == is_one
    assert (f"DUID of {size} bytes" in message.problems) != is_one


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        pytest.param(option6(99, b"abc")[:-1], "option 99 is cut off", id="length"),
        pytest.param(b"\0\1\0", "bytes behind the last option", id="half an option"),
        pytest.param(option6(3, bytes(11)), "IA_NA is cut off", id="IA_NA"),
        pytest.param(option6(4, bytes(3)), "IA_TA is cut off", id="IA_TA"),
        pytest.param(option6(25, bytes(11)), "IA_PD is cut off", id="IA_PD"),
        pytest.param(ia_na(option6(5, bytes(23))), "IA address is cut off", id="address"),
        pytest.param(ia_pd(option6(26, bytes(24))), "IA prefix is cut off", id="prefix"),
        pytest.param(ia_pd(ia_prefix("::/129")), "prefix of 129 bits", id="129 bits"),
        pytest.param(ia_na(option6(13, b"\0")), "status code is cut off", id="status"),
        pytest.param(ia_na(b"\0\5\0\xff"), "option 5 is cut off", id="length inside"),
        pytest.param(ia_na(t1=60, t2=59), "IA_NA: T1 is after T2", id="T1 after T2"),
        pytest.param(
            ia_na(ia_address(ADDRESS6, 121, 120)),
            "preferred lifetime is longer than the valid one", id="lifetimes",
        ),
        pytest.param(option6(7, b""), "option 7 is 0 bytes long, not 1", id="preference"),
        pytest.param(option6(8, bytes(3)), "option 8 is 3 bytes long, not 2", id="elapsed"),
        pytest.param(option6(6, bytes(3)), "option request of half an option", id="request"),
        pytest.param(option6(39, b"\0\5ab"), "domain name: a label's length lies", id="name"),
        pytest.param(
            option6(39, b"\0\x40" + b"x" * 64), "domain name: a label's length lies", id="label"
        ),
        pytest.param(CLIENT6, "option 1 is there twice", id="twice"),
    ],
)  # fmt: skip
def test_problems(option: bytes, problem: str) -> None:
    assert reply(option).problems == (problem,)


def test_an_option_whose_length_lies_ends_the_options_around_it() -> None:
    inside = reply(ia_na(ia_address(ADDRESS6) + b"\0\5\0\xff"), status6(0))
    assert [lease.address for lease in inside.associations[0].leases] == [ADDRESS6]
    assert inside.status == Status(0, None)
    outside = decoded(message6(7, CLIENT6 + b"\0\2\0\xff" + DUID_LL))
    assert outside.client is not None
    assert outside.server is None


@pytest.mark.parametrize(
    ("number", "options", "problems"),
    [
        (1, b"", ("Solicit without client identifier",)),
        (1, CLIENT6 + SERVER6, ("Solicit with server identifier",)),
        (3, CLIENT6, ("Request without server identifier",)),
        (4, CLIENT6 + SERVER6, ("Confirm with server identifier",)),
        (6, CLIENT6 + SERVER6, ("Rebind with server identifier",)),
        (7, CLIENT6, ("Reply without server identifier",)),
        (7, SERVER6, ()),
        (11, b"", ()),
        (11, SERVER6, ()),
        (10, CLIENT6, ("Reconfigure without server identifier",)),
        (10, SERVER6, ("Reconfigure without client identifier",)),
        (99, b"", ()),
    ],
)  # fmt: skip
def test_identifiers_that_a_message_needs(
    number: int, options: bytes, problems: tuple[str, ...]
) -> None:
    """Section 16."""
    assert decoded(message6(number, options)).problems == problems


def test_times_that_a_client_proposes_are_no_problem() -> None:
    """Sections 21.4 and 21.6 are about servers."""
    asked = ia_na(ia_address(ADDRESS6, 9, 1), t1=9, t2=1)
    message = decoded(message6(3, CLIENT6 + SERVER6 + asked))
    assert message.problems == ()
    assert message.associations[0].is_valid


def test_a_time_that_is_left_to_the_client_is_in_order_with_any() -> None:
    """Section 21.4: T1 is to be before T2 if both are greater than 0."""
    assert reply(ia_na(t1=60, t2=0)).problems == ()
    assert reply(ia_na(t1=0, t2=60)).problems == ()


def test_status_codes_at_every_level() -> None:
    message = reply(
        status6(1, b"no\0"), ia_na(status6(2) + ia_address(ADDRESS6, 0, 0, status6(4, b"moved"))),
        ia_pd(ia_prefix(PREFIX6, 0, 0, status6(6))),
    )  # fmt: skip
    na, pd = message.associations
    assert message.status == Status(1, "no")
    assert (na.status, na.leases[0].status) == (Status(2, None), Status(4, "moved"))
    assert pd.leases[0].status == Status(6, None)
    names = [Status(code, None).name for code in range(8)]
    assert names == [*v6.STATUS_NAMES, "status 7"]
    long = reply(status6(1, b"x" * 500)).status
    assert long is not None
    assert long.message == "x" * 120


def test_a_prefix_has_no_bits_behind_its_length() -> None:
    leases = (
        reply(ia_pd(ia_prefix("2001:db8:ffff::1/36") + ia_prefix("::1/128"))).associations[0].leases
    )
    assert [lease.address for lease in leases] == ["2001:db8:f000::/36", "::1/128"]
    assert reply(ia_pd(ia_prefix("ffff::/0"))).associations[0].leases[0].address == "::/0"


def test_an_association_holds_its_own_kind() -> None:
    """An address in an IA_PD, or a prefix in an IA_NA, is nothing (section 21)."""
    message = reply(ia_pd(ia_address(ADDRESS6)), ia_na(ia_prefix(PREFIX6)), ia_address(OTHER6))
    assert [each.leases for each in message.associations] == [(), ()]


SOLICIT = seeds6()["solicit"]


def test_a_relayed_message() -> None:
    message = decoded(seeds6()["relayed"])
    (relay,) = message.relays
    assert (relay.type, relay.hops, relay.client_mac) == (v6.RELAY_FORW, 0, GUEST_MAC)
    assert (relay.link_address, relay.peer_address) == ("2001:db8:9::1", "fe80::1")
    assert relay.interface_id == b"eth0/3"
    assert (message.type, message.client) == (v6.SOLICIT, decoded(SOLICIT).client)


@pytest.mark.parametrize("address", [b"\0\6" + MAC, b"\0\1" + MAC[:5], b"\0\1" + MAC + b"x", b""])
def test_a_link_layer_address_that_is_not_ethernet(address: bytes) -> None:
    message = decoded(relayed(SOLICIT, before=option6(79, address)))
    assert message.relays[0].client_mac is None


def nested(depth: int, inner: bytes = SOLICIT) -> bytes:
    for hop in range(depth):
        inner = relayed(inner, hops=hop, link=f"2001:db8::{hop + 1:x}")
    return inner


def test_relays_come_outermost_first_up_to_the_hop_limit() -> None:
    """Section 19.1.2: the innermost says 0, and nobody passes on more than 8."""
    message = decoded(nested(9))
    assert [relay.hops for relay in message.relays] == list(range(8, -1, -1))
    assert message.relays[0].link_address == "2001:db8::9"
    assert (message.type, message.problems) == (v6.SOLICIT, ())
    deeper = decoded(nested(10))
    assert (deeper.type, len(deeper.relays)) == (v6.RELAY_FORW, 9)
    assert deeper.problems == ("more than 9 relays",)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (relayed(b""), "relayed message is cut off"),
        (relayed(b"\1ab"), "relayed message is cut off"),
        (relayed(b"\x0c" + bytes(20)), "relayed message is cut off"),
        (relayed(SOLICIT)[:-1], "option 9 is cut off"),
        (relayed(relayed(SOLICIT, number=13)), "Relay-forward and Relay-reply in one message"),
    ],
)
def test_relays_with_problems(payload: bytes, problem: str) -> None:
    assert problem in decoded(payload).problems


def test_of_two_relayed_messages_the_first_counts() -> None:
    two = relayed(SOLICIT) + option6(9, message6(11, b""))
    assert (decoded(two).type, decoded(two).problems) == (1, ("option 9 is there twice",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"\5guest\0", "guest"), (b"\5guest", "guest"), (b"\5guest\3org\0tail", "guest.org"),
        (b"", None), (b"\0", None), (b"\xc0\x0c", None), (b"\2ab\xc0\x0c", "ab"),
        (b"\x3f" + b"x" * 63 + b"\1y\0", "x" * 63 + "."), (b"\2\x1b[\0", "\x1b["),
    ],
)  # fmt: skip
def test_host_name(name: bytes, expected: str | None) -> None:
    """RFC 4704 section 4; no compression (RFC 8415 section 10)."""
    assert decoded(message6(11, option6(39, b"\1" + name))).host_name == expected


def test_associations_and_addresses_are_bounded() -> None:
    many = reply(*(ia_na(iaid=number) for number in range(100)))
    assert len(many.associations) == v6.MOST_ASSOCIATIONS
    assert many.problems == ("100 identity associations",)
    full = reply(ia_na(b"".join(ia_address(f"::{number:x}") for number in range(1, 100))))
    assert len(full.associations[0].leases) == v6.MOST_LEASES
    assert full.problems == ("99 addresses in one association",)


def test_problems_are_bounded() -> None:
    bad = b"".join(2 * option6(code, b"") for code in (6, 7, 8, 13, 19, 39, 79))
    assert len(reply(bad).problems) == MOST_PROBLEMS


@pytest.mark.parametrize("code", [3, 4, 5, 9, 25, 26])
def test_options_that_nest_without_end(code: int) -> None:
    """Each level is read once and none is looked for below the last one that there is."""
    inner = b""
    for _ in range(1500):
        fixed = {3: 12, 25: 12, 4: 4, 5: 24, 26: 25}.get(code, 0)
        inner = option6(code, bytes(fixed) + inner) if len(inner) < 60_000 else inner
    assert decode6(message6(7, inner)) is not None
    wide = message6(7, option6(code, b"") * 15_000)
    assert decode6(wide) is not None


@given(st.binary(max_size=400))
def test_any_bytes(payload: bytes) -> None:
    message = decode6(payload)
    assert message is None or len(message.problems) <= MOST_PROBLEMS


chunk: st.SearchStrategy[bytes] = st.deferred(
    lambda: st.builds(
        option6,
        st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 25, 26, 39, 79]),
        st.binary(max_size=30) | st.builds(lambda a, b: a + b, st.binary(max_size=26), chunk),
    )
)


@given(st.integers(0, 14), st.lists(chunk, max_size=8), st.integers(0, 4))
def test_any_options(number: int, chunks: list[bytes], depth: int) -> None:
    message = decode6(nested(depth, message6(number, b"".join(chunks))))
    if message is not None:
        assert len(message.problems) <= MOST_PROBLEMS
        assert len(message.associations) <= v6.MOST_ASSOCIATIONS


def test_a_relay_s_addresses_are_whole() -> None:
    message = decoded(bytes((12, 0)) + packed("2001:db8::5") + packed("fe80::9") + ELAPSED)
    assert message.relays[0].link_address == "2001:db8::5"
    assert (message.relays[0].peer_address, message.xid) == ("fe80::9", 0)
    assert decoded(relayed(message6(1, ia_ta()))).associations[0].kind == "ta"
