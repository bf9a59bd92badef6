# SPDX-License-Identifier: Apache-2.0
"""What the daemon answers at its control socket."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sentinel import __version__, abi, event
from sentinel.answers_carried import Carried
from sentinel.control_peer import SEVERAL_UIDS
from sentinel.control_text import Encoded, encoded
from sentinel.cuts import NO_UID
from sentinel.decode import NO_COUNTERS, Counters, Order
from sentinel.effect import Effect, Log
from sentinel.errors import PortGoneError, RefusedError
from sentinel.inventory import Device
from sentinel.leases import dial
from sentinel.netlink_counters import link_counters
from sentinel.path.document import path_document
from sentinel.protocol import Peer, Report
from sentinel.publisher_view import Heard, publisher_document, publisher_problems
from sentinel.view import checks_document, guard_document, port_document

if TYPE_CHECKING:
    from sentinel.daemon import Daemon

INCIDENTS_SHOWN = 10
PORTS_AT_ONCE = 64
_NOTHING: Final = ((NO_COUNTERS, NO_COUNTERS), (None, None))


class Answers:
    """Implements `sentinel.control.Handler` for a daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.carried = Carried(daemon, self)
        self._heard: Heard | None = None

    async def status(self) -> object:
        """How the guard is doing."""
        daemon = self._daemon
        devices = list(daemon.inventory.devices().values())
        state = daemon.guard.maps.state()
        limit = daemon.config.fuse.limit(daemon.engine.watched_ports())
        totals = [side for both in daemon.counters(daemon.attachments.attached).values()
                  for side in both]  # fmt: skip
        told = "" if self._heard is None else self._heard.report.cursor
        journal, missing = await daemon.scribe.ask(
            lambda journal: (journal.status(), journal.missing_after(told))
        )
        quarantined = daemon.engine.cuts.count()
        publisher = publisher_document(
            self._heard, daemon.config.mqtt.enabled, journal.last_seq, time.time_ns(), missing
        )
        return {
            "version": __version__,
            "abi": abi.TAP_ABI_VERSION,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since_wall_ns": daemon.started_wall_ns,
            "config": daemon.config_file,
            "loader": daemon.guard.loader,
            "attach": daemon.guard.hook,
            "guard": guard_document(devices, daemon.attachments.attached, quarantined),
            "checks": checks_document(daemon.config),
            "host_bpdu": daemon.config.checks.bpdu.host,
            "fuse": {
                "limit": limit,
                "quarantined": state.quarantined,
                "refusals": state.fuse_refusals,
                "blown": state.fuse_refusals > 0 and state.quarantined >= limit,
            },
            "events": {
                "told": sum(one.events_told for one in totals),
                "suppressed": sum(one.events_suppressed for one in totals),
                "lost": sum(one.events_lost for one in totals),
                "coalesced": daemon.scribe.coalesced,
            },
            "dhcp": {
                **daemon.engine.dhcp.counts(),
                "told": sum(one.messages_told for one in totals),
                "suppressed": sum(one.messages_suppressed for one in totals),
                "lost": sum(one.messages_lost for one in totals),
            },
            "audit": daemon.audits.summary(),
            "journal": {**journal.to_dict(), "lost": journal.lost + daemon.scribe.lost},
            "netlink": {"resyncs": daemon.links.resyncs},
            "mqtt": publisher,
            "orders": self.carried.orders_document(),
            "fleet": self.carried.fleet_document(),
            "away": daemon.engine.cuts.all_away(),
            "problems": [
                *self._problems(journal.problem),
                *publisher_problems(publisher, time.time_ns(), daemon.started_wall_ns),
            ],
        }

    def _problems(self, journal_problem: str | None) -> list[str]:
        daemon = self._daemon
        problems = [
            f"{device.name} is not guarded: {daemon.attachments.problems[ifindex]}"
            for ifindex, device in daemon.inventory.devices().items()
            if ifindex in daemon.attachments.problems
        ]
        if journal_problem:
            problems.append(f"journal: {journal_problem}")
        if daemon.scribe.lost:
            problems.append(f"journal: {daemon.scribe.lost} entries found no room to wait")
        return problems + daemon.resolver.problems()

    async def ports(self) -> object:
        """Every port and uplink, by name."""
        daemon = self._daemon
        maps, now = daemon.guard.maps, dial()
        devices = sorted(daemon.inventory.devices().values(), key=lambda device: device.name)
        slots = maps.slots_of(daemon.attachments.attached)
        listed: list[Encoded] = []
        # What a thousand ports are in Python's objects would stay with the process.
        for start in range(0, len(devices), PORTS_AT_ONCE):
            some = devices[start : start + PORTS_AT_ONCE]
            held = [slots[one.ifindex] for one in some if one.ifindex in slots]
            sums = maps.counters([slot.slot for slot in held])
            known = {
                slot.ifindex: (both, daemon.leases.clocks(slot, now))
                for slot, both in zip(held, sums, strict=True)
            }
            listed += [encoded(self._port(one, *known.get(one.ifindex, _NOTHING))) for one in some]
        return listed

    def _port_now(self, device: Device) -> dict[str, Any]:
        counters = self._daemon.counters([device.ifindex])
        return self._port(
            device,
            counters.get(device.ifindex, _NOTHING[0]),
            self._daemon.leases.last_seen(device.ifindex),
        )

    def _port(
        self,
        device: Device,
        counters: tuple[Counters, Counters],
        last_seen: tuple[int | None, int | None],
    ) -> dict[str, Any]:
        daemon = self._daemon
        return port_document(
            device,
            device.ifindex in daemon.attachments.attached,
            daemon.engine.cuts.active(device.ifindex),
            counters,
            daemon.attachments.problems.get(device.ifindex),
            *last_seen,
        )

    async def show(self, name: str) -> object:
        """One port, with its latest incidents."""
        daemon = self._daemon
        device = self._known(name)
        incidents = await daemon.scribe.ask(
            lambda journal: journal.incidents(port=name, limit=INCIDENTS_SHOWN)
        )
        return {
            "port": self._port_now(device),
            "incidents": incidents,
            "leases": daemon.engine.dhcp.leases(time.monotonic_ns(), dial(), device.ifindex),
            "path": await self._path(device),
            "fleet": self.carried.known_document(device),
        }

    def port(self, name: str) -> object:
        """One port or uplink, as `ports` lists it."""
        return self._port_now(self._known(name))

    async def _path(self, device: Device) -> dict[str, Any] | None:
        daemon = self._daemon
        path = daemon.inventory.path_of(device.ifindex)
        if path is None:
            return None
        steps = {step.ifindex for _, step in path.port.walk()}
        guarded = daemon.counters(steps & daemon.attachments.attached)
        between = await link_counters(steps - guarded.keys())
        return path_document(path, device.bridge, guarded, between)

    async def dhcp(self, port: str | None) -> object:
        """Every lease as seen on the wire, or one port's last exchanges."""
        daemon = self._daemon
        now_ns, now = time.monotonic_ns(), dial()
        if port is None:
            return daemon.engine.dhcp.leases(now_ns, now)
        device = self._known(port)
        sent_wall_ns, received_wall_ns = daemon.leases.last_seen(device.ifindex)
        return {
            "port": device.name,
            "ifindex": device.ifindex,
            "vm": device.vm,
            "last_sent_wall_ns": sent_wall_ns,
            "last_received_wall_ns": received_wall_ns,
            "silent_since_wall_ns": daemon.leases.silent_since(device.ifindex),
            "missed": daemon.leases.missed(device.ifindex),
            "clients": daemon.engine.dhcp.exchanges(device.ifindex, now_ns, now),
        }

    async def audit(self) -> object:
        """What is wrong with the host's own network, as of now."""
        return self._daemon.audits.document()

    async def incidents(
        self, since_wall_ns: int | None, port: str | None, limit: int, open_only: bool
    ) -> object:
        """The newest first."""
        return await self._daemon.scribe.ask(
            lambda journal: journal.incidents(since_wall_ns or 0, port, limit, open_only)
        )

    async def quarantine(self, port: str, hold_ns: int | None, reason: str, peer: Peer) -> object:
        """Cut a port; from the return on no frame of it passes."""
        return await self.cut(port, hold_ns, reason, peer.uid)

    async def cut(
        self, port: str, hold_ns: int | None, reason: str, uid: int | None
    ) -> dict[str, Any]:
        """Cut a port by order of a user; None: of somebody over MQTT."""
        daemon = self._daemon
        device = self._orderable(port)
        changed = daemon.engine.cuts.active(device.ifindex) is None
        now_ns = time.time_ns()
        effects = list(daemon.engine.quarantine(device, hold_ns, reason, uid, now_ns))
        journaled = await self._carry_out(
            effects,
            Order(
                abi.TAP_ORDER_QUARANTINE,
                device.ifindex,
                NO_UID if uid is None else uid,
                changed,
                now_ns,
                hold_ns or 0,
                port,
                reason,
            ),
        )
        quarantine = daemon.engine.cuts.active(device.ifindex)
        return {
            "port": port,
            "ifindex": device.ifindex,
            "changed": changed,
            "state": "quarantined",
            "until_wall_ns": quarantine.until_wall_ns if quarantine else None,
            "journaled": journaled,
            "daemon": True,
        }

    async def release(self, port: str, reason: str, peer: Peer) -> object:
        """End a quarantine; of a port that is away, too."""
        return await self.open(port, reason, peer.uid)

    async def open(self, port: str, reason: str, uid: int | None) -> dict[str, Any]:
        """Open a port by order of a user; None: of somebody over MQTT."""
        daemon = self._daemon
        now_ns = time.time_ns()
        device = daemon.inventory.by_name(port)
        if device is None and daemon.engine.cuts.away(port) is not None:
            changed = True
            effects = list(daemon.engine.release_away(port, reason, uid, now_ns))
        else:
            device = self._orderable(port)
            changed = daemon.engine.cuts.active(device.ifindex) is not None
            effects = list(daemon.engine.release(device, reason, uid, now_ns))
        ifindex = device.ifindex if device else 0
        journaled = await self._carry_out(
            effects,
            Order(
                abi.TAP_ORDER_RELEASE,
                ifindex,
                NO_UID if uid is None else uid,
                changed,
                now_ns,
                0,
                port,
                reason,
            ),
        )
        return {
            "port": port,
            "ifindex": device.ifindex if device else None,
            "changed": changed,
            "state": "watched" if device else "away",
            "until_wall_ns": None,
            "journaled": journaled,
            "daemon": True,
        }

    async def reload(self, peer: Peer) -> object:
        """Read the configuration anew; from the return on it holds."""
        return await self._daemon.reloads.order(peer)

    async def _carry_out(self, effects: list[Effect], order: Order) -> bool:
        """Kernel first, then journal; what no disk takes is kept in the pins instead."""
        daemon = self._daemon
        daemon.apply_to_kernel(effects)
        await asyncio.to_thread(daemon.guard.wait_for_programs)
        journaled = await daemon.scribe.persist(effects)
        if not journaled:
            daemon.accounts.keep_order(order)
        return journaled

    async def carried_order(self, message: str, via: str) -> object:
        """An order that came over MQTT."""
        return await self.carried.order(message, via)

    async def carried_notice(self, message: str, via: str) -> object:
        """Another host's notice."""
        return await self.carried.notice(message, via)

    async def notices(self) -> object:
        """This host's own notices, signed."""
        return self.carried.notices()

    async def last_seq(self) -> int:
        """The number of the newest event."""
        return await self._daemon.scribe.ask(lambda journal: journal.last_seq())

    async def resume(self, ids: Sequence[str]) -> int | None:
        """Where a reader that had these entries goes on."""
        return await self._daemon.scribe.ask(lambda journal: journal.resume(ids))

    async def report(self, report: Report) -> object:
        """What the publisher says of itself, kept for `status`."""
        self._heard = Heard(report, time.time_ns())
        return {}

    async def events_after(self, cursor: int, limit: int) -> Sequence[Mapping[str, object]]:
        """Events by number."""
        entries = await self._daemon.scribe.ask(lambda journal: journal.follow(cursor, limit))
        return [entry.to_dict() for entry in entries]

    def peer_refused(self, peer: Peer, times: int) -> None:
        """Journal who asked without a right."""
        who = f"uid {peer.uid} (pid {peer.pid}) is"
        if peer.uid == SEVERAL_UIDS:
            who = "several further users are"
        self._daemon.apply(
            [
                Log(
                    event.order_refused(
                        time.time_ns(),
                        order="connect",
                        uid=peer.uid,
                        gid=peer.gid,
                        pid=peer.pid,
                        problem=f"{who} neither root nor of the control group",
                        times=times,
                    )
                )
            ]
        )

    def _known(self, name: str) -> Device:
        device = self._daemon.inventory.by_name(name)
        if device is None:
            raise PortGoneError(f"no port or uplink {name}: `tapsentinel ports` lists them")
        return device

    def _orderable(self, name: str) -> Device:
        device = self._known(name)
        if device.role != "port":
            raise RefusedError(f"{name} is an uplink: cutting it would cut every guest")
        if device.ifindex not in self._daemon.attachments.attached:
            why = self._daemon.attachments.problems.get(device.ifindex, "not attached yet")
            raise RefusedError(f"{name} is not guarded, so it cannot be cut: {why}")
        return device
