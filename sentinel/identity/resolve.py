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
from sentinel.identity.ovs import OvsInterfaces
from sentinel.vm import (
    VmIdentity,
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


class IdentityResolver:
    """Asks every source; files are read in one worker thread.

    `on_hint` gets names of taps whose Open vSwitch row changed: resolve them
    again. A source that is not there, or fails, is as one that knows nothing;
    `problems()` says so.
    """

    def __init__(
        self,
        paths: IdentityPaths | None = None,
        on_hint: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        paths = paths or IdentityPaths()
        self.on_hint = on_hint
        self._ovs = OvsInterfaces(paths.ovs_socket, self._ovs_changed)
        self._libvirt = LibvirtDomains(paths.libvirt_dir, paths.proc_root)
        self._holders = TapHolders(paths.proc_root)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="identity")
        self._turn = asyncio.Lock()

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

    def _ovs_changed(self, interfaces: Collection[str]) -> None:
        if self.on_hint is not None:
            self.on_hint({tap for name in interfaces for tap in taps_of_ovs_interface(name)})


def may_trace() -> bool:
    """Whether this process has CAP_SYS_PTRACE: who hides from it all the same is no VM of ours."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_PTRACE & 1)
    return False
