# SPDX-License-Identifier: Apache-2.0
"""What a message does, in the terms that both protocols share."""

from __future__ import annotations

from dataclasses import dataclass

from sentinel.dhcp.step import Act


@dataclass(frozen=True, slots=True)
class Meaning:
    """Times are in seconds as they stand in messages: 0xffffffff has no end."""

    act: Act
    name: str
    is_servers: bool
    """As the kernel counts it in tap_counters.dhcp_server."""
    addresses: tuple[str, ...] = ()
    lease_s: int | None = None
    t1_s: int | None = None
    t2_s: int | None = None
    note: str | None = None
    problems: tuple[str, ...] = ()
