# SPDX-License-Identifier: Apache-2.0
"""What a DHCPv4 message does: RFC 2131 sections 4.3 and 4.4, tables 3 to 5."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from sentinel.dhcp.datagram import Datagram
from sentinel.dhcp.meaning import Meaning
from sentinel.dhcp.message4 import BOOTREPLY, BOOTREQUEST, NO_ADDRESS, Message4
from sentinel.dhcp.step import Act

_NAMES: Final = {
    1: "DHCPDISCOVER", 2: "DHCPOFFER", 3: "DHCPREQUEST", 4: "DHCPDECLINE", 5: "DHCPACK",
    6: "DHCPNAK", 7: "DHCPRELEASE", 8: "DHCPINFORM", 9: "DHCPFORCERENEW",
    10: "DHCPLEASEQUERY", 11: "DHCPLEASEUNASSIGNED", 12: "DHCPLEASEUNKNOWN",
    13: "DHCPLEASEACTIVE",
}  # fmt: skip
"""RFC 2132 section 9.6, RFC 3203, RFC 4388."""
_REQUEST: Final = 3
_ACTS_OF_CLIENT: Final = {1: Act.FIND, 4: Act.DECLINE, 7: Act.RELEASE, 8: Act.INFORM}
_ACTS_OF_SERVER: Final = {2: Act.OFFER, 5: Act.ACK, 6: Act.NAK, 9: Act.WAKE}
_NEVER_OF_CLIENT: Final = frozenset({2, 5, 6})
_ABOUT_CIADDR: Final = frozenset({Act.RENEW, Act.REBIND, Act.RELEASE, Act.INFORM})
_LIMITED_BROADCAST: Final = "255.255.255.255"
_INFINITE_S: Final = 0xFFFFFFFF


def meaning4(dhcp: Message4, datagram: Datagram) -> Meaning:
    """What the message does. The datagram says to whom it was sent."""
    act, problem = _act(dhcp, datagram)
    is_servers = dhcp.op == BOOTREPLY or dhcp.type in _NEVER_OF_CLIENT
    lease_s = t1_s = t2_s = None
    if act in (Act.OFFER, Act.ACK) and dhcp.yiaddr != NO_ADDRESS:
        lease_s = dhcp.lease_s
        t1_s, t2_s, time_problem = _times(dhcp)
        problem = problem or time_problem
    return Meaning(
        act=act,
        name=_name(dhcp),
        is_servers=is_servers,
        addresses=_addresses(act, dhcp, is_servers=is_servers),
        lease_s=lease_s,
        t1_s=t1_s,
        t2_s=t2_s,
        note=dhcp.message,
        problems=() if problem is None else (problem,),
    )


def given(address: str | None) -> str | None:
    """An address that is one; 0.0.0.0 stands for none."""
    return None if address == NO_ADDRESS else address


def _name(dhcp: Message4) -> str:
    if dhcp.type is not None:
        return _NAMES.get(dhcp.type, f"DHCP type {dhcp.type}")
    if dhcp.op == BOOTREPLY:
        return "BOOTREPLY"
    return "BOOTREQUEST" if dhcp.op == BOOTREQUEST else f"BOOTP op {dhcp.op}"


def _act(dhcp: Message4, datagram: Datagram) -> tuple[Act, str | None]:
    """A type belongs to one op (tables 3 and 5), and does nothing with the other."""
    if dhcp.type is None:
        return Act.OTHER, None
    if dhcp.op == BOOTREPLY:
        is_clients = dhcp.type in _ACTS_OF_CLIENT or dhcp.type == _REQUEST
        problem = "a client's type in a reply" if is_clients else None
        return _ACTS_OF_SERVER.get(dhcp.type, Act.OTHER), problem
    if dhcp.type in _ACTS_OF_SERVER:
        return Act.OTHER, "a server's type in a request"
    if dhcp.op != BOOTREQUEST:
        return Act.OTHER, None
    if dhcp.type == _REQUEST:
        return _request(dhcp, datagram)
    return _ACTS_OF_CLIENT.get(dhcp.type, Act.OTHER), None


def _request(dhcp: Message4, datagram: Datagram) -> tuple[Act, str | None]:
    """Which DHCPREQUEST it is: section 4.3.2, table 4.

    A server identifier says "selecting", but for a client that has an address and
    asks for none: that one renews, and should not have named the server.
    """
    problem = None
    has_address = dhcp.ciaddr != NO_ADDRESS
    asks = given(dhcp.requested) is not None
    if given(dhcp.server_identifier) is not None:
        if asks or not has_address:
            return Act.TAKE, None if asks else "selecting without requested address"
        problem = "server identifier in a renewal"
    if not has_address:
        if asks:
            return Act.REBOOT, None
        return Act.OTHER, "neither server, nor address, nor requested address"
    if dhcp.giaddr != NO_ADDRESS:
        return Act.REBIND, problem  # a renewal goes past relays, so it was a broadcast
    is_group_frame = int(datagram.dst_mac[:2], 16) & 1 == 1
    if datagram.dst == _LIMITED_BROADCAST and is_group_frame:
        return Act.REBIND, problem
    return Act.RENEW, problem


def _addresses(act: Act, dhcp: Message4, *, is_servers: bool) -> tuple[str, ...]:
    """The address that it is about, where tables 3 and 5 put it."""
    if act is Act.NAK:
        return ()
    if is_servers:
        found = given(dhcp.yiaddr)
        if found is None and act is Act.ACK:  # to a DHCPINFORM: section 4.3.5
            found = given(dhcp.ciaddr)
    elif act in _ABOUT_CIADDR:
        found = given(dhcp.ciaddr) or given(dhcp.requested)
    else:
        found = given(dhcp.requested) or given(dhcp.ciaddr)
    return () if found is None else (found,)


def _times(dhcp: Message4) -> tuple[int | None, int | None, str | None]:
    """T1 and T2 if they are in order: T1 before T2 before the lease's end (section 4.4.5)."""
    t1_s, t2_s = dhcp.renewal_s or None, dhcp.rebinding_s or None
    said = [each for each in (t1_s, t2_s, dhcp.lease_s) if each is not None]
    for earlier, later in pairwise(said):
        if earlier > later or earlier == later != _INFINITE_S:
            return None, None, "T1, T2 and the lease's end are not in order"
    return t1_s, t2_s, None
