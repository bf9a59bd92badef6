# SPDX-License-Identifier: Apache-2.0
"""The documents that `status`, `ports` and `show` are made of. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sentinel.config import Config
from sentinel.decode import CHECKS, Counters
from sentinel.event import Quarantine
from sentinel.inventory import Device


def port_state(device: Device, is_attached: bool, quarantine: Quarantine | None) -> str:
    """ "quarantined", "unattached", "trusted" (by any check) or "watched"."""
    if quarantine is not None:
        return "quarantined"
    if not is_attached:
        return "unattached"
    return "trusted" if device.trusted_checks else "watched"


def port_document(
    device: Device,
    is_attached: bool,
    quarantine: Quarantine | None,
    counters: tuple[Counters, Counters],
    problem: str | None,
    last_sent_wall_ns: int | None = None,
    last_received_wall_ns: int | None = None,
) -> dict[str, Any]:
    """One entry of `ports --json`.

    The clocks are when the guest (the wire, for an uplink) last sent and last got
    any frame at all; None: never, or not known.
    """
    from_device, to_device = counters[0].to_dict(), counters[1].to_dict()
    if device.role == "uplink":
        by_direction = {"from_wire": from_device, "to_wire": to_device}
    else:
        by_direction = {"from_guest": from_device, "to_guest": to_device}
    return {
        "name": device.name,
        "ifindex": device.ifindex,
        "role": device.role,
        "state": port_state(device, is_attached, quarantine),
        "vm": device.vm if device.role == "port" else None,
        "mac": device.mac,
        "mtu_bytes": device.mtu_bytes,
        "path_mtu_bytes": device.path_mtu_bytes,
        "bridge": device.bridge,
        "rule": device.rule,
        "trusted_checks": sorted(device.trusted_checks),
        "quarantine": quarantine,
        "problem": problem,
        "last_sent_wall_ns": last_sent_wall_ns,
        "last_received_wall_ns": last_received_wall_ns,
        "counters": by_direction,
    }


def checks_document(config: Config) -> dict[str, Any]:
    """Each check's policy."""
    return {
        name: {
            "action": config.checks.policy(name).action,
            "threshold": config.checks.policy(name).threshold,
            "window_ns": config.checks.policy(name).window_ns,
        }
        for name in CHECKS
    }


def guard_document(
    devices: Collection[Device], attached: Collection[int], quarantined: int
) -> dict[str, int]:
    """How many devices are what."""
    ports = [device for device in devices if device.role == "port"]
    return {
        "watched": sum(1 for device in ports if device.ifindex in attached),
        "unattached": sum(1 for device in devices if device.ifindex not in attached),
        "trusted": sum(1 for device in ports if device.trusted_checks),
        "quarantined": quarantined,
        "uplinks": sum(1 for device in devices if device.role == "uplink"),
    }
