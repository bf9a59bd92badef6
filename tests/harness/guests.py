# SPDX-License-Identifier: Apache-2.0
"""A cheap guest: a real tap on the host's side, a whole Linux stack behind it.

A relay process carries frames between the host's tap and a second tap inside a
namespace of the guest's own, as a virtual machine monitor and a guest would.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from tests.harness import native
from tests.harness.hosts import PREFIX_BITS, Host
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until

BRIDGE = "br0"
FASTEST_HELLO_CS = 100  # 1 s, the least that IEEE 802.1D and the kernel allow


class Guest(Host):
    """Owns the tap it is given: when the guest goes, its tap goes."""

    def __init__(self, name: str, tap: Tap, mac: str, address: str, offload: bool = False) -> None:
        """`offload`: the stack hands over GSO super-frames, as virtio-net does.

        `tap` must then have been opened with offload too.
        """
        super().__init__("g", mac, address)
        self.name = name
        self.tap = tap
        try:
            inside = Tap(self.device, self.netns, offload=offload)
            try:
                self._relay = subprocess.Popen(
                    [native.program("relay"), str(tap.fd), str(inside.fd)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(tap.fd, inside.fd),
                )
            finally:
                inside.close()
            try:
                self.configure()
            except BaseException:
                self._end_relay()
                raise
        except BaseException:
            super().close()
            raise

    def turn_on_spanning_tree(self) -> int:
        """Start a bridge with STP that claims to be root and keeps sending BPDUs.

        The address moves onto the bridge. Returns the time before the port was
        enslaved (CLOCK_MONOTONIC, ns): no BPDU was sent earlier.
        """
        self.netns.ip(
            f"link add name {BRIDGE} address {self.mac} type bridge mcast_snooping 0",
            f"link set {BRIDGE} addrgenmode none",
            f"link set {BRIDGE} type bridge stp_state 1 priority 0 hello_time {FASTEST_HELLO_CS}",
            f"address flush dev {self.device}",
            f"address add {self.address}/{PREFIX_BITS} dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )
        started_ns = time.monotonic_ns()
        self.netns.ip(f"link set {self.device} master {BRIDGE}")
        return started_ns

    def turn_off_spanning_tree(self) -> None:
        """Take the bridge away again and put the address back."""
        self.netns.ip(f"link delete {BRIDGE}")
        self.configure()

    def freeze(self) -> None:
        """Stop the relay: the tap's queue is not drained and nothing comes from the guest."""
        self._relay.send_signal(signal.SIGSTOP)
        wait_until(lambda: self._state() == "T", 2, f"the relay of {self.name} to stop")

    def thaw(self) -> None:
        """Let the relay go on."""
        self._relay.send_signal(signal.SIGCONT)
        wait_until(lambda: self._state() != "T", 2, f"the relay of {self.name} to go on")

    def stop_reading(self) -> None:
        """Drain the tap's queue no longer; what the guest sends still goes out.

        As a virtual machine monitor whose receive queue got stuck.
        """
        self._order(signal.SIGUSR1)

    def read_on(self) -> None:
        """Drain the tap's queue again."""
        self._order(signal.SIGUSR2)

    def close(self) -> None:
        """Switch the guest off and take its tap away; may be called again."""
        self._end_relay()
        self.tap.close()
        super().close()

    def _order(self, order: signal.Signals) -> None:
        self._relay.send_signal(order)
        mask = 1 << (order - 1)
        wait_until(lambda: not self._pending() & mask, 5, f"the relay of {self.name} to obey")

    def _pending(self) -> int:
        status = Path(f"/proc/{self._relay.pid}/status").read_text()
        words = dict(line.split(":", 1) for line in status.splitlines())
        return int(words["ShdPnd"], 16)

    def _state(self) -> str:
        stat = Path(f"/proc/{self._relay.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def _end_relay(self) -> None:
        self._relay.kill()
        self._relay.wait()
        if self._relay.stdin is not None:
            self._relay.stdin.close()
