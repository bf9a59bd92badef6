# SPDX-License-Identifier: Apache-2.0
"""A real virtual machine behind a tap: qemu, a stock Debian kernel, busybox.

It boots in some ten seconds, answers pings on its address and runs what it is told
through a serial port. Its frames come out of a virtio NIC and its own network stack:
`start_spanning_tree` is what a tenant does who starts a bridge.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from tests.harness.closing import Closing
from tests.harness.serial_orders import SerialError, SerialOrders
from tools.vm.fetch_kernel import fetch_kernel
from tools.vm.initramfs import build_initramfs
from tools.vm.lanes import LANES
from tools.vm.qemu import console_tail, machine, running_qemu

INIT = Path(__file__).with_name("real_guest_init.sh")
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "bridge", "8021q")
NETNS_DIR = Path("/run/netns")
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
# IFNAMSIZ less the closing zero; a comma would end the option on qemu's command line.
INTERFACE = re.compile(r"[^\s/,:]{1,15}")
# The shortest that IEEE 802.1D-1998 8.10.2 and the kernel allow, so that the guest's
# own port forwards, and it answers pings again, four seconds after STP starts.
FORWARD_DELAY_CENTISECONDS = 200


class GuestError(Exception):
    """The guest did not boot, or did not do what it was told."""


class RealGuest(Closing):
    """A virtual machine whose NIC is the tap `tap` in the network namespace `netns`.

    A tap that does not exist is made by qemu and goes when the guest ends; one that
    does is used as it is. `netns` None: the caller's. `address` is the guest's, with
    prefix length. qemu keeps the tap open, so /proc/PID/fdinfo names it; `pid` is
    qemu's. Use as a context manager, then `wait_ready`.
    """

    def __init__(
        self,
        tap: str,
        netns: str | None = None,
        mac: str = "52:54:00:12:34:56",
        address: str | None = None,
        *,
        name: str = "guest",
        lane: str = "6.1",
        memory_mb: int = 256,
    ) -> None:
        if not MAC.fullmatch(mac):
            raise ValueError(f"not a MAC in lower case with colons: {mac!r}")
        if not INTERFACE.fullmatch(tap):
            raise ValueError(f"not an interface name: {tap!r}")
        self.tap = tap
        self.netns = netns
        self.mac = mac
        self.address = None if address is None else ipaddress.ip_interface(address)
        self.name = name
        self.lane = LANES[lane]
        self.memory_mb = memory_mb
        self.release = ""
        self._cleanup = contextlib.ExitStack()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._orders: SerialOrders | None = None
        self._console = Path()

    def __enter__(self) -> RealGuest:
        with contextlib.ExitStack() as cleanup:
            scratch = Path(
                cleanup.enter_context(tempfile.TemporaryDirectory(prefix="tapsentinel-guest-"))
            )
            kernel = fetch_kernel(self.lane)
            initramfs = scratch / "initramfs"
            initramfs.write_bytes(build_initramfs(kernel, INIT.read_text(), MODULES))
            self._console = scratch / "console"
            orders = cleanup.enter_context(SerialOrders())
            told = "" if self.address is None else f"guest_address={self.address.with_prefixlen}"
            arguments = [
                *machine(
                    kernel,
                    initramfs,
                    self._console,
                    cpus=1,
                    memory_mb=self.memory_mb,
                    kernel_arguments=told,
                ),
                *("-name", self.name),
                *("-netdev", f"tap,id=nic,ifname={self.tap},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev=nic,mac={self.mac},romfile="),
                *orders.arguments,
            ]
            self._qemu = cleanup.enter_context(
                running_qemu(
                    arguments,
                    prefix=self._inside(),
                    pass_fds=[orders.their_fd],
                    stderr=subprocess.PIPE,
                )
            )
            orders.is_handed_over()
            self._orders = orders
            self._cleanup = cleanup.pop_all()
        return self

    def close(self) -> None:
        """End the machine."""
        self._cleanup.close()
        self._qemu = self._orders = None

    @property
    def pid(self) -> int:
        """qemu's process id."""
        if self._qemu is None:
            raise GuestError(f"{self.name} is not running: use it in a with statement")
        return self._qemu.pid

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait (seconds) until the guest's NIC is up and it takes orders.

        Also sets the host's end of the link up. Raises GuestError, with qemu's or the
        kernel's last words, if it does not get there.
        """
        try:
            status, self.release = self._serial().wait_up(timeout)
        except SerialError as error:
            raise GuestError(f"{self.name}: {error}: {self._last_words()}") from None
        if status != 0:
            raise GuestError(f"{self.name} came up with status {status}: {self.release}")
        up = [*self._inside(), "ip", "link", "set", self.tap, "up"]
        subprocess.run(up, check=True, timeout=10)

    def run(self, command: str, *, check: bool = True, timeout: float = 30.0) -> str:
        """Run a shell command in the guest; returns what it wrote, both streams.

        Raises GuestError if it fails (with `check`) or takes longer than `timeout`
        seconds; after a timeout the guest can be told nothing more.
        """
        try:
            status, output = self._serial().ask(command, timeout)
        except SerialError as error:
            raise GuestError(f"{self.name}: {command!r}: {error}: {self._last_words()}") from None
        if check and status != 0:
            raise GuestError(f"{self.name}: {command!r} ended with {status}: {output}")
        return output

    def start_spanning_tree(self, bridge: str = "br0", priority: int = 0) -> None:
        """Make a bridge over the NIC with STP on, and move the guest's address to it.

        Priority 0 makes it the root, so that it keeps sending; busybox's brctl cannot
        set either, sysfs can. The first BPDU leaves as soon as the port joins.
        """
        settings = f"/sys/class/net/{bridge}/bridge"
        orders = [
            f"ip link add {bridge} type bridge",
            f"echo {priority} > {settings}/priority",
            f"echo {FORWARD_DELAY_CENTISECONDS} > {settings}/forward_delay",
            f"echo 1 > {settings}/stp_state",
            f"ip link set {bridge} address {self.mac} up",
            "ip address flush dev eth0",
            f"brctl addif {bridge} eth0",
        ]
        if self.address is not None:
            orders.append(f"ip address add {self.address.with_prefixlen} dev {bridge}")
        self.run(" && ".join(orders))

    def stop_spanning_tree(self, bridge: str = "br0") -> None:
        """Take the bridge away again; the guest's address goes back to the NIC."""
        orders = [f"ip link set {bridge} down", f"ip link delete {bridge}"]
        if self.address is not None:
            orders.append(f"ip address add {self.address.with_prefixlen} dev eth0")
        self.run(" && ".join(orders))

    def ping(self, address: str, *, count: int = 1, wait_s: int = 2) -> bool:
        """Whether `address` answers all of `count` pings from the guest."""
        timeout_s = count + wait_s + 10.0
        told = self.run(
            f"ping -c {count} -W {wait_s} {shlex.quote(address)}", check=False, timeout=timeout_s
        )
        return " 0% packet loss" in told

    def _inside(self) -> list[str]:
        return [] if self.netns is None else ["nsenter", f"--net={NETNS_DIR / self.netns}", "--"]

    def _serial(self) -> SerialOrders:
        if self._orders is None:
            raise GuestError(f"{self.name} is not running: use it in a with statement")
        return self._orders

    def _last_words(self) -> str:
        complaint = b""
        if self._qemu is not None and self._qemu.stderr is not None:
            self._qemu.kill()
            complaint = self._qemu.stderr.read()
        return f"{complaint.decode(errors='replace')}\n{console_tail(self._console)}".strip()
