# SPDX-License-Identifier: Apache-2.0
"""Whether a port is one of the VM that was cut before."""

from __future__ import annotations

from sentinel.event import Quarantine
from sentinel.inventory import Device


def is_same_vm(quarantine: Quarantine, device: Device) -> bool:
    """Whether the port belongs to the VM that was cut, as far as anybody can say.

    Names of taps are used again (libvirt's vnet0), so a name alone counts only
    where no source knows the VM of either.
    """
    then, now = quarantine.vm, device.vm
    if then.port_id and now.port_id:
        shorter = min(len(then.port_id), len(now.port_id))
        return then.port_id[:shorter] == now.port_id[:shorter]
    if then.uuid and now.uuid:
        # Of a VM's several ports the one with the same MAC, or at least name.
        same_port = then.mac == now.mac if then.mac and now.mac else quarantine.port == device.name
        return then.uuid == now.uuid and same_port
    return not then.is_known and not now.is_known and quarantine.port == device.name
