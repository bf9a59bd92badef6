# SPDX-License-Identifier: Apache-2.0
"""Leases and exchanges in the shape of `dhcp --json`, as a daemon would tell them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000

SILENT_NS = 1_759_975_987_412 * MS_NS
"""2025-10-09 02:13:07.412 UTC."""
ACKED_NS = SILENT_NS - 30 * SECOND_NS
LOST_NS = ACKED_NS + 60 * SECOND_NS
TOLD_NS = LOST_NS + 14 * SECOND_NS

PORT, UPLINK = "tap3f2a9c1e-77", "bond0"


def lease(port: str = PORT, **members: Any) -> Json:
    """A lease of a minute that is well, seen at its very beginning."""
    return {
        "port": port,
        "ifindex": 42,
        "vm": {"uuid": None, "name": "instance-0000002a", "source": "libvirt"},
        "family": 4,
        "mac": "fa:16:3e:3f:2a:9c",
        "client_id": "01fa163e3f2a9c",
        "client": "fa:16:3e:3f:2a:9c",
        "address": "10.0.0.7",
        "addresses": ["10.0.0.7"],
        "server": "10.0.0.1",
        "server_mac": "fa:16:3e:00:00:01",
        "state": "bound",
        "lease_ns": 60 * SECOND_NS,
        "remaining_ns": 60 * SECOND_NS,
        "t1_wall_ns": ACKED_NS + 30 * SECOND_NS,
        "t2_wall_ns": ACKED_NS + 52_500 * MS_NS,
        "expires_wall_ns": LOST_NS,
        "acked_wall_ns": ACKED_NS,
        "host_name": "www-1",
        "vid": None,
        "relay": None,
        "trouble": [],
        **members,
    }


def seen(time_ns: int, direction: str, name: str = "DHCPREQUEST", **members: Any) -> Json:
    """One message at one place, as an exchange lists it; without a gap."""
    at_port = direction in ("from_guest", "to_guest")
    return {
        "time_wall_ns": time_ns,
        "last_wall_ns": time_ns,
        "gap_ns": None,
        "place": "port" if at_port else "uplink",
        "device": PORT if at_port else UPLINK,
        "direction": direction,
        "passed": True,
        "name": name,
        "xid": "1234abcd",
        "address": "10.0.0.7",
        "server": None,
        "note": None,
        "count": 1,
        **members,
    }


def asked(time_ns: int, name: str = "DHCPREQUEST", **members: Any) -> list[Json]:
    """What a guest sent, at its port and a tenth of a millisecond later at the uplink."""
    return [
        seen(time_ns, "from_guest", name, **members),
        seen(time_ns + 100_000, "to_wire", name, **members),
    ]


def answered(time_ns: int, name: str = "DHCPACK", **members: Any) -> list[Json]:
    """What a server sent, at the uplink and a tenth of a millisecond later at the port."""
    members = {"server": "10.0.0.1", **members}
    return [
        seen(time_ns, "from_wire", name, **members),
        seen(time_ns + 100_000, "to_guest", name, **members),
    ]


def with_gaps(exchange: list[Json]) -> list[Json]:
    """The same messages, each with the time since the one before."""
    before = [None, *(one["time_wall_ns"] for one in exchange)]
    return [
        {**one, "gap_ns": None if earlier is None else one["time_wall_ns"] - earlier}
        for one, earlier in zip(exchange, before, strict=False)
    ]


def stalled_exchange() -> list[Json]:
    """Twice to the server, then to everybody: answered each time, and never heard."""
    first, second, third = (SILENT_NS + ms * MS_NS for ms in (38, 12_041, 22_512))
    return with_gaps(
        [
            *asked(first, act="renew", server="10.0.0.1"),
            *answered(first + 1_200_000),
            *asked(second, act="renew", server="10.0.0.1"),
            *answered(second + 1_100_000),
            *asked(third, act="rebind", server="255.255.255.255"),
            *answered(third + 1_300_000),
        ]
    )


def stalled_port(**members: Any) -> Json:
    """A guest that no longer drains its receive queue, after it lost its lease."""
    lost = lease(
        state="lost",
        remaining_ns=-14 * SECOND_NS,
        trouble=["lease_lost", "queue_stalled"],
        exchange=stalled_exchange(),
    )
    return {
        "port": PORT,
        "ifindex": 42,
        "vm": lost["vm"],
        "last_sent_wall_ns": SILENT_NS + 22_512 * MS_NS,
        "last_received_wall_ns": TOLD_NS - 1_500 * MS_NS,
        "missed": 0,
        "clients": [lost],
        **members,
    }


def stalled_incident(**members: Any) -> Json:
    """The incident of it, as `incidents --json` lists it."""
    exchange = stalled_exchange()
    return {
        "id": 17,
        "check": "dhcp",
        "detail": "queue_stalled",
        "port": PORT,
        "ifindex": 42,
        "vm": {"uuid": None, "name": "instance-0000002a", "source": "libvirt"},
        "mac": "fa:16:3e:3f:2a:9c",
        "opened_wall_ns": SILENT_NS + 12 * SECOND_NS,
        "updated_wall_ns": LOST_NS,
        "closed_wall_ns": None,
        "frames": len(exchange),
        "action": "count",
        "verdict": "passed",
        "frame_hex": "",
        "summary": f"{PORT}: lease of 10.0.0.7 lost. The server answered 3 times, the replies "
        "passed towards the guest; the guest had been silent since 02:13:07.412, 38 ms before "
        "the first renewal; its receive queue is not being drained. Not a DHCP fault.",
        "uplink": False,
        "evidence": [
            {"time_ns": SILENT_NS, "place": PORT, "text": "last frame of the guest but DHCP"},
            *(
                {
                    "time_ns": one["time_wall_ns"],
                    "place": one["device"],
                    "text": f"{one['name']} {one['direction'].replace('_', ' ')}",
                }
                for one in exchange
            ),
            {"time_ns": LOST_NS, "place": PORT, "text": "the lease of 10.0.0.7 ran out"},
        ],
        **members,
    }
