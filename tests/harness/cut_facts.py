# SPDX-License-Identifier: Apache-2.0
"""Devices, latches and findings to feed the pure core with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sentinel import abi
from sentinel.cuts import LatchSeen
from sentinel.decode import BPDU_KINDS, NO_COUNTERS, Counters, Cut, KernelEvent, PortSlot
from sentinel.inventory import Device
from sentinel.vm import UNKNOWN_VM, VmIdentity

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
VM = VmIdentity(uuid="1f1f6c2a-65c0-4c39-b9c3-51d3b4f33d6d", name="web-1", source="libvirt")


def device(ifindex: int = 7, name: str = "tap0", **changes: Any) -> Device:
    facts: dict[str, Any] = {
        "role": "port",
        "mac": "fe:00:00:00:00:07",
        "mtu_bytes": 1500,
        "path_mtu_bytes": 1500,
        "bridge": "br0",
        "vm": UNKNOWN_VM,
        "trusted_checks": frozenset(),
        "rule": "include",
    }
    return Device(ifindex=ifindex, name=name, **{**facts, **changes})


def slot(ifindex: int = 7, latch: int = abi.TAP_LATCH_CHECK) -> PortSlot:
    return PortSlot(ifindex, ifindex, latch, 1, abi.TAP_ROLE_PORT, 1500, 0)


def latch_seen(
    ifindex: int = 7,
    cut: Cut | None = None,
    latch: int = abi.TAP_LATCH_CHECK,
    at: int = NOW,
    relapses: int = 0,
) -> LatchSeen:
    return LatchSeen(slot(ifindex, latch), cut, at, relapses, 0.0)


def bpdus(count: int, kind: str = "stp") -> Counters:
    """Counters that say so many BPDUs, and nothing else."""
    words = dict.fromkeys(BPDU_KINDS, 0) | {kind: count}
    return replace(NO_COUNTERS, frames=count, bpdu=tuple(words.values()))


def record(ifindex: int = 7, verdict: str = "dropped", **changes: Any) -> KernelEvent:
    facts: dict[str, Any] = {
        "time_ns": 1,
        "ifindex": ifindex,
        "offender_ifindex": ifindex,
        "frame_bytes": 60,
        "wire_bytes": 60,
        "check": "bpdu",
        "kind": "rstp",
        "direction": abi.TAP_IN,
        "role": "port",
        "verdict": verdict,
        "tags": 0,
        "head": bytes.fromhex("0180c2000000fa163e000099"),
    }
    return KernelEvent(**{**facts, **changes})
