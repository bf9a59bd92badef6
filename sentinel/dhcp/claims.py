# SPDX-License-Identifier: Apache-2.0
"""Who holds which address, and who else holds the same one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sentinel.dhcp.lease import Lease

ClientKey = tuple[int, str]
"""(family, the client's key)"""
Whereabouts = tuple[int, ClientKey]
"""(ifindex of the port, which client there)"""
_Claim = tuple[str, str | None, str | None, int | None]
"""An address is one only among those whom the same server (its identifier, MAC, VLAN)
serves: tenants' networks overlap."""
MOST_ASKED: Final = 8
"""Of those that hold one address; a server that gives it to all makes one incident each."""


class Claims:
    """The holders of every address."""

    def __init__(self) -> None:
        self._holders: dict[_Claim, dict[Whereabouts, None]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def change(self, who: Whereabouts, before: Lease | None, now: Lease | None) -> None:
        """It holds another lease now."""
        if before is now:
            return
        for claim in _claims(before):
            holders = self._holders.get(claim)
            if holders is not None:
                holders.pop(who, None)
                if not holders:
                    del self._holders[claim]
        for claim in _claims(now):
            self._holders.setdefault(claim, {})[who] = None

    def others(self, who: Whereabouts, lease: Lease | None) -> Iterator[Whereabouts]:
        """Who else holds an address of a lease, those who had it first before the others."""
        for claim in _claims(lease):
            holders = self._holders.get(claim, {})
            if len(holders) < 2:
                continue
            for other in islice(holders, MOST_ASKED):
                if other != who:
                    yield other


def _claims(lease: Lease | None) -> list[_Claim]:
    if lease is None:
        return []
    return [(address, lease.server, lease.server_mac, lease.vid) for address in lease.addresses]
