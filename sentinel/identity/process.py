# SPDX-License-Identifier: Apache-2.0
"""Reads what /proc tells of one process.

Blocking: belongs in a worker thread. A process that ends meanwhile raises
FileNotFoundError or ProcessLookupError.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LARGEST_READ_BYTES: Final = 1 << 20
PF_KTHREAD: Final = 0x00200000


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/PID/stat says (proc_pid_stat(5)): fields 2, 9 and 22."""

    command: str
    is_kernel_thread: bool
    start_ticks: int


def process_ids(proc_root: Path) -> set[int]:
    """All that there are now."""
    with os.scandir(proc_root) as entries:
        return {int(entry.name) for entry in entries if entry.name.isdecimal()}


def process_stat(proc_root: Path, pid: int) -> ProcessStat:
    """Raises ValueError if that is in another form than proc_pid_stat(5) says."""
    text = process_text(proc_root, pid, "stat")
    # The command stands in brackets and may hold any character, brackets too.
    command, _, rest = text.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if len(fields) < 20:
        raise ValueError(f"/proc/{pid}/stat: {text[:80]!r}")
    return ProcessStat(
        command=command.decode("utf-8", "replace"),
        is_kernel_thread=bool(int(fields[6]) & PF_KTHREAD),
        start_ticks=int(fields[19]),
    )


def process_text(proc_root: Path, pid: int, name: str) -> bytes:
    """The first MiB of one of its files."""
    with (proc_root / str(pid) / name).open("rb") as file:
        return file.read(LARGEST_READ_BYTES)


def boot_s() -> float:
    """Seconds since boot: what a process's start is counted in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
