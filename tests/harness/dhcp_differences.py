# SPDX-License-Identifier: Apache-2.0
"""Where our DHCP decoders differ from other readers on purpose, and what settles it.

A comparison puts the other reader's answer right by exactly the rules that apply to a
message, and then the two must be equal; each rule must have been needed, so that none
hides another.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, Final

import pytest

from sentinel.decode_message import KernelMessage
from sentinel.dhcp.step import Step
from tests.harness.dhcp_records import record
from tests.harness.frames import BROADCAST, GUEST_MAC, ethernet
from tests.harness.packets import ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTO_UDP, ipv4, ipv6

SHARDS = 16

DIFFERENCES: Final = {
    # DHCPv4, against dpkt and scapy
    "no_cookie": "RFC 2131 section 3: options begin with the cookie; without it is BOOTP, RFC 951",
    "hlen": "RFC 2131 section 2: chaddr holds 16 bytes, and Ethernet's address is 6 of them",
    "no_length": "RFC 2132 section 2: a code at the end without a length is no option",
    "overload": "RFC 2131 section 4.1: option 52 puts options into file and sname",
    "parts": "RFC 3396 section 7: an option that is there several times is one in parts",
    "end": "RFC 2132 section 3.2: the end option is the end",
    "fixed": "RFC 2132 section 2: a value of another size than expected hides no later option",
    # DHCPv6, against scapy
    "lengths6": "RFC 8415 section 21.1: option-len tells the next one, whatever is inside",
    "twice6": "RFC 8415 section 21: an option appears once, unless it says otherwise",
    "prefix6": "RFC 8415 section 21.22: a prefix has at most 128 bits; those behind it are ignored",
    "duid6": "RFC 8415 section 11.1: a DUID is 3 to 130 bytes long",
}


class Seen(Counter[str]):
    """How often each rule was needed."""

    def need(self, rule: str) -> None:
        assert rule in DIFFERENCES
        self[rule] += 1


def shares(total: int) -> list[Any]:
    """(shard, messages) for each of SHARDS tests that may run beside each other."""
    return [pytest.param(shard, total // SHARDS, id=str(shard)) for shard in range(SHARDS)]


def record_of(payload: bytes, family: int) -> KernelMessage:
    """What the ring would tell of a datagram with this payload, from a guest."""
    if family == 4:
        head = struct.pack("!4H", 68, 67, 8 + len(payload), 0)
        packet = ipv4("192.0.2.9", "255.255.255.255", PROTO_UDP, head + payload)
        frame = ethernet(BROADCAST, GUEST_MAC, packet, ETHERTYPE_IPV4, pad=False)
    else:
        head = struct.pack("!4H", 546, 547, 8 + len(payload), 0)
        packet = ipv6("fe80::9", "ff02::1:2", PROTO_UDP, head + payload)
        frame = ethernet("33:33:00:01:00:02", GUEST_MAC, packet, ETHERTYPE_IPV6, pad=False)
    return record(frame)


def assert_bounded(step: Step | None) -> None:
    """All that came off the wire has an end."""
    if step is None:
        return
    assert len(step.client) <= 260
    assert len(step.client_id or "") <= 510
    assert len(step.server or "") <= 260
    assert len(step.host_name or "") <= 64
    assert len(step.note or "") <= 150
    assert len(step.addresses) <= 32
    assert len(step.problems) <= 11
    assert all(len(each) <= 80 for each in step.problems)
