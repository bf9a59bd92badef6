# SPDX-License-Identifier: Apache-2.0
"""The same exchange in both protocols: a client's request and what it is answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.dhcp6 import Dhcp6Type, dhcp6
from tests.harness.frames import GUEST_MAC

SERVER_MAC = "52:54:00:00:00:01"


@dataclass(frozen=True, slots=True)
class Family:
    """What a client says and is answered, in one of the two protocols."""

    name: str
    """ "v4" or "v6"."""

    def ask(self, mac: str = GUEST_MAC, xid: int = 7) -> bytes:
        """A client's request."""
        if self.name == "v4":
            return dhcp(DhcpType.REQUEST, client_mac=mac, xid=xid)
        return dhcp6(Dhcp6Type.REQUEST, client_mac=mac, xid=xid)

    def answer(self, mac: str = GUEST_MAC, xid: int = 7) -> bytes:
        """What a server grants it."""
        if self.name == "v4":
            return dhcp(DhcpType.ACK, client_mac=mac, xid=xid, src_mac=SERVER_MAC)
        return dhcp6(Dhcp6Type.REPLY, client_mac=mac, xid=xid)


FAMILIES = [Family("v4"), Family("v6")]
