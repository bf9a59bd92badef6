# SPDX-License-Identifier: Apache-2.0
"""Real DHCP clients in a guest's namespace, with private leases: dhclient, udhcpc, dhcpcd.

Each sets and removes the address in the guest's own namespace, and tells every
change in a file.
"""

from __future__ import annotations

import json
import signal
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.namespaces import Namespace
from tests.harness.sealed import Sealed
from tests.harness.waiting import wait_until

# One line a change: wall clock in ns, why, the address as the client has it.
TELL = """#!/bin/sh
tell() { echo "$(date +%s%N) $1 ${2:--}" >>EVENTS; }
"""

DHCLIENT_SCRIPT = """
tell "$reason" "${new_ip_address:-$new_ip6_address}"
case "$reason" in
BOUND|RENEW|REBIND|REBOOT)
	ip address replace "$new_ip_address/24" dev "$interface"
	if [ -n "$old_ip_address" ] && [ "$old_ip_address" != "$new_ip_address" ]; then
		ip address delete "$old_ip_address/24" dev "$interface"
	fi ;;
BOUND6|RENEW6|REBIND6)
	ip address replace "$new_ip6_address/128" dev "$interface" nodad ;;
EXPIRE|FAIL|STOP|RELEASE)
	ip -4 address flush dev "$interface" ;;
EXPIRE6|STOP6|RELEASE6)
	ip address delete "$old_ip6_address/128" dev "$interface" ;;
TIMEOUT)
	exit 1 ;;
esac
exit 0
"""

UDHCPC_SCRIPT = """
tell "$1" "$ip"
case "$1" in
bound|renew) ip address replace "$ip/24" dev "$interface" ;;
deconfig) ip -4 address flush dev "$interface" ;;
esac
exit 0
"""

DHCPCD_SCRIPT = """
tell "$reason" "${new_ip_address:-$new_dhcp6_ia_na1_ia_addr1}"
exit 0
"""

LOST = frozenset(
    {"EXPIRE", "FAIL", "STOP", "RELEASE", "NAK", "EXPIRE6", "STOP6", "RELEASE6", "deconfig"}
)
"""Reasons that take the address away, in the words of all three."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a client told its script."""

    time_ns: int  # CLOCK_REALTIME, when the script ran
    reason: str
    address: str | None


class DhcpClient(Sealed):
    """A client on one device; `family` is 4 or 6."""

    def __init__(
        self,
        netns: Namespace,
        program: str,
        script: str,
        *,
        device: str = "eth0",
        family: int = 4,
        private: Sequence[str] = (),
        copied: bool = False,
    ) -> None:
        super().__init__(netns, program, private=private, copied=copied)
        self.device = device
        self.family = family
        self._events = self.directory / "events"
        self.script = self.directory / "script"
        self.script.write_text(TELL.replace("EVENTS", str(self._events)) + script)
        self.script.chmod(0o755)

    @abstractmethod
    def release(self) -> None:
        """Give the lease back."""

    def addresses(self) -> list[str]:
        """The device's addresses of this family and of more than the link, as the kernel has it."""
        shown = self.netns.run(
            ["ip", "-json", f"-{self.family}", "address", "show", "dev", self.device]
        )
        found = []
        for link in json.loads(shown.stdout or "[]"):
            for one in link.get("addr_info", []):
                if one.get("scope") == "global" and not one.get("tentative"):
                    found.append(str(one["local"]))
        return found

    def changes(self, reasons: Collection[str] = ()) -> list[Change]:
        """Everything told so far, oldest first; only those `reasons`, if any are named."""
        if not self._events.exists():
            return []
        found = []
        for line in self._events.read_text().splitlines():
            time_ns, reason, address = line.split(" ")
            if not reasons or reason in reasons:
                found.append(Change(int(time_ns), reason, None if address == "-" else address))
        return found

    def lease(self, timeout_s: float = 20) -> str:
        """Wait until the device has an address and say which. Raises TimeoutError."""
        try:
            return wait_until(self.addresses, timeout_s, f"{self.name} to get an address", 0.05)[0]
        except TimeoutError as late:
            late.add_note(f"changes {self.changes()}\n{self.log()[-3000:]}")
            raise

    def wait_for_loss(self, timeout_s: float) -> None:
        """Wait until the device has no address. Raises TimeoutError."""
        wait_until(lambda: not self.addresses(), timeout_s, f"{self.name} to lose its address", 0.1)

    def wait_for_renewals(self, more: int, timeout_s: float) -> None:
        """Wait until so many answers more than now confirmed the lease."""
        goal = self.renewals() + more
        wait_until(
            lambda: self.renewals() >= goal, timeout_s, f"{self.name} to renew {more} times", 0.1
        )

    def renewals(self) -> int:
        """How often a lease was confirmed after the first time."""
        return len(self.changes({"RENEW", "REBIND", "RENEW6", "REBIND6", "renew"}))


def wait_for_all_to_renew(clients: Iterable[DhcpClient], more: int, timeout_s: float) -> None:
    """Like `wait_for_renewals`, of several at a time."""
    goals = [(client, client.renewals() + more) for client in clients]

    def renewed() -> bool:
        return all(client.renewals() >= goal for client, goal in goals)

    names = [f"{client.name} {client.renewals()}/{goal}" for client, goal in goals]
    wait_until(renewed, timeout_s, f"{more} renewals; at first {names}", 0.1)


class Dhclient(DhcpClient):
    """ISC dhclient: unicast at T1, broadcast at T2, gives up at expiry and begins anew.

    Takes a lease of any length. Renews between 0.75 and 1.1 of T1 (measured), then
    asks again each 1 to 4.5 s as configured here. IPv6: the first lease takes 8 s,
    and one that asked in the very moment when its lease ended may never ask again.
    """

    def __init__(
        self, netns: Namespace, *, device: str = "eth0", family: int = 4, extra: str = ""
    ) -> None:
        super().__init__(
            netns, "dhclient", DHCLIENT_SCRIPT, device=device, family=family, copied=True
        )
        self.leases = self.directory / "leases"
        self.leases.touch()
        self._config = self.directory / "dhclient.conf"
        self._config.write_text(
            "timeout 20; retry 3; reboot 3; select-timeout 0;\n"
            "initial-interval 1; initial-delay 0; backoff-cutoff 3;\n" + extra + "\n"
        )

    def arguments(self) -> list[str | Path]:
        """In the foreground, its log on stderr."""
        words: list[str | Path] = [
            f"-{self.family}", "-d", "-cf", self._config, "-lf", self.leases,
            "-pf", self.directory / "pid", "-sf", self.script,
        ]  # fmt: skip
        return [*words, *(["-D", "LL"] if self.family == 6 else []), self.device]

    def release(self) -> None:
        """Give the lease back and end."""
        words = self.arguments()
        self.netns.run([self.program, "-r", *words[:1], *words[2:]], timeout_s=20)
        wait_until(lambda: not self.running, 10, "dhclient to end")


class Udhcpc(DhcpClient):
    """Busybox's udhcpc, for IPv4.

    Knows neither T1 nor T2: it renews after half the lease, and takes one of less
    than 30 s for one of 30 s (measured: 15 s of 16, of 20 and of 30; 60 s of 120). With
    less than 60 s left it broadcasts at once.
    """

    def __init__(
        self, netns: Namespace, *, device: str = "eth0", extra: Sequence[str] = ()
    ) -> None:
        super().__init__(netns, "busybox", UDHCPC_SCRIPT, device=device)
        self._extra = tuple(extra)

    def arguments(self) -> list[str | Path]:
        """In the foreground; a discover each second, a pause of 3 s after three of them."""
        return [
            "udhcpc", "-f", "-i", self.device, "-s", self.script, "-p", self.directory / "pid",
            "-t", "3", "-T", "1", "-A", "3", *self._extra,
        ]  # fmt: skip

    def release(self) -> None:
        """Give the lease back; the client stays and waits to be told to renew."""
        self.signal(signal.SIGUSR2)


class Dhcpcd(DhcpClient):
    """dhcpcd 9: asks by ARP before it takes an address (RFC 5227) if `arp` is on.

    Takes a lease of less than 20 s for one of 20 s, and keeps T1 and T2 to the
    millisecond (measured). Asks again after 4 to 5 s, then 8. Its release is lost if
    the server's hardware address has to be asked for first: it does not wait.
    """

    def __init__(
        self,
        netns: Namespace,
        *,
        device: str = "eth0",
        family: int = 4,
        arp: bool = False,
        extra: str = "",
    ) -> None:
        super().__init__(
            netns,
            "dhcpcd",
            DHCPCD_SCRIPT,
            device=device,
            family=family,
            private=("/var/lib/dhcpcd", "/run"),
        )
        self._config = self.directory / "dhcpcd.conf"
        lines = ["duid ll", "clientid", "noipv4ll", "noipv6rs", "timeout 0", "persistent", extra]
        lines += [] if arp else ["noarp"]
        lines += ["ipv6only", "ia_na 1"] if family == 6 else ["ipv4only"]
        self._config.write_text("\n".join(lines) + "\n")

    def arguments(self) -> list[str | Path]:
        """In the foreground, its log on stderr."""
        return ["-B", "-d", "-f", self._config, "-c", self.script, self.device]

    def release(self) -> None:
        """Give the lease back and end. Raises TimeoutError."""
        for tries_left in (3, 2, 1, 0):
            # A signal that comes while its script runs is lost now and then.
            self.signal(signal.SIGALRM)
            try:
                wait_until(lambda: not self.running, 3, "dhcpcd to end")
            except TimeoutError as late:
                if tries_left:
                    continue
                late.add_note(f"changes {self.changes()}\n{self.log()[-3000:]}")
                raise
            return
