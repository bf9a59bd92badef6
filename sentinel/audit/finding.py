# SPDX-License-Identifier: Apache-2.0
"""What an audit finds, and the facts it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from sentinel.event import Moment
from sentinel.inventory import Device
from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsFacts
from sentinel.path.step import Path
from sentinel.traffic import LossSeen, PairSeen
from sentinel.vm import UNKNOWN_VM, VmIdentity


class Severity(StrEnum):
    """How bad: frames are being lost; frames will be, or the host is at risk; good to know."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class UnseenPort:
    """A way of a VM to the network that no tap shows."""

    name: str
    """The interface's name, its socket, or the VF's PCI address or number."""
    kind: str
    """"vhost-user", "vf", "macvtap", "netdev datapath"."""
    vm: VmIdentity = UNKNOWN_VM
    parent: str = ""
    """The bridge or NIC it belongs to, where that is known."""


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """Everything an audit looks at. Times of rows are monotonic, `now_ns` too."""

    now_ns: int
    wall_minus_monotonic_ns: int
    links: Mapping[int, LinkFacts]
    devices: Mapping[int, Device]
    """The watched ones, by ifindex."""
    paths: Mapping[int, Path]
    """Of ports, by ifindex."""
    pairs: Sequence[PairSeen] = ()
    losses: Sequence[LossSeen] = ()
    host_bpdus: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    """By uplink: BPDUs the host itself sent there."""
    ovs: OvsFacts = NO_OVS
    unseen: Sequence[UnseenPort] = ()
    service_vids: frozenset[int] = frozenset()
    """[audit] service_vlans: outer tags that are meant to be there."""
    ways_changed_ns: int = 0
    """When the devices between the ports and the wire last changed, as far as is known:
    frames of before say nothing of what is there now."""
    zone_seconds: int = 0
    """East of UTC: sentences tell local time, every other time is one since the epoch."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong, what shows it, and the exact repair.

    `id` is `rule/device`: the same for as long as it holds, over restarts too.
    """

    id: str
    rule: str
    severity: Severity
    device: str
    ifindex: int
    what: str
    """What is so, what follows from it, and how many frames since when (local time) show it."""
    repair: str
    """What to change, to what."""
    commands: tuple[str, ...] = ()
    """The same to be pasted into a root shell, names quoted; what begins with # is a remark."""
    vm: VmIdentity = UNKNOWN_VM
    frames: int = 0
    """That show it; 0: configuration alone."""
    since_wall_ns: int | None = None
    """When the first of these frames was seen."""
    last_wall_ns: int | None = None
    evidence: tuple[Moment, ...] = ()
    opens_incident: bool = True
    """False: another incident says it already (a check's), or it is only good to know."""
