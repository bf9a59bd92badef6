# SPDX-License-Identifier: Apache-2.0
"""A compute host as a machine: a Debian release under its own kernel, systemd and all.

It is told what to do through a serial port. Its NIC leads nowhere but into a file, and
what is read there left the machine: nothing inside could have hidden it.
"""

from __future__ import annotations

import base64
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import dpkt

from tests.harness.closing import Closing
from tests.harness.serial_orders import SerialError, SerialOrders
from tools.vm.fetch_kernel import fetch_kernel
from tools.vm.initramfs import build_initramfs
from tools.vm.lanes import Lane
from tools.vm.qemu import console_tail, machine, own_disk, running_qemu, shared_folder
from tools.vm.root_image import root_image

INIT = Path(__file__).parents[2] / "tools" / "vm" / "root_init.sh"
MODULES = (
    *("virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "ext4", "9pnet_virtio", "9p"),
    *("tun", "bridge", "sch_ingress", "cls_bpf", "act_bpf"),
)
KERNEL_ARGUMENTS = "net.ifnames=0 systemd.show_status=0 apparmor=0"
MEMORY_MB = 1024
BOOT_AT_MOST_S = 300.0
ORDER_AT_MOST_S = 120.0


class HostError(Exception):
    """The host did not boot, or did not do what it was told."""


class SystemdHost(Closing):
    """The machine of one lane; `share` is a folder here that it sees as /mnt, read-only.

    Use as a context manager, then `wait_up`. What it writes is gone with it, but
    outlives its reboots.
    """

    def __init__(self, lane: Lane, share: Path) -> None:
        self.lane = lane
        self._share = share
        self._cleanup = contextlib.ExitStack()
        self._orders: SerialOrders | None = None
        self._console = Path()
        self._wire = Path()

    def __enter__(self) -> SystemdHost:
        image = root_image(self.lane)
        kernel = fetch_kernel(self.lane)
        with contextlib.ExitStack() as cleanup:
            scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="ts-host-")))
            initramfs = scratch / "initramfs"
            initramfs.write_bytes(build_initramfs(kernel, INIT.read_text(), MODULES))
            self._console, self._wire = scratch / "console", scratch / "wire.pcap"
            orders = cleanup.enter_context(SerialOrders())
            arguments = [
                # One CPU: with several an emulated kernel now and then stands still.
                *machine(
                    kernel,
                    initramfs,
                    self._console,
                    cpus=1,
                    memory_mb=MEMORY_MB,
                    kernel_arguments=KERNEL_ARGUMENTS,
                    reboots=True,
                ),
                *own_disk(image),
                *shared_folder("share", self._share, readonly=True),
                # The second is where frames go: a hub takes none that nobody takes from it.
                *("-netdev", "hubport,id=wire,hubid=0", "-netdev", "hubport,id=end,hubid=0"),
                *("-device", "virtio-net-pci,netdev=wire,romfile="),
                *("-object", f"filter-dump,id=dump,netdev=wire,file={self._wire}"),
                *orders.arguments,
            ]
            cleanup.enter_context(
                running_qemu(arguments, pass_fds=[orders.their_fd], stderr=subprocess.DEVNULL)
            )
            orders.is_handed_over()
            self._orders = orders
            self._cleanup = cleanup.pop_all()
        return self

    def close(self) -> None:
        """End the machine."""
        self._cleanup.close()
        self._orders = None

    def wait_up(self, timeout_s: float = BOOT_AT_MOST_S) -> str:
        """Wait until it takes orders, also after a reboot; the kernel's release.

        Raises HostError with the console's end.
        """
        try:
            return self._serial().wait_up(timeout_s)[1]
        except SerialError as error:
            raise HostError(f"{error}; the console:\n{console_tail(self._console)}") from None

    def reboot(self) -> None:
        """Reboot in good order, and wait until it takes orders again."""
        self.run("systemctl --no-block reboot")
        self.wait_up()
        self.mount_share()

    def mount_share(self) -> None:
        """Again after each boot."""
        self.run("mount -t 9p -o trans=virtio,version=9p2000.L,ro share /mnt")

    def run(self, command: str, *, check: bool = True, timeout_s: float = ORDER_AT_MOST_S) -> str:
        """Run a shell command; what it wrote, both streams.

        Raises HostError if it fails (with `check`) or takes longer than `timeout_s`.
        """
        status, output = self.ask(command, timeout_s=timeout_s)
        if check and status != 0:
            raise HostError(f"{command!r} ended with {status}: {output}")
        return output

    def ask(self, command: str, *, timeout_s: float = ORDER_AT_MOST_S) -> tuple[int, str]:
        """As `run`, with the exit status and without complaint about it."""
        try:
            return self._serial().ask(command, timeout_s)
        except SerialError as error:
            raise HostError(
                f"{command!r}: {error}; the console:\n{console_tail(self._console)}"
            ) from None

    def wait_for(self, command: str, timeout_s: float = ORDER_AT_MOST_S) -> str:
        """Ask until `command` succeeds; its output. Raises HostError with the last one."""
        deadline = time.monotonic() + timeout_s
        while True:
            status, output = self.ask(command, timeout_s=timeout_s)
            if status == 0:
                return output
            if time.monotonic() > deadline:
                raise HostError(f"waited {timeout_s:g} s for {command!r}: {output}")
            time.sleep(0.2)

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file there, with its folders."""
        encoded = base64.b64encode(text.encode()).decode()
        self.run(
            f"mkdir -p $(dirname {path}) && echo {encoded} | base64 -d >{path} "
            f"&& chmod {mode} {path}"
        )

    def wire(self) -> Iterator[bytes]:
        """Every frame that left the machine so far, in their order."""
        with self._wire.open("rb") as dump:
            yield from _whole_frames(dump)

    def last_words(self) -> str:
        """The end of the console and of our units' log, as far as it still answers."""
        try:
            log = self.run("journalctl -u 'tapsentinel*' -u probe -n 60 --no-pager", timeout_s=60)
        except (HostError, OSError) as silent:
            log = str(silent)
        return f"console:\n{console_tail(self._console)}\nlog:\n{log}"

    def _serial(self) -> SerialOrders:
        if self._orders is None:
            raise HostError("the host is not running: use it in a with statement")
        return self._orders


def _whole_frames(dump: BinaryIO) -> Iterator[bytes]:
    # The last frame may be half written.
    with contextlib.suppress(dpkt.NeedData, ValueError):
        for _, frame in dpkt.pcap.Reader(dump):
            yield bytes(frame)
