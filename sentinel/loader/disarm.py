# SPDX-License-Identifier: Apache-2.0
"""Takes the guard out of the kernel: the one thing that opens what it kept shut."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sentinel.errors import KernelError, NotArmedError, PinsBusyError
from sentinel.loader._libbpf import lib
from sentinel.loader.attach import detach_everywhere
from sentinel.loader.pins import Pins, is_bpffs


def disarm(bpffs_dir: Path) -> int:
    """Detaches every device and unpins all; how many devices that were.

    Raises PinsBusyError while a daemon runs, NotArmedError where nothing is
    pinned, KernelError where that is not ours to see.
    """
    pins = Pins(bpffs_dir)
    try:
        there = is_bpffs(bpffs_dir) and pins.links.is_dir()
    except PermissionError as refused:
        raise KernelError(f"{bpffs_dir}: only root may look there", refused.errno or 0) from refused
    if not there:
        if os.geteuid() != 0:
            raise KernelError(f"{bpffs_dir}: only root may look there and disarm")
        raise NotArmedError(f"no guard is pinned in {bpffs_dir}: nothing to disarm")
    try:
        pins.lock()
    except PinsBusyError as busy:
        raise PinsBusyError(
            f"a daemon guards by the pins in {bpffs_dir}: stop it first, then disarm"
        ) from busy
    try:
        lib.ts_log_start()
        devices = pins.devices()
        for ifindex in devices:
            detach_everywhere(pins, ifindex)
        for folder in list(bpffs_dir.iterdir()):
            pins.remove_tree(folder)
    finally:
        pins.unlock()
    with contextlib.suppress(OSError):
        bpffs_dir.rmdir()
    return len(devices)
