# SPDX-License-Identifier: Apache-2.0
"""The audit: every rule over the same facts, in the order in which they explain one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sentinel.audit.finding import AuditFacts, AuditFinding, Severity
from sentinel.audit.host import Explained, Host
from sentinel.audit.rule_bpdu import forwards_bpdu, host_stp
from sentinel.audit.rule_bridge import bridge_mtu
from sentinel.audit.rule_guest import guests
from sentinel.audit.rule_losses import losses
from sentinel.audit.rule_mtu import lower_mtu
from sentinel.audit.rule_unseen import unseen_port
from sentinel.audit.rule_uplink import uplink_oversized
from sentinel.audit.rule_vlan import vlan_on_vlan

_Rule = Callable[[Host, Explained], Iterator[AuditFinding]]

_RULES: Final[tuple[_Rule, ...]] = (
    vlan_on_vlan,
    lower_mtu,
    bridge_mtu,
    guests,
    host_stp,
    forwards_bpdu,
    unseen_port,
    # What is left is what none of those accounts for.
    uplink_oversized,
    losses,
)
_GRAVITY: Final = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.NOTICE: 2}


def run_audit(facts: AuditFacts) -> list[AuditFinding]:
    """What is wrong: the gravest first, then by id. The same facts give the same answer."""
    host, explained = Host(facts), Explained()
    found: dict[str, AuditFinding] = {}
    for rule in _RULES:
        for finding in rule(host, explained):
            # Two devices cannot have a name, but while one takes the other's it looks so.
            found.setdefault(finding.id, finding)
    return sorted(found.values(), key=lambda one: (_GRAVITY[one.severity], one.id))
