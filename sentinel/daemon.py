# SPDX-License-Identifier: Apache-2.0
"""Joins the ends: netlink and the ring in, maps and the journal out, the socket beside.

Holds no decision. Stopping it, in whatever way, leaves the guard in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Final

from sentinel import __version__, event, heap
from sentinel.accounts import Accounts
from sentinel.answers import Answers
from sentinel.attachments import Attachments
from sentinel.audits import Audits
from sentinel.config import Config, parse_config
from sentinel.control import ControlServer
from sentinel.control_peer import group_gid, user_uid
from sentinel.decode import Counters, KernelConfig, decode_event
from sentinel.effect import Effect, Log
from sentinel.engine import Engine, kernel_config
from sentinel.errors import KernelError
from sentinel.identity import IdentityFollower, IdentityResolver, SourceWatch
from sentinel.inventory import Appeared, Change, Changed, Device, Gone, Inventory, Renamed
from sentinel.journal import Journal
from sentinel.journald import start_logging
from sentinel.kernel_effects import apply_to_kernel
from sentinel.leases import Leases
from sentinel.link import LinkFacts
from sentinel.loader.guard import Guard
from sentinel.loader.ring import BATCH_RECORDS, Ring
from sentinel.netlink import LinkFollower
from sentinel.newcomers import Newcomers
from sentinel.notify import notify, notify_compiling, watchdog_interval_s
from sentinel.reload import THE_DEFAULTS, Reloads
from sentinel.scribe import Scribe
from sentinel.vm import VmIdentity

TICK_S: Final = 1.0
PRUNE_EVERY_TICKS: Final = 60
_log = logging.getLogger("tapsentinel")


class Daemon:
    """One guard, one journal, one socket."""

    def __init__(
        self, config: Config, config_file: str, file: Path, guard: Guard, journal: Journal
    ) -> None:
        """`config_file` is what is told of it, `file` where it is looked for at a reload."""
        self.config = config
        self.config_file = config_file
        self.guard = guard
        self.started_wall_ns = time.time_ns()
        service_vids = frozenset(config.audit.service_vlans)
        self.inventory = Inventory(config.ports, config.checks.size.mtu, service_vids)
        self.host = config.events.host or socket.gethostname()
        self.engine = Engine(config, self.inventory.devices(), self.host)
        self.scribe = Scribe(journal, self._written, config.events)
        self.attachments = Attachments(guard, self._attached, self._failed)
        self.links = LinkFollower(self._resync, self._link, self._link_gone)
        self.resolver = IdentityResolver()
        self.identities = IdentityFollower(self.resolver, self._identity)
        self.ring = Ring(guard.maps.fd("tap_ring"))
        self.answers = Answers(self)
        self.control = ControlServer(
            Path(config.paths.control_socket),
            group_gid(config.control.group),
            self.answers,
            readers=group_gid(config.control.readers),
            publisher_uid=user_uid(config.mqtt.user),
        )
        self._kernel_config: KernelConfig | None = None
        self._adopted: set[str] = set()
        self._stopping = asyncio.Event()
        self.accounts = Accounts(
            guard.maps, self.scribe, self.engine, self.inventory, self.attachments, self.apply
        )
        self.newcomers = Newcomers(
            guard.maps, self.engine, self.inventory, self.attachments, self.accounts, self.apply
        )
        self.leases = Leases(
            guard.maps, self.engine, self.scribe, self.inventory.devices(), self.apply
        )
        self.audits = Audits(
            config, guard, self.engine, self.inventory, self.resolver, self.counters, self.apply
        )
        self.sources = SourceWatch(self.resolver, self._sources_changed)
        self.reloads = Reloads(self, file)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Guard until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self.reloads.hang_up)
        self.scribe.start()
        await self.answers.carried.load()
        await self.accounts.take_over()
        self.attachments.start()
        await self.links.start()
        await self.attachments.settled()
        await asyncio.to_thread(self.guard.sweep, set(self.inventory.devices()))
        await asyncio.to_thread(self.guard.finish_upgrade)
        await self.accounts.settle()
        await self.accounts.reopen_incidents()
        await self.identities.start()
        loop.add_reader(self.ring.fd, self._read_ring)
        await self.leases.start(self._adopted)
        await self.sources.start()
        await self.control.start()
        self.spawn(self.audits.start())
        self.apply(
            [
                Log(
                    event.daemon_started(
                        time.time_ns(),
                        version=__version__,
                        pid=os.getpid(),
                        adopted=len(self._adopted),
                    )
                )
            ]
        )
        heap.give_back()
        notify("READY=1")
        _log.info("guarding %d devices by %s", len(self.attachments.attached), self.guard.hook)
        lasting = (self._tick_forever(), self.links.wait(), self.sources.wait())
        watched = [asyncio.create_task(each) for each in lasting]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait([*watched, stop], return_when=asyncio.FIRST_COMPLETED)
            for task in watched:
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            stop.cancel()
            for task in watched:
                task.cancel()
            await self._close()

    async def _close(self) -> None:
        notify("STOPPING=1")
        asyncio.get_running_loop().remove_reader(self.ring.fd)
        await self.control.stop()
        await self.links.stop()
        await self.identities.stop()
        await self.sources.stop()
        await self.resolver.close()
        await self.attachments.stop()
        await self.leases.stop()
        await self.audits.stop()
        now_ns = time.time_ns()
        with contextlib.suppress(KernelError):
            self.scribe.put(self.engine.incidents.flush(self.sample(), now_ns))
        self.scribe.put([Log(event.daemon_stopped(now_ns, reason="told to stop"))])
        await self.scribe.stop()
        self.ring.close()

    # Links, identities, attachments.

    def _resync(self, links: list[LinkFacts]) -> None:
        self.take_changes(self.inventory.replace_links(links))
        self.audits.changed()

    def _link(self, link: LinkFacts) -> None:
        if self.inventory.links().get(link.ifindex) == link:
            return
        self.take_changes(self.inventory.update_link(link))
        self.audits.changed()

    def _link_gone(self, ifindex: int) -> None:
        self.take_changes(self.inventory.remove_link(ifindex))
        self.audits.changed()

    def _sources_changed(self) -> None:
        self.take_changes(self.inventory.set_ovs(self.resolver.ovs_facts))
        self.audits.changed()

    def _identity(self, name: str, vm: VmIdentity) -> None:
        device = self.inventory.by_name(name)
        if device is not None:
            self.take_changes(self.inventory.set_identity(device.ifindex, vm))

    def take_changes(self, changes: Iterable[Change]) -> None:
        """Have the guard follow what changed of the watched devices."""
        for change in changes:
            device = change.device
            match change:
                case Appeared():
                    # The engine is told when the guard is there.
                    self.attachments.attach(device)
                    continue
                case Gone():
                    self.identities.forget(device.name)
                    self.attachments.detach(device)
                    self.audits.device_gone(device.ifindex)
                case Renamed(old_name=old_name):
                    self.identities.forget(old_name)
                    self._follow_identity(device)
                    self.attachments.change(device)
                case Changed():
                    self.attachments.change(device)
            # Of one that is not guarded yet the engine is told when it is, as it is then: a
            # cut that it wants before would find no latch.
            if isinstance(change, Gone) or device.ifindex in self.attachments.attached:
                self.apply(self.engine.change(change, time.time_ns()))
        self.write_config()
        self.settle_newcomers()

    def settle_newcomers(self) -> None:
        """Do soon what is to be done about guests that other hosts gave notice of."""
        if self.engine.fleet.wanted:
            self.spawn(self.newcomers.settle())

    def _follow_identity(self, device: Device) -> None:
        if device.role == "port":
            self.identities.follow([device.name])

    def write_config(self) -> None:
        """Tell the programs what holds; the fuse is a share of the watched ports."""
        wanted = kernel_config(self.config, self.engine.watched_ports())
        if wanted != self._kernel_config:
            self.guard.maps.write_config(wanted)
            self._kernel_config = wanted

    def _attached(self, device: Device, adopted: bool) -> None:
        now_ns = time.time_ns()
        if adopted:
            self._adopted.add(device.name)
        slot = self.guard.maps.find(device.ifindex)
        is_shut = slot is not None and slot.cause is not None
        self.apply(self.engine.change(Appeared(device), now_ns, is_shut))
        self.apply(
            [
                Log(
                    event.guard_attached(
                        now_ns,
                        device.name,
                        device.ifindex,
                        device.vm,
                        role=device.role,
                        hook=self.guard.hook,
                        adopted=adopted,
                    )
                )
            ]
        )
        self._follow_identity(device)
        self.settle_newcomers()

    def _failed(self, device: Device, problem: str) -> None:
        self.apply(
            [
                Log(
                    event.guard_failed(
                        time.time_ns(),
                        device.name,
                        device.ifindex,
                        device.vm,
                        role=device.role,
                        problem=problem,
                    )
                )
            ]
        )

    # The ring, latches and counters.

    def _read_ring(self) -> None:
        records = self.ring.drain()
        wall_minus_monotonic_ns = time.time_ns() - time.monotonic_ns()
        is_latched = False
        for raw in records:
            record = decode_event(raw)
            self.apply(self.engine.record(record, record.time_ns + wall_minus_monotonic_ns))
            is_latched |= record.verdict == "latched"
        if is_latched:
            self.spawn(self.accounts.settle())
        if len(records) == BATCH_RECORDS:
            asyncio.get_running_loop().call_soon(self._read_ring)

    def sample(self) -> dict[int, tuple[Counters, Counters]]:
        """Counters of the devices with open incidents, by ifindex."""
        return self.counters(self.engine.incidents.devices())

    def counters(self, ifindexes: Iterable[int]) -> dict[int, tuple[Counters, Counters]]:
        """Counters of those devices that have a slot, by ifindex."""
        slots = self.guard.maps.slots_of(list(ifindexes))
        sums = self.guard.maps.counters([slot.slot for slot in slots.values()])
        return dict(zip(slots, sums, strict=True))

    async def _tick_forever(self) -> None:
        ticks = 0
        interval_s = watchdog_interval_s()
        while True:
            await asyncio.sleep(min(TICK_S, interval_s or TICK_S))
            ticks += 1
            await self.scribe.tend(time.time_ns(), is_due=ticks % PRUNE_EVERY_TICKS == 0)
            await self._tick()
            heap.give_back()
            if interval_s is not None:
                notify("WATCHDOG=1")

    async def _tick(self) -> None:
        await self.accounts.settle()
        now_ns = time.time_ns()
        self.apply(self.engine.count(self.sample(), now_ns))
        self.apply(self.engine.tick(now_ns))
        self.leases.tick()
        self.audits.tick()
        self.answers.carried.tick(now_ns)
        self.settle_newcomers()
        self.guard.maps.recount()

    # Effects.

    def apply(self, effects: Iterable[Effect]) -> None:
        """Carry effects out: the kernel's at once, the journal's soon."""
        done = list(effects)
        self.apply_to_kernel(done)
        self.scribe.put(done)

    def apply_to_kernel(self, effects: Iterable[Effect]) -> None:
        """Latches and what stands beside them; tells the log what is loud."""
        apply_to_kernel(self.guard.maps, effects)

    def _written(self) -> None:
        self.control.wake_watchers()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Have something done that nobody waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("unexpected: %s", task.exception(), exc_info=task.exception())


def main(file: str, text: str | None) -> int:
    """Run the daemon in the foreground; its exit code. Raises TapsentinelError at start.

    `text` is what `file` holds; None: there is none, and the defaults hold.
    """
    heap.keep_little()
    start_logging()
    name = THE_DEFAULTS if text is None else file
    config = parse_config(text or "", name)
    if os.geteuid() != 0:
        raise KernelError("the daemon loads BPF programs: run it as root, or by its systemd unit")
    guard = Guard(
        Path(config.paths.bpffs_dir),
        config.kernel.attach,
        loader=config.kernel.loader,
        compiled_folder=Path(config.paths.state_dir, "compiled"),
        sign_of_life=notify_compiling,
    )
    try:
        armed = guard.arm()
        if armed.carried:
            _log.warning("%d quarantines taken over from another version", armed.carried)
        asyncio.run(_serve(config, name, Path(file), guard))
    finally:
        guard.close()
    return 0


async def _serve(config: Config, config_file: str, file: Path, guard: Guard) -> None:
    journal = Journal(
        config.paths.journal_db,
        config.journal.max_age_ns,
        config.journal.max_size_bytes,
        host=config.events.host or None,
    )
    await Daemon(config, config_file, file, guard, journal).run()
