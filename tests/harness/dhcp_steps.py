# SPDX-License-Identifier: Apache-2.0
"""Steps of a DHCP exchange, made by hand. Pure."""

from __future__ import annotations

from typing import Any

from sentinel import abi
from sentinel.dhcp.client import Client
from sentinel.dhcp.step import OF_SERVER, Act, Step

SECOND = 1_000_000_000
PORT, UPLINK = 7, 3
MAC = "fa:16:3e:00:00:07"
LEASE_S = 60


def step(
    act: Act,
    at_s: float = 0.0,
    *,
    xid: int = 1,
    role: str = "port",
    lease_s: float | None = None,
    **more: Any,
) -> Step:
    """A message at `at_s`, one second after the clock began; `more` are members of it."""
    is_answer = act in OF_SERVER
    inwards = is_answer == (role == "uplink")
    members: dict[str, Any] = {
        "time_ns": round(at_s * SECOND) + SECOND,
        "ifindex": PORT if role == "port" else UPLINK,
        "port_ifindex": PORT,
        "role": role,
        "direction": abi.TAP_IN if inwards else abi.TAP_OUT,
        "passed": True,
        "sent_ns": 0,
        "received_ns": 0,
        "missed": 0,
        "family": 4,
        "act": act,
        "name": act,
        "xid": xid,
        "client": "fa:16:3e:00:00:07",
        "mac": "fa:16:3e:00:00:07",
        "client_id": None,
        "server": "10.0.0.1" if is_answer else None,
        "server_mac": "52:54:00:00:00:01" if is_answer else None,
        "server_address": "10.0.0.1",
        "addresses": ("10.0.0.7",),
        "lease_ns": None if lease_s is None else round(lease_s * SECOND),
        "t1_ns": None,
        "t2_ns": None,
        "vid": None,
        "is_broadcast": False,
        "relay": None,
        "host_name": None,
        "note": None,
    }
    return Step(**members | more)


def client(*steps: Step, family: int = 4) -> Client:
    """One that took these."""
    found = Client(PORT, family, MAC, MAC)
    for one in steps:
        found.take(one)
    return found


def leased(xid: int = 1, at_s: float = 0.0, lease_s: float = LEASE_S, **more: Any) -> list[Step]:
    """Discover, offer, request, acknowledgement."""
    return [
        step(Act.FIND, at_s, xid=xid, **more),
        step(Act.OFFER, at_s + 0.1, xid=xid, lease_s=lease_s, **more),
        step(Act.TAKE, at_s + 0.2, xid=xid, **more),
        step(Act.ACK, at_s + 0.3, xid=xid, lease_s=lease_s, **more),
    ]


def renewed(
    at_s: float, xid: int = 2, act: Act = Act.RENEW, lease_s: float = LEASE_S, **more: Any
) -> list[Step]:
    """A renewal and its acknowledgement."""
    return [
        step(act, at_s, xid=xid, **more),
        step(Act.ACK, at_s + 0.01, xid=xid, lease_s=lease_s, **more),
    ]
