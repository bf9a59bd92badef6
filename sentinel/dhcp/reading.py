# SPDX-License-Identifier: Apache-2.0
"""From a record of the message ring to one step of an exchange."""

from __future__ import annotations

from typing import Final

from sentinel.decode_message import KernelMessage
from sentinel.dhcp.datagram import Datagram, find_datagram
from sentinel.dhcp.meaning import Meaning
from sentinel.dhcp.meaning4 import given, meaning4
from sentinel.dhcp.meaning6 import meaning6
from sentinel.dhcp.message4 import Message4, decode4
from sentinel.dhcp.message6 import Message6, decode6
from sentinel.dhcp.step import INFINITE_NS, Step

_NS_PER_S: Final = 10**9
_INFINITE_S: Final = 0xFFFFFFFF


def read_step(message: KernelMessage) -> Step | None:
    """What a message does; None if it is no DHCP message, or too short to say anything."""
    datagram = find_datagram(message.frame)
    if datagram is None:
        return None
    if datagram.family == 4:
        dhcp4 = decode4(datagram.payload)
        return None if dhcp4 is None else _step4(message, datagram, dhcp4)
    dhcp6 = decode6(datagram.payload)
    return None if dhcp6 is None else _step6(message, datagram, dhcp6)


def _step4(message: KernelMessage, datagram: Datagram, dhcp: Message4) -> Step:
    meaning = meaning4(dhcp, datagram)
    # Without a length of its own: as much of the field as the kernel goes by.
    mac = dhcp.chaddr.hex(":") or "00:00:00:00:00:00"
    return Step(
        time_ns=message.time_ns,
        ifindex=message.ifindex,
        port_ifindex=message.port_ifindex,
        role=message.role,
        direction=message.direction,
        passed=message.verdict == "passed",
        sent_ns=message.sent_ns,
        received_ns=message.received_ns,
        missed=message.missed,
        family=4,
        act=meaning.act,
        name=meaning.name,
        xid=dhcp.xid,
        client=mac,
        mac=mac,
        client_id=None if dhcp.client_id is None else dhcp.client_id.hex(),
        server=given(dhcp.server_identifier),
        server_mac=datagram.src_mac if meaning.is_servers else None,
        server_address=datagram.src if meaning.is_servers else datagram.dst,
        addresses=meaning.addresses,
        lease_ns=_nanoseconds(meaning.lease_s),
        t1_ns=_nanoseconds(meaning.t1_s),
        t2_ns=_nanoseconds(meaning.t2_s),
        vid=_vid(datagram),
        is_broadcast=dhcp.is_broadcast,
        relay=given(dhcp.giaddr),
        host_name=dhcp.host_name,
        note=meaning.note,
        problems=_problems(datagram, meaning, dhcp.problems),
    )


def _step6(message: KernelMessage, datagram: Datagram, dhcp: Message6) -> Step:
    meaning = meaning6(dhcp)
    beside_client = dhcp.relays[-1].client_mac if dhcp.relays else None
    at_clients_end = datagram.dst_mac if meaning.is_servers else datagram.src_mac
    return Step(
        time_ns=message.time_ns,
        ifindex=message.ifindex,
        port_ifindex=message.port_ifindex,
        role=message.role,
        direction=message.direction,
        passed=message.verdict == "passed",
        sent_ns=message.sent_ns,
        received_ns=message.received_ns,
        missed=message.missed,
        family=6,
        act=meaning.act,
        name=meaning.name,
        xid=dhcp.xid,
        client="" if dhcp.client is None else dhcp.client.raw.hex(),
        mac=beside_client or at_clients_end,
        client_id=_iaids(dhcp),
        server=None if dhcp.server is None else dhcp.server.raw.hex(),
        server_mac=datagram.src_mac if meaning.is_servers else None,
        server_address=datagram.src if meaning.is_servers else datagram.dst,
        addresses=meaning.addresses,
        lease_ns=_nanoseconds(meaning.lease_s),
        t1_ns=_nanoseconds(meaning.t1_s),
        t2_ns=_nanoseconds(meaning.t2_s),
        vid=_vid(datagram),
        is_broadcast=False,
        relay=dhcp.relays[0].link_address if dhcp.relays else None,
        host_name=dhcp.host_name,
        note=meaning.note,
        problems=_problems(datagram, meaning, dhcp.problems),
    )


def _iaids(dhcp: Message6) -> str | None:
    """In one order, whatever order they stand in; one for both an address and a prefix."""
    return ",".join(sorted({f"{each.iaid:08x}" for each in dhcp.associations})) or None


def _vid(datagram: Datagram) -> int | None:
    """VID 0 is a priority and no VLAN (IEEE 802.1Q section 9.6)."""
    return next((vid for vid in datagram.vids if vid), None)


def _nanoseconds(seconds: int | None) -> int | None:
    if seconds is None:
        return None
    return INFINITE_NS if seconds == _INFINITE_S else seconds * _NS_PER_S


def _problems(datagram: Datagram, meaning: Meaning, found: tuple[str, ...]) -> tuple[str, ...]:
    if datagram.is_cut:
        there, stated = len(datagram.payload), datagram.stated_bytes
        return (f"{there} of {stated} bytes are there", *meaning.problems, *found)
    return (*meaning.problems, *found)
