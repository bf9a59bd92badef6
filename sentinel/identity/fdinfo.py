# SPDX-License-Identifier: Apache-2.0
"""Finds the process that holds a tap: descriptors of /dev/net/tun and their fdinfo.

Blocking: belongs in a worker thread. Needs CAP_SYS_PTRACE to look into
processes of other users.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sentinel.identity.process import boot_s, process_ids, process_stat, process_text
from sentinel.link import device_name
from sentinel.vm import VmIdentity, identity_from_cmdline, tap_of_fdinfo

BUDGET_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
TUN_DEVICE: Final = "/net/tun"
# They open taps to hand them over; for a moment both hold one.
HANDING_OVER: Final = frozenset({"libvirtd", "virtqemud"})


@dataclass(frozen=True, slots=True)
class _Looked:
    """A process as it was when its descriptors were last read."""

    start_ticks: int
    at_s: float
    taps: frozenset[str]
    identity: VmIdentity | None


class TapHolders:
    """Who holds which tap, by name, in the daemon's own network namespace.

    A tap's name is unique in its namespace only, so a process of another one
    is left out. Processes that hold taps are looked at first; each of the others
    when it is twice as old as last time, at the latest after a minute, and never
    for longer than `budget_s` in one call: the next call goes on where this one
    stopped.
    """

    def __init__(self, proc_root: Path, budget_s: float = BUDGET_S) -> None:
        self.denied = 0
        """Processes that the last call was not allowed to look into."""
        self.unfinished = 0
        """Processes that the last call had no time for."""
        self._proc_root = proc_root
        self._budget_s = budget_s
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._looked: dict[int, _Looked] = {}

    def find(self, wanted: Collection[str]) -> dict[str, VmIdentity]:
        """Holders of the wanted taps, as far as they could be found in time."""
        until_s = time.monotonic() + self._budget_s
        self.denied = self.unfinished = 0
        netns = self._netns("self")
        pids = process_ids(self._proc_root)
        self._looked = {pid: one for pid, one in self._looked.items() if pid in pids}
        missing = set(wanted)
        claimed = [pid for pid, one in self._looked.items() if not one.taps.isdisjoint(missing)]
        for pid in claimed:
            missing -= self._look(pid, netns)
        # A new process is the likeliest to have opened a new tap, then one that has others.
        known = sorted(
            self._looked.keys() - set(claimed),
            key=lambda pid: (not self._looked[pid].taps, self._looked[pid].at_s),
        )
        waiting = [*sorted(pids - self._looked.keys(), reverse=True), *known]
        for position, pid in enumerate(waiting):
            if not missing:
                break
            if time.monotonic() > until_s:
                self.unfinished = len(waiting) - position
                break
            if self._is_due(pid):
                missing -= self._look(pid, netns)
        return self._holders_of(wanted)

    def _holders_of(self, wanted: Collection[str]) -> dict[str, VmIdentity]:
        found: dict[str, VmIdentity] = {}
        for _, looked in sorted(self._looked.items()):
            if looked.identity is None:
                continue
            for tap in looked.taps.intersection(wanted):
                # Beside a VM its own helpers may hold a queue: who bears a UUID is the VM.
                if tap not in found or (found[tap].uuid is None and looked.identity.uuid):
                    found[tap] = looked.identity
        return found

    def _is_due(self, pid: int) -> bool:
        looked = self._looked.get(pid)
        if looked is None or looked.taps:
            return True
        age_then_s = looked.at_s - looked.start_ticks / self._ticks_per_s
        return boot_s() - looked.at_s >= min(age_then_s, LONGEST_PAUSE_S)

    def _look(self, pid: int, netns: tuple[int, int] | None) -> frozenset[str]:
        """Read a process's descriptors and remember; returns the taps it holds."""
        at_s = boot_s()
        try:
            stat = process_stat(self._proc_root, pid)
            taps: frozenset[str] = frozenset()
            identity = None
            if not stat.is_kernel_thread and stat.command not in HANDING_OVER:
                taps = frozenset(self._taps(pid))
                if taps and netns is not None and self._netns(str(pid)) not in (None, netns):
                    taps = frozenset()
            if taps:
                identity = identity_from_cmdline(process_text(self._proc_root, pid, "cmdline"), pid)
                if process_stat(self._proc_root, pid).start_ticks != stat.start_ticks:
                    raise ProcessLookupError  # the pid is another's by now
        except PermissionError:
            self.denied += 1
            return frozenset()
        except (OSError, ValueError):
            self._looked.pop(pid, None)
            return frozenset()
        self._looked[pid] = _Looked(stat.start_ticks, at_s, taps, identity)
        return taps

    def _taps(self, pid: int) -> Iterator[str]:
        with os.scandir(self._proc_root / str(pid) / "fd") as entries:
            for entry in entries:
                try:
                    # A Path for each descriptor would cost more than the call.
                    if not os.readlink(entry.path).endswith(TUN_DEVICE):  # noqa: PTH115
                        continue
                    text = device_name(process_text(self._proc_root, pid, f"fdinfo/{entry.name}"))
                except (FileNotFoundError, ProcessLookupError):
                    continue
                tap = tap_of_fdinfo(text)
                if tap is not None:
                    yield tap

    def _netns(self, process: str) -> tuple[int, int] | None:
        """Identity of its network namespace; None if that may not be known."""
        try:
            status = (self._proc_root / process / "ns" / "net").stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino
