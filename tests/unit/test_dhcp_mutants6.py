# SPDX-License-Identifier: Apache-2.0
"""Mutated DHCPv6 messages: no exception, and no difference to scapy but those that
tests/harness/dhcp_differences.py names with the RFC that settles them.
"""

from __future__ import annotations

import ipaddress
import logging
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

import pytest

from sentinel.dhcp import message6
from sentinel.dhcp.message6 import Association, Lease6, Message6, Status, decode6
from sentinel.dhcp.reading import read_step
from tests.harness.dhcp_differences import Seen, assert_bounded, record_of, shares
from tests.harness.dhcp_seeds import mutants, seeds6

MESSAGES = 80_000


@pytest.fixture(scope="module")
def scapy6() -> Any:
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    return pytest.importorskip("scapy.layers.dhcp6")


EXACT6: Final = {7: 1, 8: 2, 12: 16, 14: 0, 19: 1, 20: 0, 32: 4}
LEAST6: Final = {3: 12, 4: 4, 5: 24, 9: 4, 13: 2, 25: 12, 26: 25, 39: 1, 79: 8}
CONTAINERS6: Final = {3: 12, 4: 4, 25: 12, 5: 24, 26: 25}
FOLLOWED6: Final = frozenset({1, 2, 6, 9, 18, 39, *EXACT6, *CONTAINERS6, 13, 79})


def is_regular(data: bytes, at: int, depth: int = 0) -> bool:
    """Whether all lengths are true and all sizes are right, so that scapy can follow."""
    while at < len(data):
        if at + 4 > len(data):
            return False
        code, size = struct.unpack_from("!HH", data, at)
        value = data[at + 4 : at + 4 + size]
        if len(value) != size or size < LEAST6.get(code, 0) or size != EXACT6.get(code, size):
            return False
        # scapy looks inside some, and stops there; inside an association at the unknown ones.
        if code not in FOLLOWED6 and (depth or code in scapy_codes()):
            return False
        if code == 39 and not is_name(value[1:]):
            return False
        if code in CONTAINERS6 and not is_regular(value, CONTAINERS6[code], depth + 1):
            return False
        if code == 9 and not is_regular_message(value):
            return False
        if code in (5, 26) and depth == 0:
            return False
        at += 4 + size
    return True


@cache
def scapy_codes() -> frozenset[int]:
    return frozenset(pytest.importorskip("scapy.layers.dhcp6").dhcp6opts_by_code)


def is_name(value: bytes) -> bool:
    """Labels and the root (RFC 1035 section 3.1), in letters."""
    at = 0
    while at < len(value) and value[at]:
        label = value[at + 1 : at + 1 + value[at]]
        if len(label) != value[at] or value[at] > 63 or not label.isalnum():
            return False
        at += 1 + value[at]
    return at == len(value) - 1


def is_regular_message(message: bytes) -> bool:
    if message[:1] in (b"\x0c", b"\x0d"):
        return len(message) >= 34 and is_regular(message, 34)
    return len(message) >= 4 and 1 <= message[0] <= 11 and is_regular(message, 4)


def chain(packet: Any) -> Iterable[Any]:
    """The options behind a header, as scapy hangs them one behind the other."""
    while hasattr(packet, "optcode"):
        yield packet
        packet = packet.payload


def first(options: Iterable[Any], code: int, seen: Seen) -> Any:
    found = [each for each in options if each.optcode == code]
    if len(found) > 1:
        seen.need("twice6")
    return found[0] if found else None


def scapy_status(options: Sequence[Any], seen: Seen) -> int | None:
    status = first(options, 13, seen)
    return None if status is None else int(status.statuscode)


def scapy_duid(options: Sequence[Any], code: int, seen: Seen) -> bytes | None:
    option = first(options, code, seen)
    if option is None:
        return None
    raw = bytes(option)[4 : 4 + option.optlen]
    if not 3 <= len(raw) <= 130:
        seen.need("duid6")
        return None
    return raw


Plain = tuple[Any, ...]


def scapy_association(option: Any, seen: Seen) -> Plain:
    kind = {3: "na", 4: "ta", 25: "pd"}[option.optcode]
    name = {"na": "ianaopts", "ta": "iataopts", "pd": "iapdopt"}[kind]
    inside = [each for listed in getattr(option, name) for each in chain(listed)]
    leases = []
    for each in inside:
        if kind != "pd" and each.optcode == 5:
            leases.append((str(ipaddress.ip_address(each.addr)), each.preflft, each.validlft,
                           scapy_status(each.iaaddropts, seen)))  # fmt: skip
        if kind == "pd" and each.optcode == 26:
            if each.plen > 128:
                seen.need("prefix6")
                continue
            network = ipaddress.ip_network((each.prefix, each.plen), strict=False)
            if str(network.network_address) != str(ipaddress.ip_address(each.prefix)):
                seen.need("prefix6")
            leases.append((str(network), each.preflft, each.validlft,
                           scapy_status(each.iaprefopts, seen)))  # fmt: skip
    times = (0, 0) if kind == "ta" else (option.T1, option.T2)
    return (kind, option.iaid, *times, scapy_status(inside, seen), tuple(leases))


def scapy_plain(packet: Any, seen: Seen) -> Plain:
    """All that is compared, as scapy reads it."""
    relays = []
    while packet.msgtype in (12, 13):
        link, peer = (str(ipaddress.ip_address(it)) for it in (packet.linkaddr, packet.peeraddr))
        relays.append((packet.msgtype, packet.hopcount, link, peer))
        option = first(list(chain(packet.payload)), 9, seen)
        if option is None:
            return (tuple(relays), relays[0][0])
        packet = option.message
    options = list(chain(packet.payload))
    associations = [scapy_association(each, seen) for each in options if each.optcode in (3, 4, 25)]
    return (
        tuple(relays), packet.msgtype, packet.trid, scapy_duid(options, 1, seen),
        scapy_duid(options, 2, seen), tuple(associations), scapy_status(options, seen),
        first(options, 14, seen) is not None, first(options, 20, seen) is not None,
        *(None if (it := first(options, code, seen)) is None else getattr(it, name)
          for code, name in ((7, "prefval"), (8, "elapsedtime"), (19, "msgtype"))),
    )  # fmt: skip


def code_of(status: Status | None) -> int | None:
    return None if status is None else status.code


def our_association(each: Association) -> Plain:
    def plain(lease: Lease6) -> Plain:
        return (lease.address, lease.preferred_s, lease.valid_s, code_of(lease.status))

    leases = tuple(plain(lease) for lease in each.leases)
    return (each.kind, each.iaid, each.t1_s, each.t2_s, code_of(each.status), leases)


def our_plain(ours: Message6) -> Plain:
    relays = tuple((it.type, it.hops, it.link_address, it.peer_address) for it in ours.relays)
    if ours.type in message6.RELAYED:
        return (relays, ours.type)
    elapsed = None if ours.elapsed_ms is None else ours.elapsed_ms // 10
    return (
        relays, ours.type, ours.xid, ours.client and ours.client.raw,
        ours.server and ours.server.raw, tuple(our_association(it) for it in ours.associations),
        code_of(ours.status), ours.is_rapid, ours.accepts_reconfigure, ours.preference, elapsed,
        ours.reconfigure_type,
    )  # fmt: skip


@pytest.mark.parametrize(("shard", "count"), shares(MESSAGES))
def test_dhcp6_against_scapy(shard: int, count: int, scapy6: Any) -> None:
    seen, regular = Seen(), 0
    for payload in mutants(list(seeds6().values()), count, 2000 + shard, 0):
        ours = decode6(payload)
        step = read_step(record_of(payload, 6))
        assert (step is None) == (ours is None)
        assert_bounded(step)
        if not is_regular_message(payload):
            seen.need("lengths6")
            continue
        regular += 1
        assert ours is not None
        assert our_plain(ours) == scapy_plain(scapy6._dhcp6_dispatcher(payload), seen)
    assert regular > count // 8
    assert set(seen) == {"lengths6", "twice6", "prefix6", "duid6"}
