# SPDX-License-Identifier: Apache-2.0
"""Links as they lie in a datagram, and lengths that lie."""

from __future__ import annotations

import logging
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.link import LinkFacts
from sentinel.netlink import LinkFollower
from sentinel.netlink_facts import LinkMessage, facts_from_message
from sentinel.netlink_library import AsyncIPRoute
from sentinel.netlink_socket import RawLink, link_socket
from sentinel.netlink_wire import attributes, network_number, number, text
from tests.harness.netlink_messages import (
    attribute,
    link_body,
    link_message,
    netlink_message,
    number_attribute,
)

NEWLINK = 16
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU = 1, 3, 4
TAP0 = attribute(IFLA_IFNAME, b"tap0\0") + number_attribute(IFLA_MTU, 1500)


def test_of_two_attributes_of_a_type_the_first_holds_and_flags_are_no_type() -> None:
    nested = struct.pack("=HHI", 8, 0x8000 | 3, 1) + number_attribute(3, 2)
    assert number(attributes(memoryview(nested))[3]) == 1


@pytest.mark.parametrize("length", [0, 3, 9, 0xFFFF])
def test_an_attribute_s_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="attribute"):
        attributes(memoryview(struct.pack("=HHI", length, 1, 0)))


def test_numbers_and_texts() -> None:
    assert number(memoryview(struct.pack("=H", 300))) == 300
    assert network_number(memoryview(b"\x88\xa8")) == 0x88A8
    assert text(memoryview(b"tap0\0rest")) == b"tap0"
    assert (number(None), network_number(None), text(None)) == (None, None, b"")


@pytest.mark.parametrize("bytes_", range(16))
def test_a_link_message_that_is_too_short_is_refused(bytes_: int) -> None:
    with pytest.raises(ValueError, match="link message"):
        LinkMessage(NEWLINK, memoryview(bytes(bytes_)))


@given(st.binary(max_size=200))
def test_whatever_attributes_a_link_has_are_read_or_refused(raw: bytes) -> None:
    try:
        message = LinkMessage(NEWLINK, memoryview(link_body(5, TAP0 + raw)))
        assert facts_from_message(message).name == "tap0"
    except ValueError:
        pass


def parsed(datagram: bytes) -> list[RawLink]:
    """As pyroute2 hands them out."""
    return list(link_socket().marshal.parse(datagram))


def told(datagram: bytes) -> tuple[list[LinkFacts], int]:
    """What a follower tells of a datagram, and how many messages it leaves out."""
    links: list[LinkFacts] = []
    follower = LinkFollower(lambda _: None, links.append, lambda _: None)
    for message in parsed(datagram):
        follower._tell(message)
    return links, follower.undecodable


def test_pyroute2_hands_out_links_with_their_attributes_unread() -> None:
    (message,) = parsed(link_message(NEWLINK, 5, TAP0))
    assert type(message) is RawLink
    assert (message["header"]["type"], message["event"]) == (NEWLINK, "RTM_NEWLINK")
    assert facts_from_message(message.read()).name == "tap0"
    # Of this socket alone.
    assert RawLink not in AsyncIPRoute().marshal.msg_map.values()


LYING = {
    "no link header": netlink_message(NEWLINK, b""),
    "half a link header": netlink_message(NEWLINK, bytes(9)),
    "an attribute longer than its message": netlink_message(
        NEWLINK, link_body(5, struct.pack("=HHI", 400, IFLA_IFNAME, 0))
    ),
    "a message longer than its datagram": netlink_message(NEWLINK, link_body(5, TAP0), length=80),
    "no name": link_message(NEWLINK, 5, number_attribute(IFLA_MTU, 1500)),
    "no index": link_message(NEWLINK, 0, TAP0),
}


@pytest.mark.parametrize("lie", LYING)
def test_a_link_that_is_not_understood_is_counted_and_left_out(
    lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    good = link_message(NEWLINK, 6, TAP0)
    links, undecodable = told(good + LYING[lie])
    assert [link.ifindex for link in links] == [6]
    assert undecodable == 1


@given(st.binary(max_size=400))
def test_whatever_datagram_comes_nothing_is_raised(raw: bytes) -> None:
    logging.disable(logging.WARNING)
    try:
        told(link_message(NEWLINK, 6, TAP0) + link_message(NEWLINK, 7, raw))
    finally:
        logging.disable(logging.NOTSET)
