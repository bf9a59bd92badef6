# SPDX-License-Identifier: Apache-2.0
"""The documents of `dhcp` and `dhcp PORT`. Times in them are wall clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sentinel.dhcp.client import Client
from sentinel.dhcp.exchange import Exchange
from sentinel.dhcp.sentences import Scene
from sentinel.dhcp.timeline import direction_text


def lease_document(
    client: Client, scene: Scene, now_ns: int, troubles: Sequence[str]
) -> dict[str, Any]:
    """One client with what it holds. `now_ns` is CLOCK_MONOTONIC."""
    lease = client.shown
    wall_ns = scene.dial.wall_ns
    timed = lease if lease is not None and not lease.is_infinite else None
    remaining_ns = None
    if timed is not None and (client.lease is not None or client.granted is not None):
        remaining_ns = max(0, timed.expires_ns - now_ns)
    return {
        "port": scene.port,
        "ifindex": client.ifindex,
        "vm": asdict(scene.vm),
        "family": client.family,
        "mac": client.mac,
        "client_id": client.client_id,
        "client": client.key,
        "address": lease.addresses[0] if lease is not None else None,
        "addresses": list(lease.addresses) if lease is not None else [],
        "server": (lease.server_address or lease.server) if lease is not None else None,
        "server_mac": lease.server_mac if lease is not None else None,
        "state": client.state,
        "lease_ns": timed.lease_ns if timed is not None else None,
        "remaining_ns": remaining_ns,
        "t1_wall_ns": wall_ns(timed.renew_ns) if timed is not None else None,
        "t2_wall_ns": wall_ns(timed.rebind_ns) if timed is not None else None,
        "expires_wall_ns": wall_ns(timed.expires_ns) if timed is not None else None,
        "acked_wall_ns": wall_ns(lease.acked_ns) if lease is not None else None,
        "host_name": client.host_name,
        "vid": client.vid,
        "relay": client.relay,
        "trouble": list(troubles),
    }


def exchange_document(exchange: Exchange | None, scene: Scene) -> list[dict[str, Any]]:
    """The messages of a conversation, the oldest first; retransmissions are folded."""
    if exchange is None:
        return []
    rows: list[dict[str, Any]] = []
    before_ns: int | None = None
    for sight in exchange.sights:
        rows.append(
            {
                "time_wall_ns": scene.dial.wall_ns(sight.time_ns),
                "last_wall_ns": scene.dial.wall_ns(sight.last_ns),
                "gap_ns": None if before_ns is None else max(0, sight.time_ns - before_ns),
                "place": sight.role,
                "device": scene.name_of(sight.ifindex),
                "direction": direction_text(sight.role, sight.direction),
                "passed": sight.passed,
                "name": sight.name,
                "act": str(sight.act),
                "xid": f"{sight.xid:08x}",
                "address": sight.address,
                "server": sight.server,
                "note": sight.note,
                "count": sight.count,
            }
        )
        before_ns = sight.time_ns
    return rows
