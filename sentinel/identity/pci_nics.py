# SPDX-License-Identifier: Apache-2.0
"""Asks /sys which PCI devices are network controllers, and whose virtual functions.

Blocking: belongs in a worker thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from sentinel.link import device_name
from sentinel.vm import VmPort

NETWORK_CLASS: Final = b"0x02"
"""How `class` of a network controller begins (PCI Code and ID Assignment, base class 02h)."""


def ports_with_nics(pci_root: Path, ports: Iterable[VmPort]) -> tuple[VmPort, ...]:
    """Those of them that are ways to the network."""
    told = (port_with_nic(pci_root, port) for port in ports)
    return tuple(port for port in told if port is not None)


def port_with_nic(pci_root: Path, port: VmPort) -> VmPort | None:
    """A virtual function with its NIC's name; None for what is no network controller.

    `source` of kind "vf" is an address in canonical form (sentinel/pci.py); other
    kinds are left as they are.
    """
    if port.kind != "vf":
        return port
    device = pci_root / port.source
    try:
        if not (device / "class").read_bytes().startswith(NETWORK_CLASS):
            return None
    except OSError:
        return None
    if not (device / "physfn").exists():
        return replace(port, kind="nic")
    try:
        with os.scandir(device / "physfn" / "net") as entries:
            names = sorted(device_name(os.fsencode(entry.name)) for entry in entries)
    except OSError:
        names = []
    return replace(port, parent=names[0] if names else "")
