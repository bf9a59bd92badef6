# SPDX-License-Identifier: Apache-2.0
"""Start qemu so that it cannot outlive its use.

Emulated (TCG): no /dev/kvm is needed. One that is there need not be of use: where the
machine is a guest without nested virtualization (kvm_pvm), a stock kernel runs in it
instruction by instruction, far slower than emulated.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.vm.fetch_kernel import StockKernel
from tools.vm.lanes import LaneError

# Off is what emulation makes dear: a fifth level of page tables for each page walk,
# string moves byte by byte (erms, fsrm; half of 5.10's time in the kernel went there),
# wide registers to save at each switch.
GUEST_CPU = "max,la57=off,erms=off,fsrm=off,avx=off,avx2=off"
# A panic must end the guest at once (-no-reboot turns the reset into an exit). The
# emulated TSCs follow the host's clock, though the kernel's own check of them fails when
# the host is busy; the clock that it would fall back to costs a trip to qemu per look.
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 reboot=triple tsc=reliable clocksource=tsc"
)


@contextlib.contextmanager
def running_qemu(
    arguments: Sequence[str],
    *,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    stdout: int = subprocess.DEVNULL,
    stderr: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run qemu, behind `prefix` (a command that execs), and kill it at the end.

    It is killed too if the calling thread dies first. Raises LaneError if a program is
    missing.
    """
    command = ["setpriv", "--pdeathsig", "KILL", "--", *prefix, "qemu-system-x86_64"]
    try:
        qemu = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise LaneError(
            f"{error.filename} is not installed: a guest needs the packages "
            "util-linux and qemu-system-x86"
        ) from error
    with qemu:
        try:
            yield qemu
        finally:
            qemu.kill()


def machine(
    kernel: StockKernel,
    initramfs: Path,
    console: Path,
    *,
    cpus: int,
    memory_mb: int,
    kernel_arguments: str = "",
    reboots: bool = False,
) -> list[str]:
    """The arguments for a bare machine with this kernel; its console goes to a file.

    A machine that does not reboot ends with the reset.
    """
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *(() if reboots else ("-no-reboot",)),
        *("-accel", "tcg,thread=multi", "-cpu", GUEST_CPU),
        *("-smp", str(cpus), "-m", str(memory_mb)),
        *("-kernel", str(kernel.vmlinuz), "-initrd", str(initramfs)),
        *("-append", f"{KERNEL_ARGUMENTS} {kernel_arguments}".strip()),
        *("-serial", f"file:{console}"),
    ]


def shared_folder(tag: str, path: Path, *, readonly: bool) -> list[str]:
    """A host folder that the guest mounts by 9p under `tag`."""
    options = f"local,id={tag},path={path},security_model=none,multidevs=remap"
    if readonly:
        options += ",readonly=on"
    return ["-fsdev", options, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def read_only_disk(image: Path) -> list[str]:
    """The next virtio disk of the guest: the first is /dev/vda."""
    return ["-drive", f"file={image},format=raw,if=virtio,readonly=on"]


def own_disk(image: Path) -> list[str]:
    """The same, to be written to: nothing of it outlives the machine."""
    return ["-drive", f"file={image},format=raw,if=virtio,snapshot=on,discard=unmap"]


def console_tail(console: Path, lines: int = 40) -> str:
    """The end of what the guest's kernel and init said."""
    try:
        text = console.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
