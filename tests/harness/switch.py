# SPDX-License-Identifier: Apache-2.0
"""A switch that err-disables: a Linux bridge with spanning tree and BPDU guard.

The kernel's guard trips on version 0 alone (net/bridge/br_stp_bpdu.c); a real
switch trips on more. What arrived is therefore counted apart, by `capture()`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator

from tests.harness.kernel_log import KernelLog
from tests.harness.namespaces import Namespace
from tests.harness.waiting import wait_until
from tests.harness.wire import WireCounter


class Switch:
    """Port and bridge names are unique on the machine: the kernel's log is shared."""

    def __init__(self) -> None:
        suffix = secrets.token_hex(3)
        self._suffix = suffix
        self.bridge = f"sw-{suffix}"
        self.ports: list[str] = []
        self._log = KernelLog()
        try:
            self.netns = Namespace("sw")
        except BaseException:
            self._log.close()
            raise
        self.netns.ip(
            f"link add name {self.bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {self.bridge} addrgenmode none up",
        )

    def connect(self, netns: Namespace, device: str, *, guard: bool) -> str:
        """Plug a new cable in: `device` appears in `netns`. Returns the switch's port.

        The port forwards at once, as an edge port does.
        """
        port = f"et{len(self.ports) + 1}-{self._suffix}"
        with self._spanning_tree_off():
            self.netns.ip(
                f"link add name {port} type veth peer name {device} netns {netns.name}",
                f"link set {port} addrgenmode none master {self.bridge} up",
            )
            if guard:
                self.netns.bridge(f"link set dev {port} guard on")
            netns.ip(f"link set {device} addrgenmode none up")
            self.ports.append(port)
            wait_until(lambda: self.state(port) == "forwarding", 5, f"{port} to forward")
        return port

    def state(self, port: str | None = None) -> str:
        """'forwarding', or 'disabled' after a BPDU; the first port's unless named."""
        done = self.netns.run(["bridge", "-json", "link", "show", "dev", port or self.ports[0]])
        state: str = json.loads(done.stdout)[0]["state"]
        return state

    def log(self) -> list[str]:
        """What the kernel logged about BPDUs on this switch's ports since it was made."""
        return self._log.lines(self.bridge, "BPDU")

    def wait_until_disabled(self, port: str | None = None, timeout_s: float = 10) -> str:
        """Wait for the guard to trip and return its log line. Raises TimeoutError."""
        name = port or self.ports[0]
        wait_until(lambda: self.state(name) == "disabled", timeout_s, f"{name} to err-disable")
        wait_until(lambda: self._log.lines(name, "BPDU"), timeout_s, f"a log line about {name}")
        return self._log.lines(name, "BPDU")[-1]

    def reset_port(self, port: str | None = None) -> None:
        """Bring an err-disabled port back, as `shutdown` and `no shutdown` do."""
        name = port or self.ports[0]
        with self._spanning_tree_off():
            self.netns.bridge(f"link set dev {name} state 3")

    def capture(self, port: str | None = None) -> WireCounter:
        """Count what arrives at a port from now on, exactly."""
        return WireCounter(self.netns, port or self.ports[0])

    def close(self) -> None:
        """Unplug everything; may be called again."""
        self._log.close()
        self.netns.close()

    @contextlib.contextmanager
    def _spanning_tree_off(self) -> Iterator[None]:
        # With spanning tree on, a new port listens and learns for four seconds,
        # and the kernel lets nobody else set a port's state.
        self.netns.ip(f"link set {self.bridge} type bridge stp_state 0")
        try:
            yield
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.netns.ip(f"link set {self.bridge} type bridge stp_state 1")
