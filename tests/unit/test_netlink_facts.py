# SPDX-License-Identifier: Apache-2.0
"""What a link's message does not tell changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sentinel.link import LinkFacts
from sentinel.netlink_facts import LinkMessage, facts_from_message, member_facts
from tests.harness.netlink_messages import attribute, link_body, number_attribute

NEWLINK = 16
AF_BRIDGE = 7
IFLA_IFNAME, IFLA_PROTINFO, IFLA_LINKINFO = 3, 12, 18
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
BRPORT_GUARD, BRPORT_GROUP_FWD_MASK = 5, 31
MEMBER = attribute(BRPORT_GUARD, b"\x01") + attribute(BRPORT_GROUP_FWD_MASK, b"\x08\x00")


def facts(*info: bytes) -> LinkFacts:
    values = attribute(IFLA_IFNAME, b"dev0\0") + attribute(IFLA_LINKINFO, b"".join(info))
    return facts_from_message(LinkMessage(NEWLINK, memoryview(link_body(5, values))))


def bridge_message(values: bytes) -> LinkMessage:
    return LinkMessage(NEWLINK, memoryview(link_body(5, values, family=AF_BRIDGE)))


@pytest.mark.parametrize("kind", ["vlan", "bond", "bridge", "vxlan", "gretap", "tun", "dummy"])
def test_a_kind_without_its_data_has_none_of_its_facts(kind: str) -> None:
    link = facts(attribute(INFO_KIND, kind.encode() + b"\0"))
    assert link.kind == kind
    plain = replace(link, kind="", tun_type=None, tunnel_overhead_bytes=0)
    assert plain == replace(facts(attribute(INFO_KIND, b"dummy\0")), kind="")


def test_a_member_s_settings_are_read_in_both_messages() -> None:
    slave_kind = attribute(INFO_SLAVE_KIND, b"bridge\0")
    told = facts(slave_kind, attribute(INFO_SLAVE_DATA, MEMBER))
    assert (told.bpdu_guard, told.port_group_fwd_mask) == (True, 8)
    plain = facts(slave_kind, attribute(INFO_SLAVE_DATA, number_attribute(2, 0)))
    assert (plain.bpdu_guard, plain.port_group_fwd_mask) == (False, 0)
    assert member_facts(plain, bridge_message(attribute(IFLA_PROTINFO, MEMBER))) == told


def test_a_bridge_message_without_a_member_s_part_takes_nothing_back() -> None:
    member = facts(attribute(INFO_SLAVE_KIND, b"bridge\0"), attribute(INFO_SLAVE_DATA, MEMBER))
    assert member.bpdu_guard
    assert member_facts(member, bridge_message(b"")) == member
