# SPDX-License-Identifier: Apache-2.0
"""All sources in one: Open vSwitch, libvirt, fdinfo, the name; in that order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentinel.identity.fdinfo import TapHolders
from sentinel.identity.libvirt import LibvirtDomains
from sentinel.identity.ovs import OvsDatabase
from sentinel.identity.qemu import QemuPorts
from sentinel.ovs import OvsFacts
from sentinel.vm import (
    VmIdentity,
    VmPort,
    identity_from_neutron,
    identity_from_ovs,
    merge_identities,
    ovs_interface_names,
    taps_of_ovs_interface,
)

CAP_SYS_PTRACE: Final = 19  # linux/capability.h


@dataclass(frozen=True, slots=True)
class IdentityPaths:
    """Where this host keeps what is asked."""

    ovs_socket: Path = Path("/run/openvswitch/db.sock")
    libvirt_dir: Path = Path("/run/libvirt/qemu")
    proc_root: Path = Path("/proc")
    pci_root: Path = Path("/sys/bus/pci/devices")


class IdentityResolver:
    """Asks every source; files are read in one worker thread.

    `on_hint` gets names of taps of which Open vSwitch or libvirt says something
    else by now: resolve them again. `on_change` is called when `ovs_facts` or
    `vm_ports` are others, but for external_ids of ports that a tap shows. Both
    are called in the event loop. A source that is not there, or fails, is as one
    that knows nothing; `problems()` says so.
    """

    def __init__(
        self,
        paths: IdentityPaths | None = None,
        on_hint: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        paths = paths or IdentityPaths()
        self.on_hint = on_hint
        self.on_change: Callable[[], None] | None = None
        self._ovs = OvsDatabase(paths.ovs_socket, self._ovs_changed, self._changed)
        self._libvirt = LibvirtDomains(paths.libvirt_dir, paths.proc_root, paths.pci_root)
        self._qemu = QemuPorts(paths.proc_root, paths.pci_root)
        self._holders = TapHolders(paths.proc_root)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="identity")
        self._turn = asyncio.Lock()
        self._told_by_libvirt: dict[str, VmIdentity] = {}
        self._told_by_qemu: list[VmPort] = []
        self._vm_ports: tuple[VmPort, ...] = ()

    @property
    def ovs_facts(self) -> OvsFacts:
        """Open vSwitch's tables as last told."""
        return self._ovs.facts()

    @property
    def vm_ports(self) -> tuple[VmPort, ...]:
        """Ways to the network that libvirt and qemu's command lines tell of, no taps among them.

        Of two sources that mean the same one, libvirt's; as of the last `look`.
        """
        return self._vm_ports

    async def look(self, *, at_processes: bool = False) -> None:
        """Connect to Open vSwitch if that is not so, and read what changed of libvirt's files.

        With `at_processes` also look for qemus that libvirt does not know.
        """
        async with self._turn:
            await self._ovs.refresh()
            before = self._told_by_libvirt
            loop = asyncio.get_running_loop()
            ports = await loop.run_in_executor(self._worker, self._look, at_processes)
            told = self._told_by_libvirt
        if told is not before and self.on_hint is not None:
            self.on_hint(
                {tap for tap in before.keys() | told.keys() if before.get(tap) != told.get(tap)}
            )
        if ports != self._vm_ports:
            self._vm_ports = ports
            self._changed()

    async def resolve(self, names: Sequence[str]) -> dict[str, VmIdentity]:
        """Identity of each name; UNKNOWN_VM where no source says anything."""
        if not names:
            return {}
        async with self._turn:
            await self._ovs.refresh()
            told = {name: self._told_by_ovs(name) for name in names}
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, self._resolve, told)

    async def close(self) -> None:
        """Disconnect and end the thread; waits for a look that is under way."""
        await self._ovs.close()
        await asyncio.to_thread(self._worker.shutdown, wait=True, cancel_futures=True)

    def problems(self) -> list[str]:
        """What keeps sources from being asked, in words for an operator."""
        denied = self._holders.denied
        return [
            problem
            for problem in (
                self._ovs.problem,
                self._libvirt.problem,
                f"/proc: {denied} processes may not be looked into (it takes CAP_SYS_PTRACE)"
                if denied and not may_trace()
                else None,
            )
            if problem is not None
        ]

    def _told_by_ovs(self, tap: str) -> VmIdentity | None:
        for name in ovs_interface_names(tap):
            identity = identity_from_ovs(self._ovs.external_ids(name))
            if identity is not None:
                return identity
        return None

    def _resolve(self, told_by_ovs: dict[str, VmIdentity | None]) -> dict[str, VmIdentity]:
        """Runs in the worker thread."""
        told_by_libvirt = self._libvirt.read()
        merged = {
            name: merge_identities((told, told_by_libvirt.get(name), identity_from_neutron(name)))
            for name, told in told_by_ovs.items()
        }
        # The dearest source is asked last, and only for what is still open.
        open_names = [name for name, vm in merged.items() if vm.uuid is None or vm.pid is None]
        if not open_names:
            return merged
        holders = self._holders.find(open_names)
        for name in open_names:
            merged[name] = merge_identities(
                (
                    told_by_ovs[name],
                    told_by_libvirt.get(name),
                    holders.get(name),
                    identity_from_neutron(name),
                )
            )
        return merged

    def _look(self, at_processes: bool) -> tuple[VmPort, ...]:
        """Runs in the worker thread."""
        if self._libvirt.has_changed():
            self._told_by_libvirt = self._libvirt.read()
        if at_processes:
            self._told_by_qemu = self._qemu.find()
        found: dict[tuple[str, str], VmPort] = {}
        for port in (*self._libvirt.ports(), *self._told_by_qemu):
            found.setdefault(port.key, port)
        return tuple(found[key] for key in sorted(found))

    def _ovs_changed(self, interfaces: Collection[str]) -> None:
        if self.on_hint is not None:
            self.on_hint({tap for name in interfaces for tap in taps_of_ovs_interface(name)})
        facts = self._ovs.facts()
        if any(facts.bypasses_kernel(name) for name in interfaces):
            self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


def may_trace() -> bool:
    """Whether this process has CAP_SYS_PTRACE: who hides from it all the same is no VM of ours."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_PTRACE & 1)
    return False
