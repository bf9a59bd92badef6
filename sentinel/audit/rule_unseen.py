# SPDX-License-Identifier: Apache-2.0
"""Ports of VMs that no tap shows: nothing of theirs is counted, judged or cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from sentinel.audit.finding import AuditFinding, Severity, UnseenPort
from sentinel.audit.host import Explained, Host
from sentinel.detect.finding import whose

RULE: Final = "unseen-port"
_WHY: Final = {
    "vhost-user": "its frames go through shared memory, past the kernel",
    "vf": "its frames go from the VM to the NIC, past the kernel",
    "nic": "the whole NIC is the VM's, and its frames go past the kernel",
    "macvtap": "its frames are not seen here in the directions that a tap has",
    "netdev datapath": "Open vSwitch switches its frames in user space, past the kernel",
}
_OF_NIC: Final = (
    "has virtual functions of which no VM is known: the frames of who holds them go past the "
    "kernel."
)
_INSTEAD: Final = {
    "nic": "Guard it where it is seen: on the switch's port.",
    "vf": "Guard it where it is seen: on the NIC (spoof checking, VLAN) or on the switch.",
    "macvtap": "Put the VM on a bridge with a tap, or guard it on the switch.",
}
_ELSEWHERE: Final = "Guard it where it is seen: on the switch; or give the VM a tap."


def unseen_port(host: Host, explained: Explained) -> Iterator[AuditFinding]:
    """One notice for each."""
    del explained
    ids = Counter(port.name for port in host.facts.unseen)
    told: set[str] = set()
    for port in host.facts.unseen:
        # VFs may be numbered anew on each NIC.
        is_shared = ids[port.name] > 1 and port.parent not in ("", port.name)
        device = f"{port.parent}:{port.name}" if is_shared else port.name or port.parent
        if device not in told:
            told.add(device)
            yield _finding(host, port, device)


def _finding(host: Host, port: UnseenPort, device: str) -> AuditFinding:
    link = host.by_name(port.name)
    on = f" on {port.parent}" if port.parent not in ("", port.name) else ""
    why = _WHY.get(port.kind, "no program here sees its frames")
    owner = f" of {whose(port.vm)}" if port.vm.is_known else ""
    return AuditFinding(
        id=f"{RULE}/{device}",
        rule=RULE,
        severity=Severity.NOTICE,
        device=device,
        ifindex=0 if link is None else link.ifindex,
        what=f"{port.name} {_OF_NIC}"
        if port.kind == "vf" and port.parent == port.name
        else f"{port.name}{on}{owner} is a {port.kind} port: {why}.",
        repair=_INSTEAD.get(port.kind, _ELSEWHERE),
        vm=port.vm,
        opens_incident=False,
    )
