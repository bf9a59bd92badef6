# SPDX-License-Identifier: Apache-2.0
"""A host with an IP stack of its own: a namespace, an address, a MAC."""

from __future__ import annotations

from tests.harness.namespaces import Namespace
from tests.harness.pinger import Pinger, Tally

PREFIX_BITS = 24


class Host:
    """Owns its namespace; the device is made there by whoever connects it."""

    def __init__(self, role: str, mac: str, address: str, device: str = "eth0") -> None:
        self.mac = mac
        self.address = address
        self.device = device
        self.netns = Namespace(role)

    def configure(self, device: str | None = None) -> None:
        """Give the device its MAC and address and set it up."""
        name = device or self.device
        self.netns.ip(
            f"link set {name} address {self.mac} addrgenmode none",
            f"address replace {self.address}/{PREFIX_BITS} dev {name}",
            f"link set {name} up",
        )

    def ping(
        self, dst: str | Host, count: int = 5, interval_s: float = 0.05, timeout_s: float = 1.0
    ) -> Tally:
        """Ping to the end and sum up."""
        with self.pinging(dst, interval_s, timeout_s, count) as pinger:
            return pinger.wait()

    def pinging(
        self, dst: str | Host, interval_s: float = 0.1, timeout_s: float = 1.0, count: int = 0
    ) -> Pinger:
        """Ping in the background, until stopped unless `count` is given."""
        address = dst.address if isinstance(dst, Host) else dst
        return Pinger(self.netns, address, interval_s=interval_s, timeout_s=timeout_s, count=count)

    def close(self) -> None:
        """Remove the namespace; may be called again."""
        self.netns.close()
