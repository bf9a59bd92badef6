# SPDX-License-Identifier: Apache-2.0
"""Hosts for the audit: links by name, the real inventory over them, and rows of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sentinel import abi
from sentinel.audit.finding import AuditFacts, AuditFinding
from sentinel.audit.rules import run_audit
from sentinel.config import PortsConfig, TrustRule
from sentinel.inventory import Inventory
from sentinel.link import LinkFacts
from sentinel.ovs import NO_OVS, OvsFacts
from sentinel.tag import TPID_8021AD, TPID_8021Q, Tag
from sentinel.traffic import LossSeen, PairSeen
from sentinel.tunnel import tunnel_overhead_bytes
from sentinel.vm import VmIdentity

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NOW = 100_000 * SECOND
AT_1402 = 1_760_018_520 * SECOND
"""2025-10-09 14:02 UTC."""
AT_1430 = AT_1402 + 28 * MINUTE
"""What the clock on the wall shows at NOW."""
WALL = AT_1430 - NOW


def q(vid: int) -> Tag:
    return Tag(TPID_8021Q, vid)


def ad(vid: int) -> Tag:
    return Tag(TPID_8021AD, vid)


class AuditHost:
    """A host that is put together device by device."""

    def __init__(self, *, trusted: Sequence[TrustRule] = (), uplinks: Sequence[str] = ()) -> None:
        self.links: dict[str, LinkFacts] = {}
        self.pairs: list[PairSeen] = []
        self.losses: list[LossSeen] = []
        self.vms: dict[str, VmIdentity] = {}
        self.ovs: OvsFacts = NO_OVS
        self.more: dict[str, Any] = {}
        self._ports = PortsConfig(trusted=tuple(trusted), uplinks=tuple(uplinks))

    def index(self, name: str) -> int:
        return self.links[name].ifindex

    def add(self, name: str, kind: str = "", **facts: Any) -> LinkFacts:
        """A device; `master`, `lower` and `tunnel_lower` by name."""
        for key in ("master", "lower", "tunnel_lower"):
            if isinstance(facts.get(key), str):
                facts[key] = self.index(facts[key])
        link = LinkFacts(ifindex=len(self.links) + 1, name=name, kind=kind, **facts)
        self.links[name] = link
        return link

    def change(self, name: str, **facts: Any) -> None:
        for key in ("master", "lower"):
            if isinstance(facts.get(key), str):
                facts[key] = self.index(facts[key])
        self.links[name] = replace(self.links[name], **facts)

    def remove(self, name: str) -> None:
        del self.links[name]

    def tap(self, name: str, master: str, **facts: Any) -> LinkFacts:
        return self.add(name, "tun", tun_type="tap", master=master, **facts)

    def vlan(self, name: str, lower: str, tag: Tag, **facts: Any) -> LinkFacts:
        return self.add(name, "vlan", lower=lower, tag=tag, **facts)

    def vxlan(self, name: str, lower: str | None, **facts: Any) -> LinkFacts:
        overhead = tunnel_overhead_bytes("vxlan")
        return self.add(name, "vxlan", tunnel_lower=lower, tunnel_overhead_bytes=overhead, **facts)

    def seen(
        self,
        name: str,
        outer: Tag | None = None,
        inner: Tag | None = None,
        *,
        oversized: int = 0,
        by: int | tuple[int, int] = 4,
        frames: int | None = None,
        direction: int | None = None,
        since_ns: int = 28 * MINUTE,
        ago_ns: int = SECOND,
        is_rest: bool = False,
    ) -> PairSeen:
        """Frames of a pair, by default from a guest or to the wire; times before now."""
        if direction is None:
            direction = abi.TAP_IN if self.links[name].is_tap else abi.TAP_OUT
        smallest, largest = (by, by) if isinstance(by, int) else by
        row = PairSeen(
            ifindex=self.index(name),
            direction=direction,
            outer=outer,
            inner=inner,
            is_rest=is_rest,
            frames=frames if frames is not None else max(oversized, 1),
            bytes=1000,
            oversized=oversized,
            excess=_histogram(oversized, smallest, largest),
            smallest_excess_bytes=smallest if oversized else 0,
            largest_excess_bytes=largest if oversized else 0,
            largest_wire_bytes=1518,
            first_seen_ns=NOW - since_ns,
            last_seen_ns=NOW - ago_ns,
            last_oversized_ns=NOW - ago_ns if oversized else 0,
        )
        self.pairs.append(row)
        return row

    def lost(
        self,
        at: str,
        reason: str = "NOT_SPECIFIED",
        symbol: str = "",
        frames: int = 100,
        *,
        source: str = "",
        largest: int = 1514,
        ago_ns: int = SECOND,
    ) -> LossSeen:
        row = LossSeen(
            from_ifindex=self.index(source) if source else 0,
            at_ifindex=self.index(at),
            reason=reason,
            symbol=symbol,
            frames=frames,
            bytes=frames * largest,
            largest_bytes=largest,
            first_seen_ns=NOW - 28 * MINUTE,
            last_seen_ns=NOW - ago_ns,
        )
        self.losses.append(row)
        return row

    def facts(self, **more: Any) -> AuditFacts:
        inventory = Inventory(self._ports)
        inventory.replace_links(self.links.values())
        inventory.set_ovs(self.ovs)
        for name, vm in self.vms.items():
            inventory.set_identity(self.index(name), vm)
        told: dict[str, Any] = {
            "now_ns": NOW,
            "wall_minus_monotonic_ns": WALL,
            "links": inventory.links(),
            "devices": inventory.devices(),
            "paths": inventory.paths(),
            "pairs": self.pairs,
            "losses": self.losses,
            "ovs": self.ovs,
        }
        return AuditFacts(**{**told, **self.more, **more})

    def audit(self, **more: Any) -> dict[str, AuditFinding]:
        """The findings by id."""
        return {finding.id: finding for finding in run_audit(self.facts(**more))}


def _histogram(frames: int, smallest: int, largest: int) -> tuple[int, ...]:
    """One frame of the smallest excess, the rest of the largest."""
    counts = [0, 0, 0, 0]
    if frames:
        counts[_class(largest)] += frames - (smallest != largest)
        counts[_class(smallest)] += smallest != largest
    return tuple(counts)


def _class(excess: int) -> int:
    return 0 if excess <= 4 else 1 if excess <= 8 else 2 if excess <= 50 else 3


def bridged(taps: int = 1, **kwargs: Any) -> AuditHost:
    """Taps on br0, with eth0 as its way to the wire."""
    host = AuditHost(**kwargs)
    host.add("eth0", master=2)
    host.add("br0", "bridge")
    for number in range(taps):
        host.tap(f"tap{number}", "br0")
    return host


def bonded(**kwargs: Any) -> AuditHost:
    """A bond of two NICs."""
    host = AuditHost(**kwargs)
    host.add("eth0", master=3)
    host.add("eth1", master=3)
    host.add("bond0", "bond")
    return host


def story(lower_tag: Tag | None = None, taps: int = 2, **kwargs: Any) -> AuditHost:
    """vlan100 on vlan20 on a bond: every tenant frame has two tags."""
    host = bonded(**kwargs)
    host.vlan("vlan20", "bond0", lower_tag or q(20), mac="52:54:00:00:00:01")
    host.add("br100", "bridge")
    host.vlan("vlan100", "vlan20", q(100), master="br100", mac="52:54:00:00:00:01")
    for number in range(taps):
        host.tap(f"tap{number}", "br100")
    return host
