# SPDX-License-Identifier: Apache-2.0
"""Finds qemu processes and the ways to the network that their command lines name.

Blocking: belongs in a worker thread. It is for VMs that libvirt does not know.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentinel.identity.pci_nics import ports_with_nics
from sentinel.identity.process import boot_s, process_ids, process_stat, process_text
from sentinel.qemu_cmdline import is_qemu, ports_of_cmdline
from sentinel.vm import VmPort

BUDGET_S: Final = 0.1
LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Looked:
    """A process as it was when its command line was last read."""

    start_ticks: int
    due_s: float
    is_qemu: bool = False
    ports: tuple[VmPort, ...] = ()


class QemuPorts:
    """Ports of all qemu processes.

    Any other process is read again when it is twice as old as last time, for it
    may become qemu (execve(2)), at the latest after a minute. No look takes longer
    than `budget_s`: the next one goes on where it stopped.
    """

    def __init__(self, proc_root: Path, pci_root: Path, budget_s: float = BUDGET_S) -> None:
        self.unfinished = 0
        """Processes that the last look had no time for."""
        self._proc_root = proc_root
        self._pci_root = pci_root
        self._budget_s = budget_s
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._looked: dict[int, _Looked] = {}

    def find(self) -> list[VmPort]:
        """All that are known by now, in the order of their processes."""
        until_s = time.monotonic() + self._budget_s
        now_s = boot_s()
        pids = process_ids(self._proc_root)
        self._looked = {pid: one for pid, one in self._looked.items() if pid in pids}
        due = [pid for pid, one in self._looked.items() if one.is_qemu or one.due_s <= now_s]
        # What is known to be qemu first, then the newest.
        due.sort(key=lambda pid: (not self._looked[pid].is_qemu, self._looked[pid].due_s))
        qemus = sum(self._looked[pid].is_qemu for pid in due)
        due[qemus:qemus] = sorted(pids - self._looked.keys(), reverse=True)
        self.unfinished = 0
        for position, pid in enumerate(due):
            if time.monotonic() > until_s:
                self.unfinished = len(due) - position
                break
            try:
                self._looked[pid] = self._look(pid, self._looked.get(pid), now_s)
            except (OSError, ValueError):
                self._looked.pop(pid, None)
        return [port for _, one in sorted(self._looked.items()) for port in one.ports]

    def _look(self, pid: int, known: _Looked | None, now_s: float) -> _Looked:
        start_ticks = process_stat(self._proc_root, pid).start_ticks
        if known is not None and known.is_qemu and known.start_ticks == start_ticks:
            return known
        age_s = max(now_s - start_ticks / self._ticks_per_s, 0.0)
        due_s = now_s + min(age_s, LONGEST_PAUSE_S)
        cmdline = process_text(self._proc_root, pid, "cmdline")
        if not is_qemu(cmdline):
            return _Looked(start_ticks, due_s)
        ports = ports_with_nics(self._pci_root, ports_of_cmdline(cmdline, pid))
        return _Looked(start_ticks, due_s, is_qemu=True, ports=ports)
