# SPDX-License-Identifier: Apache-2.0
"""Which names [ports] means, and whom it trusts."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sentinel.config import PortsConfig, TrustRule
from sentinel.link import LinkFacts
from sentinel.vm import VmIdentity


def matching_pattern(ports: PortsConfig, name: str) -> str | None:
    """The pattern of `include` that a device's name matches; None if it is not to be watched."""
    if any(fnmatchcase(name, pattern) for pattern in ports.exclude):
        return None
    return next((one for one in ports.include if fnmatchcase(name, one)), None)


def is_trusted_by(rule: TrustRule, link: LinkFacts, vm: VmIdentity) -> bool:
    """Whether the host says so: never by a MAC seen in frames, never by a tenant's words."""
    if rule.name is not None:
        return fnmatchcase(link.name, rule.name)
    if rule.mac is not None:
        return rule.mac in (link.mac, vm.mac)
    return rule.vm is not None and (
        rule.vm == vm.name or (vm.uuid is not None and rule.vm.lower() == vm.uuid)
    )
