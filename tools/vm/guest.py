# SPDX-License-Identifier: Apache-2.0
"""One command in a guest that sees this machine's files.

The host's root is below an overlay in the guest's memory, read-only, so the guest runs
the same checkout and .venv and nothing that it writes outlives it. Host and guest talk
through one more folder, /run/lane in the guest: what to run goes in, the exit status
and what the command puts in /run/lane/keep come out.
"""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tools.vm.fast_files import build_fast_files
from tools.vm.fetch_kernel import StockKernel
from tools.vm.initramfs import build_initramfs
from tools.vm.lanes import CHECKOUT
from tools.vm.nics import back_to_back
from tools.vm.qemu import console_tail, machine, read_only_disk, running_qemu, shared_folder

HERE = Path(__file__).resolve().parent
TIMED_OUT = 124
NOT_REACHED = 125
# By what a test's limits of time are to be multiplied: an emulated Python is this slow,
# at the least, when two guests share a machine's two cores.
PATIENCE = "8"
# An emulated kernel with several CPUs now and then loses a timer while it boots, and
# stands still for good or panics. It takes some 10 s, 30 on a busy machine.
BOOT_AT_MOST_S = 150.0
BOOT_TRIES = 3
LOOK_EVERY_S = 1.0
ROOT_MODULES = (
    *("virtio_pci", "virtio_console", "virtio_blk", "ext4"),
    *("9pnet_virtio", "9p", "overlay"),
)
# Loaded beforehand because nothing in the guest asks for some of them by name; the
# options keep bonding and dummy from making devices that a test did not ask for.
NETWORK_MODULES = (
    *("tun", "veth", "bridge", "8021q", "bonding max_bonds=0", "dummy numdummies=0"),
    *("macvtap", "sch_ingress", "cls_bpf", "act_bpf", "virtio_net"),
)


@dataclass(frozen=True)
class GuestOrder:
    """What to run. `keep` is a folder here; `fast_files` an image made beforehand.

    `nic_pairs` and `envelope_nic_pairs` are wired back to back (tools/vm/nics.py).
    """

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 1200.0
    memory_mb: int = 2048
    cpus: int = 2
    keep: Path | None = None
    fast_files: Path | None = None
    nic_pairs: int = 0
    envelope_nic_pairs: int = 0


@dataclass(frozen=True)
class GuestRun:
    """What became of it: `booted_s` is the guest's uptime when the command started."""

    status: int
    booted_s: float | None
    elapsed_s: float
    console_tail: str


def run_in_guest(kernel: StockKernel, order: GuestOrder, output: IO[bytes]) -> GuestRun:
    """Boot `kernel`, run the order's command in the checkout, stream its output.

    The status is the command's, TIMED_OUT, or NOT_REACHED if the guest died first.
    Raises LaneError when the guest cannot be built or qemu is missing.
    """
    started = time.monotonic()
    for _ in range(BOOT_TRIES):
        run = _try_guest(kernel, order, output, started)
        if run.booted_s is not None:
            break
    return run


def _try_guest(
    kernel: StockKernel, order: GuestOrder, output: IO[bytes], started: float
) -> GuestRun:
    """One boot, given up where it takes too long."""
    with tempfile.TemporaryDirectory(prefix="tapsentinel-lane-") as name:
        scratch = Path(name)
        share = scratch / "share"
        _fill_share(share, kernel, order)
        console = scratch / "console"
        arguments = _arguments(kernel, order, scratch, share, console)
        up_by = time.monotonic() + BOOT_AT_MOST_S
        with running_qemu(arguments, stdout=subprocess.PIPE) as qemu:
            in_time = _relay(
                qemu, output, started + order.timeout_s, up_by, lambda: _booted_s(share) is not None
            )
        if order.keep is not None:
            shutil.copytree(share / "keep", order.keep, dirs_exist_ok=True)
        return GuestRun(
            status=_status(share) if in_time else TIMED_OUT,
            booted_s=_booted_s(share),
            elapsed_s=time.monotonic() - started,
            console_tail=console_tail(console),
        )


def _arguments(
    kernel: StockKernel, order: GuestOrder, scratch: Path, share: Path, console: Path
) -> list[str]:
    initramfs = scratch / "initramfs"
    init = (HERE / "lane_init.sh").read_text()
    initramfs.write_bytes(build_initramfs(kernel, init, ROOT_MODULES + NETWORK_MODULES))
    fast_files = order.fast_files
    if fast_files is None:
        fast_files = scratch / "fast_files"
        build_fast_files(fast_files)
    return [
        *machine(kernel, initramfs, console, cpus=order.cpus, memory_mb=order.memory_mb),
        *("-device", "virtio-serial-pci"),
        *("-chardev", "file,id=output,path=/proc/self/fd/1"),
        *("-device", "virtserialport,chardev=output,name=lane.output"),
        *read_only_disk(fast_files),
        *back_to_back(order.nic_pairs, order.envelope_nic_pairs),
        *shared_folder("host", Path("/"), readonly=True),
        *shared_folder("lane", share, readonly=False),
    ]


def _fill_share(share: Path, kernel: StockKernel, order: GuestOrder) -> None:
    (share / "keep").mkdir(parents=True)
    shutil.copyfile(HERE / "lane_stage2.sh", share / "stage2")
    place = {
        "LANE_RELEASE": kernel.release,
        "LANE_MODULES": str(kernel.modules),
        "LANE_CHECKOUT": str(CHECKOUT),
    }
    (share / "place").write_text(_assignments(place))
    told = {"TAPSENTINEL_LANE": kernel.lane, "TAPSENTINEL_PATIENCE": PATIENCE}
    exports = _assignments({**told, **order.environment}, "export ")
    (share / "command").write_text(f"{exports}exec {shlex.join(order.command)}\n")


def _assignments(values: dict[str, str], keyword: str = "") -> str:
    return "".join(f"{keyword}{name}={shlex.quote(value)}\n" for name, value in values.items())


def _relay(
    qemu: subprocess.Popen[bytes],
    output: IO[bytes],
    deadline: float,
    up_by: float,
    is_up: Callable[[], bool],
) -> bool:
    """Pass the guest's output on until it is off.

    False when the deadline came first, or `up_by` before it was up.
    """
    if qemu.stdout is None:
        raise ValueError("qemu must be started with stdout=PIPE")
    with selectors.DefaultSelector() as selector:
        selector.register(qemu.stdout, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if time.monotonic() > up_by and not is_up():
                return False
            if not selector.select(min(left_s, LOOK_EVERY_S)):
                continue
            part = os.read(qemu.stdout.fileno(), 65536)
            if not part:
                return True
            output.write(part)
            output.flush()
    return False


def _status(share: Path) -> int:
    try:
        return int((share / "status").read_text())
    except (FileNotFoundError, ValueError):
        return NOT_REACHED


def _booted_s(share: Path) -> float | None:
    try:
        return float((share / "booted").read_text())
    except (FileNotFoundError, ValueError):
        return None
