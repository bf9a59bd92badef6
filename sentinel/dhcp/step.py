# SPDX-License-Identifier: Apache-2.0
"""One message of either protocol in the terms that both share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

INFINITE_NS: Final = 1 << 62
"""A lease without an end (RFC 2131 section 3.3, RFC 8415 section 7.7)."""


class Act(StrEnum):
    """What a message does. In brackets its names in RFC 2131 and RFC 8415."""

    FIND = "find"
    """(DHCPDISCOVER, Solicit)"""
    TAKE = "take"
    """(DHCPREQUEST that names a server, Request)"""
    REBOOT = "reboot"
    """(DHCPREQUEST of a client that remembers an address, Confirm)"""
    RENEW = "renew"
    """(DHCPREQUEST with ciaddr to the server itself, Renew)"""
    REBIND = "rebind"
    """(DHCPREQUEST with ciaddr to everybody, Rebind)"""
    INFORM = "inform"
    """(DHCPINFORM, Information-request)"""
    RELEASE = "release"
    DECLINE = "decline"
    OFFER = "offer"
    """(DHCPOFFER, Advertise)"""
    ACK = "ack"
    """(DHCPACK, a Reply that grants)"""
    NAK = "nak"
    """(DHCPNAK, a Reply or an Advertise that refuses)"""
    WAKE = "wake"
    """(DHCPFORCERENEW, Reconfigure)"""
    OTHER = "other"


OF_CLIENT: Final = frozenset(
    {
        Act.FIND, Act.TAKE, Act.REBOOT, Act.RENEW, Act.REBIND, Act.INFORM, Act.RELEASE,
        Act.DECLINE,
    }
)  # fmt: skip
OF_SERVER: Final = frozenset({Act.OFFER, Act.ACK, Act.NAK, Act.WAKE})


@dataclass(frozen=True, slots=True)
class Step:
    """One message at one place. Times are CLOCK_MONOTONIC."""

    time_ns: int
    ifindex: int
    """Of the device that saw it."""
    port_ifindex: int
    """Of the port whose exchange it belongs to; 0: unknown."""
    role: str
    """ "port" or "uplink"."""
    direction: int
    """abi.TAP_IN or abi.TAP_OUT."""
    passed: bool
    """False: our program dropped it."""
    sent_ns: int
    """When the port last sent more than housekeeping before; 0: never or unknown."""
    received_ns: int
    missed: int
    """Messages of that port that were never told, so far."""
    family: Literal[4, 6]
    act: Act
    name: str
    """As the RFC calls it: "DHCPREQUEST", "Renew"."""
    xid: int
    client: str
    """Who it is about: the hardware address (v4), the DUID in hex (v6; "" if it has none)."""
    mac: str
    """The client's: chaddr (v4), the Ethernet address at the client's end (v6)."""
    client_id: str | None
    """Option 61 in hex (v4), the IAIDs in hex joined by "," (v6)."""
    server: str | None
    """Server identifier: an address (v4), a DUID in hex (v6)."""
    server_mac: str | None
    """Ethernet source of what a server sent."""
    server_address: str | None
    """IP source of what a server sent, IP destination of what a client sent."""
    addresses: tuple[str, ...]
    """Asked for by a client, given by a server; prefixes with their length."""
    lease_ns: int | None
    """Longest valid lifetime; INFINITE_NS: no end; None: not said."""
    t1_ns: int | None
    t2_ns: int | None
    vid: int | None
    """Outer VLAN tag."""
    is_broadcast: bool
    """The client asked for a broadcast answer (v4)."""
    relay: str | None
    """giaddr (v4), the outermost link-address (v6)."""
    host_name: str | None
    note: str | None
    """A server's refusal in its own words, or a status code's name."""
    problems: tuple[str, ...] = ()
    """What in the message is not as its RFC says."""
