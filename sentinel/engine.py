# SPDX-License-Identifier: Apache-2.0
"""The core in order: facts and a clock in, effects out.

record → finding → incident; latch → quarantine; order → quarantine; clock →
release. Times are wall clock in nanoseconds. Nothing here touches the world: the
daemon gathers the facts and carries the effects out in the order they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sentinel import abi, event
from sentinel.audit.finding import AuditFinding
from sentinel.audit.incidents import CHECK as AUDIT_CHECK
from sentinel.audit.incidents import AuditIncidents
from sentinel.audit.rule_guest import OVERSIZED
from sentinel.config import Config
from sentinel.cuts import CutBook, LatchSeen
from sentinel.decode import (
    CHECKS,
    CheckSetting,
    Counters,
    KernelConfig,
    KernelEvent,
    Order,
    PortSlot,
)
from sentinel.decode_message import KernelMessage
from sentinel.detect.finding import Finding, find
from sentinel.detect.incidents import IncidentBook, Sample
from sentinel.dhcp.incidents import CHECK as DHCP_CHECK
from sentinel.dhcp.sentences import Dial
from sentinel.dhcp.watch import LeaseWatch, said_by
from sentinel.effect import Effect, IncidentKeys, Log
from sentinel.event import Incident, Moment, Quarantine
from sentinel.fleet.issued import KNOWN_FROM
from sentinel.fleet.notice import Notice
from sentinel.fleet.watch import FleetWatch
from sentinel.inventory import Appeared, Change, Changed, Device, Gone, Renamed
from sentinel.vm import UNKNOWN_VM

EVENT_WINDOW_NS: Final = 1_000_000_000
ROGUE_DHCP: Final = "rogue_dhcp"
SIZE: Final = "size"
MOST_SAID: Final = 4
MOST_OPEN_INCIDENTS: Final = 4096
"""Beyond this, further causes are counted by the kernel alone until some close."""


def kernel_config(config: Config, watched_ports: int) -> KernelConfig:
    """What the programs are told of a configuration, with so many ports."""
    checks = []
    for name in CHECKS:
        policy = config.checks.policy(name)
        checks.append(CheckSetting(policy.action, policy.threshold, policy.window_ns))
    return KernelConfig(
        checks=tuple(checks),
        host_bpdu_action=config.checks.bpdu.host,
        events_per_window=config.events.per_port_per_second,
        event_window_ns=EVENT_WINDOW_NS,
        max_quarantined=config.fuse.limit(watched_ports),
        messages_per_window=config.events.dhcp_per_port_per_second,
    )


class Engine:
    """Incidents and quarantines of the devices that the inventory knows."""

    def __init__(self, config: Config, devices: Mapping[int, Device], host: str = "") -> None:
        """`devices` is the inventory's view, which follows; `host` is what this one is called."""
        self._config = config
        self.hold = config.hold
        self._devices = devices
        keys = IncidentKeys()
        self.incidents = IncidentBook(keys)
        self.dhcp = LeaseWatch(devices, keys.new)
        self.audit = AuditIncidents(keys.new, config.audit.accepted)
        self.cuts = CutBook(config.hold)
        self.fleet = FleetWatch(config.mqtt.fleet, host, devices)
        self._said: dict[int, list[Moment]] = {}
        """What guests said as servers before their incident was opened, by ifindex."""
        self._fuse_told: set[int] = set()
        self._losses_told: set[tuple[int, str]] = set()
        """Where frames that are too large were lost, by (ifindex, place)."""

    def reconfigure(self, config: Config) -> None:
        """Go by another configuration from now on; what is cut and open stays as it is."""
        self._config = config
        self.hold = config.hold
        self.cuts.reconfigure(config.hold)
        self.audit.accept(config.audit.accepted)
        self._fuse_told.clear()

    def change(self, change: Change, now_ns: int, is_shut: bool = False) -> Iterator[Effect]:
        """Take a change of the inventory, after the guard followed it.

        `is_shut`: of a device that appeared, whether its latch is shut already.
        """
        device = change.device
        match change:
            case Appeared():
                yield Log(
                    event.port_appeared(
                        now_ns, device.name, device.ifindex, device.vm, role=device.role
                    )
                )
                yield from self.cuts.device_known(device, now_ns, is_shut)
                yield from self._tell_fleet(device, now_ns)
            case Gone():
                yield from self.incidents.device_gone(device.ifindex, now_ns)
                self.cuts.device_gone(device.ifindex)
                self.fleet.gone(device.ifindex)
                yield from self.dhcp.gone(device.ifindex, now_ns)
                self._fuse_told.discard(device.ifindex)
                self._said.pop(device.ifindex, None)
                yield Log(
                    event.port_gone(
                        now_ns, device.name, device.ifindex, device.vm, role=device.role
                    )
                )
            case Renamed(old_name=old_name):
                yield from self.cuts.renamed(device)
                self.dhcp.renamed(device)
                yield Log(
                    event.port_renamed(
                        now_ns, device.name, device.ifindex, device.vm, old_name=old_name
                    )
                )
            case Changed():
                yield from self.cuts.renamed(device)
                yield from self.cuts.device_known(device, now_ns)
                yield from self._tell_fleet(device, now_ns)

    def record(self, record: KernelEvent, now_ns: int) -> Iterator[Effect]:
        """Take a ring record."""
        finding = find(record, self._devices)
        if finding is None or len(self.incidents) >= MOST_OPEN_INCIDENTS:
            return
        action = self._config.checks.policy(record.check).action
        yield from self.incidents.note(finding, action, now_ns)
        if record.check == ROGUE_DHCP:
            for moment in self._said.pop(finding.ifindex, ()):
                self.incidents.add_evidence(finding.ifindex, ROGUE_DHCP, moment)
        if record.verdict == "fused" and finding.ifindex not in self._fuse_told:
            self._fuse_told.add(finding.ifindex)
            limit = self._config.fuse.limit(self.watched_ports())
            yield Log(
                event.quarantine_refused(
                    now_ns,
                    finding.port,
                    finding.ifindex,
                    finding.vm,
                    cause=record.check,
                    problem="the fuse allows no more quarantined ports; its frames of this kind "
                    "are dropped, the port stays open",
                    quarantined=limit,
                    limit=limit,
                )
            )

    def message(self, message: KernelMessage, dial: Dial) -> None:
        """Take a record of the message ring."""
        step = self.dhcp.message(message)
        if step is None:
            return
        device = self._devices[step.port_ifindex]
        moment = Moment(dial.wall_ns(step.time_ns), device.name, said_by(step))
        if not self.incidents.add_evidence(device.ifindex, ROGUE_DHCP, moment):
            # The two rings are read one after the other.
            said = self._said.setdefault(device.ifindex, [])
            said.append(moment)
            del said[:-MOST_SAID]

    def audited(self, findings: Sequence[AuditFinding], now_ns: int) -> Iterator[Effect]:
        """Take the findings of an audit.

        What became of a guest's frames that are too large belongs to its incident
        of the check `size`.
        """
        yield from self.audit.settle(findings, now_ns)
        losses = [
            (finding.ifindex, moment)
            for finding in findings
            if finding.rule == OVERSIZED
            for moment in finding.evidence
            if moment.place != finding.device
        ]
        self._losses_told = {
            at
            for ifindex, moment in losses
            if (at := (ifindex, moment.place)) in self._losses_told
            or self.incidents.add_evidence(ifindex, SIZE, moment)
        }

    def latches(
        self, slots: Sequence[PortSlot]
    ) -> tuple[list[PortSlot], list[tuple[Device, Quarantine]]]:
        """Latches that are not accounted for, and quarantines whose latch was opened."""
        shut = {slot.ifindex: slot for slot in slots if slot.cause is not None}
        fresh = [
            slot
            for ifindex, slot in shut.items()
            if self.cuts.active(ifindex) is None and ifindex in self._devices
        ]
        opened = [
            (device, quarantine)
            for ifindex, device in self._devices.items()
            if ifindex not in shut and (quarantine := self.cuts.active(ifindex)) is not None
        ]
        return fresh, opened

    def latch(self, seen: LatchSeen) -> Iterator[Effect]:
        """Take a latch that the kernel or an earlier daemon shut."""
        device = self._devices.get(seen.slot.ifindex)
        if device is not None and self.cuts.active(device.ifindex) is None:
            yield from self.cuts.see_latch(device, seen)
            yield from self.fleet.cut(self.cuts.active(device.ifindex), seen.latched_wall_ns)

    def count(self, sample: Sample, now_ns: int) -> Iterator[Effect]:
        """Take the counters of the devices with open incidents."""
        yield from self.incidents.count(sample, now_ns)

    def tick(self, now_ns: int) -> Iterator[Effect]:
        """Release what is due."""
        for ifindex in self.cuts.due(now_ns):
            device = self._devices.get(ifindex)
            if device is not None:
                self._fuse_told.clear()
                yield from self.cuts.release(device, "hold", None, "", now_ns)
        yield from self.cuts.expire_away(now_ns)
        yield from self.fleet.tick(now_ns)

    def _tell_fleet(self, device: Device, now_ns: int) -> Iterator[Effect]:
        """A port is there, or something of it changed: is its VM one to tell of, or to find?"""
        yield from self.fleet.cut(self.cuts.active(device.ifindex), now_ns)
        self.fleet.look(device)

    def known_elsewhere(
        self,
        device: Device,
        notice: Notice,
        relapses: int,
        jitter_unit: float,
        quarantined: int,
        now_ns: int,
    ) -> Iterator[Effect]:
        """A port's VM is one that another host gave notice of: cut it, or tell of it.

        `quarantined` is how many ports the kernel counts as cut.
        """
        is_trusted = notice.cause in device.trusted_checks
        if self.fleet.action == "count" or is_trusted or self.cuts.active(device.ifindex):
            yield from self.fleet.dealt(device, notice, "count", now_ns)
            return
        limit = self._config.fuse.limit(self.watched_ports())
        if max(quarantined, self.cuts.count()) >= limit:
            self.fleet.postpone(device.ifindex)
            if device.ifindex not in self._fuse_told:
                self._fuse_told.add(device.ifindex)
                yield Log(
                    event.quarantine_refused(
                        now_ns,
                        device.name,
                        device.ifindex,
                        device.vm,
                        cause=notice.cause,
                        problem="the fuse allows no more quarantined ports; this one, whose guest "
                        f"is {KNOWN_FROM}{notice.host}, stays open",
                        quarantined=limit,
                        limit=limit,
                    )
                )
            return
        reason = f"{KNOWN_FROM}{notice.host}: {notice.cause}: {notice.reason}"
        yield from self.cuts.known(device, notice.cause, reason, relapses, jitter_unit, now_ns)
        yield from self.fleet.dealt(device, notice, "quarantine", now_ns)

    def quarantine(
        self, device: Device, hold_ns: int | None, reason: str, uid: int | None, now_ns: int
    ) -> Iterator[Effect]:
        """Carry out an order to cut; `uid` None: it came over MQTT."""
        yield from self.cuts.order(device, hold_ns, reason, uid, now_ns)

    def release(
        self, device: Device, reason: str, uid: int | None, now_ns: int
    ) -> Iterator[Effect]:
        """Carry out an order to release; `uid` None: it came over MQTT."""
        self._fuse_told.clear()
        yield from self.cuts.release(device, "order", uid, reason, now_ns)
        yield from self.fleet.released(device.vm, device.name, now_ns)

    def release_away(
        self, name: str, reason: str, uid: int | None, now_ns: int
    ) -> Iterator[Effect]:
        """Carry out an order to release a port that is not there."""
        away = self.cuts.away(name)
        yield from self.cuts.release_away(name, uid, reason, now_ns)
        if away is not None:
            yield from self.fleet.released(away.vm, name, now_ns)

    def told_offline(self, order: Order, device: Device | None) -> Iterator[Effect]:
        """Journal an order that was carried out while no daemon listened."""
        held = self.cuts.active(order.ifindex) or self.cuts.away(order.name)
        yield from self.cuts.told_offline(order, device)
        if order.kind == abi.TAP_ORDER_RELEASE:
            vm = device.vm if device is not None else held.vm if held is not None else UNKNOWN_VM
            yield from self.fleet.released(vm, order.name, order.at_wall_ns)

    def watched_ports(self) -> int:
        """Ports without uplinks: what the fuse is a share of."""
        return sum(1 for device in self._devices.values() if device.role == "port")

    def reopen(
        self,
        incident: Incident,
        counters: tuple[Counters, Counters] | None,
        now_ns: int,
    ) -> int | None:
        """Go on with an incident that an earlier daemon left open; its key.

        None if its device is another by now, or has no `counters`: then it is over.
        """
        seen_at = self._devices.get(incident.ifindex)
        if incident.check == AUDIT_CHECK:
            return self.audit.left_open(incident, now_ns)
        if counters is None:
            return None
        if incident.check == DHCP_CHECK:
            return self.dhcp.reopen(incident, now_ns)
        if incident.uplink or seen_at is None or seen_at.name != incident.port:
            return None
        total = counters[0].offences(incident.check)
        if total < incident.frames:
            return None
        finding = Finding(
            key=(incident.ifindex, incident.ifindex, incident.check),
            check=incident.check,
            detail=incident.detail,
            port=incident.port,
            ifindex=incident.ifindex,
            vm=incident.vm,
            mac=incident.mac,
            verdict=incident.verdict,
            frame_hex=incident.frame_hex,
            summary=incident.summary,
            uplink=False,
            direction=abi.TAP_IN,
        )
        settled = self.incidents.settled(incident.ifindex, abi.TAP_IN, incident.check)
        base = min(settled, total - incident.frames)
        return self.incidents.reopen(finding, incident, base, now_ns)
