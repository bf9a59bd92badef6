# SPDX-License-Identifier: Apache-2.0
"""The shell around the audit: gathers facts, runs it when something changed, keeps its answer.

Holds no decision. Links tell of their changes by netlink, Open vSwitch by its
monitor, other sources through `identity.watch`; the kernel's rows are read once a
second, and less often where reading takes long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sentinel import abi
from sentinel.audit.accepted import is_accepted
from sentinel.audit.document import audit_document
from sentinel.audit.finding import AuditFacts, AuditFinding, Severity
from sentinel.audit.rules import run_audit
from sentinel.audit.unseen import unseen_ports
from sentinel.audit.window import LossWindow
from sentinel.config import AuditConfig, Config
from sentinel.decode import Counters
from sentinel.effect import Effect
from sentinel.engine import Engine
from sentinel.errors import KernelError
from sentinel.identity import IdentityResolver
from sentinel.inventory import Inventory
from sentinel.loader.drops import DropTrace
from sentinel.loader.guard import Guard
from sentinel.loader.pair_rows import PairRows
from sentinel.traffic import LossSeen, PairSeen

SETTLE_S: Final = 0.05
"""Changes come in bursts: how long the first of them waits for the rest."""
REST: Final = 20
"""Neither audits nor readings take more than one part in so many of the time."""
LONGEST_UNTOLD_S: Final = 10.0
"""Findings end by time alone, too."""

_log = logging.getLogger(__name__)


class Audits:
    """The latest audit of this host."""

    def __init__(
        self,
        config: Config,
        guard: Guard,
        engine: Engine,
        inventory: Inventory,
        resolver: IdentityResolver,
        counters: Callable[[Iterable[int]], Mapping[int, tuple[Counters, Counters]]],
        apply: Callable[[Iterable[Effect]], None],
    ) -> None:
        """`counters` reads those of the devices that have a slot."""
        self._config = config.audit
        self._wants_drops = config.kernel.drops != "off"
        self._engine = engine
        self._inventory = inventory
        self._resolver = resolver
        self._counters = counters
        self._apply = apply
        self._rows = PairRows(guard.maps)
        self._maps = guard.maps
        self._drops = DropTrace(guard)
        self.drops_problem = "" if self._wants_drops else 'kernel.drops is "off"'
        """Why losses are not traced; "": they are."""
        self._window = LossWindow()
        self._pairs: list[PairSeen] = []
        self._losses: list[LossSeen] = []
        self._gone: set[int] = set()
        self._findings: list[AuditFinding] = []
        self._ways_found = self._ways_changed_ns = 0
        self._took_ns = 0
        self._ran_s = 0.0
        self._due: asyncio.TimerHandle | None = None
        self._is_started = False
        self._reading: asyncio.Task[None] | None = None
        self._read_again_s = 0.0

    async def start(self) -> None:
        """Trace losses if that can be, read what is there, audit."""
        if self._wants_drops:
            try:
                await asyncio.to_thread(self._drops.start)
            except KernelError as impossible:
                self.drops_problem = str(impossible)
                _log.info("losses are not traced: %s", impossible)
        self._is_started = True
        await self._read()
        self._run()

    async def stop(self) -> None:
        """Audit no more; what is open stays so for the next daemon."""
        self._is_started = False
        if self._due is not None:
            self._due.cancel()
        if self._reading is not None:
            await asyncio.wait({self._reading})
        self._apply(self._engine.audit.flush())
        self._drops.close()

    def reconfigure(self, config: AuditConfig) -> None:
        """Go by another [audit] from the next audit on, which is soon."""
        self._config = config
        self.changed()

    def changed(self) -> None:
        """Something of the host is another: audit soon."""
        if self._due is not None or not self._is_started:
            return
        loop = asyncio.get_running_loop()
        rested_s = self._ran_s + REST * self._took_ns / 1e9
        self._due = loop.call_at(max(loop.time() + SETTLE_S, rested_s), self._run)

    def device_gone(self, ifindex: int) -> None:
        """Its number may be another's tomorrow: forget what was lost at it."""
        self._gone.add(ifindex)

    def tick(self) -> None:
        """Once a second: the kernel's rows, and what time alone changes."""
        now_s = asyncio.get_running_loop().time()
        if (self._reading is None or self._reading.done()) and now_s >= self._read_again_s:
            self._reading = asyncio.create_task(self._read_and_look(), name="audit-rows")
        if now_s - self._ran_s >= LONGEST_UNTOLD_S:
            self.changed()

    async def _read_and_look(self) -> None:
        before = self._pairs, self._losses
        await self._read()
        if (self._pairs, self._losses) != before:
            self.changed()

    async def _read(self) -> None:
        began_s = time.monotonic()
        try:
            self._pairs, self._losses = await asyncio.to_thread(self._read_rows)
        except KernelError as failed:
            _log.warning("the rows of tags and losses cannot be read: %s", failed)
        took_s = time.monotonic() - began_s
        self._read_again_s = asyncio.get_running_loop().time() + REST * took_s

    def _read_rows(self) -> tuple[list[PairSeen], list[LossSeen]]:
        """In a thread. In one order, so that what is the same looks the same."""
        now_ns = time.monotonic_ns()
        gone, self._gone = self._gone, set()
        pairs = self._rows.read()
        self._rows.evict(now_ns, pairs)
        pairs.sort(key=lambda row: (row.ifindex, row.direction, str(row.outer), str(row.inner)))
        if not self._drops.is_on:
            return pairs, []
        self._drops.forget(gone)
        self._drops.prune(now_ns)
        losses = self._window.take(self._drops.read(), now_ns)
        losses.sort(key=lambda row: (row.at_ifindex, row.from_ifindex, row.reason, row.symbol))
        return pairs, losses

    def _run(self) -> AuditFacts:
        """Audits now; the facts it looked at."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        began_ns = time.perf_counter_ns()
        facts = self._gathered()
        self._findings = run_audit(facts)
        self._took_ns = time.perf_counter_ns() - began_ns
        self._ran_s = asyncio.get_running_loop().time()
        self._apply(self._engine.audited(self._findings, time.time_ns()))
        return facts

    def _gathered(self) -> AuditFacts:
        devices = self._inventory.devices()
        links = self._inventory.links()
        uplinks = [ifindex for ifindex, one in devices.items() if one.role == "uplink"]
        ovs = self._resolver.ovs_facts
        now_ns = time.monotonic_ns()
        if self._inventory.ways_found != self._ways_found:
            self._ways_found = self._inventory.ways_found
            self._ways_changed_ns = now_ns
        return AuditFacts(
            now_ns=now_ns,
            ways_changed_ns=self._ways_changed_ns,
            wall_minus_monotonic_ns=time.time_ns() - now_ns,
            links=links,
            devices=devices,
            paths=self._inventory.paths(),
            pairs=self._pairs,
            losses=self._losses,
            host_bpdus={
                ifindex: sides[abi.TAP_OUT].bpdu_host
                for ifindex, sides in self._counters(uplinks).items()
            },
            ovs=ovs,
            unseen=unseen_ports(ovs, self._resolver.vm_ports, links),
            service_vids=frozenset(self._config.service_vlans),
            zone_seconds=time.localtime().tm_gmtoff,
        )

    @property
    def _drops_state(self) -> str:
        return "on" if self._drops.is_on else "off"

    def document(self) -> dict[str, Any]:
        """The answer of `audit`, as of now."""
        facts = self._run()
        return audit_document(
            facts,
            self._findings,
            took_ns=self._took_ns,
            accepted=self._config.accepted,
            drops=self._drops_state,
            why=self.drops_problem,
            beyond=self._engine.audit.beyond,
        )

    def summary(self) -> dict[str, object]:
        """A few words of it, for `status`."""
        told = [one for one in self._findings if not is_accepted(one.id, self._config.accepted)]
        counts = Counter(one.severity for one in told)
        return {
            **{str(severity): counts[severity] for severity in Severity},
            "accepted": len(self._findings) - len(told),
            "took_ns": self._took_ns,
            "drops": self._drops_state,
            "pairs_evicted": self._rows.evicted,
            "pairs_lost": self._maps.state().pairs_lost,
            "losses_unlisted": self._drops.unlisted(),
        }
