# SPDX-License-Identifier: Apache-2.0
"""Real DHCP servers: dnsmasq and ISC dhcpd, for IPv4 or IPv6, anywhere in the lab.

Outside, behind the switch, so that every message passes the uplink; beside the
hypervisor's bridge, as Neutron's agent runs them; or inside a guest, as a rogue.

dnsmasq gives no lease of less than 120 s (its manual), but sends the T1 and T2 it
is told to; dhcpd gives leases of any length.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.closing import Closing
from tests.harness.hosts import PREFIX_BITS, Host
from tests.harness.hypervisor import NETWORK, Hypervisor
from tests.harness.namespaces import Namespace
from tests.harness.sealed import Sealed
from tests.harness.waiting import wait_until

NETWORK6 = "2001:db8:2::"
SERVER6 = f"{NETWORK6}1"
PREFIX6_BITS = 64
FIRST, LAST = 100, 199
"""Last parts of the addresses that are given away, in both families."""

AGENT_MAC = "fa:16:3e:d4:00:02"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a server gives away. T1 and T2 of 0 leave them to the server's rule.

    `fixed` are addresses by MAC (IPv4) or by client DUID with colons (IPv6).
    """

    lease_s: int = 120
    t1_s: int = 0
    t2_s: int = 0
    first: int = FIRST
    last: int = LAST
    network: str = NETWORK
    router: str = f"{NETWORK}.1"
    fixed: Mapping[str, str] = field(default_factory=dict)


class DhcpServer(Sealed):
    """A server on one device of a namespace; `family` is 4 or 6."""

    def __init__(
        self,
        netns: Namespace,
        program: str,
        *,
        device: str = "eth0",
        family: int = 4,
        terms: Terms | None = None,
        copied: bool = False,
    ) -> None:
        super().__init__(netns, program, copied=copied)
        self.device = device
        self.family = family
        self.terms = terms or Terms()
        self.leases = self.directory / "leases"
        self.leases.touch()

    def start(self) -> None:
        """Start it and wait until it listens."""
        super().start()
        port = 67 if self.family == 4 else 547
        wait_until(lambda: self._listens(port), 10, f"{self.name} to listen; {self.log()}")

    def said(self, *words: str) -> int:
        """How many lines of its log contain all these words, as DHCPACK and a MAC."""
        return sum(all(word in line for word in words) for line in self.log().splitlines())

    def _listens(self, port: int) -> bool:
        if not self.running:
            raise RuntimeError(f"{self.name} ended with {self.returncode}:\n{self.log()}")
        with self.netns.enter():
            table = Path(f"/proc/thread-self/net/udp{'' if self.family == 4 else '6'}").read_text()
        return any(
            line.split()[1].endswith(f":{port:04X}") for line in table.splitlines()[1:] if line
        )


class Dnsmasq(DhcpServer):
    """dnsmasq, without DNS, its addresses in order."""

    def __init__(
        self,
        netns: Namespace,
        *,
        device: str = "eth0",
        family: int = 4,
        terms: Terms | None = None,
        authoritative: bool = True,
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(netns, "dnsmasq", device=device, family=family, terms=terms)
        self.extra = ("--dhcp-authoritative", *extra) if authoritative else tuple(extra)

    def arguments(self) -> list[str | Path]:
        """Everything by options: no configuration file is read."""
        terms = self.terms
        words: list[str | Path] = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--user=root",
            "--log-facility=-",
            "--log-dhcp",
            f"--interface={self.device}",
            "--except-interface=lo",
            "--bind-interfaces",
            "--no-ping",
            "--no-hosts",
            "--no-resolv",
            "--pid-file",
            f"--dhcp-leasefile={self.leases}",
        ]
        if self.family == 4:
            words += [
                "--dhcp-sequential-ip",
                f"--dhcp-range={terms.network}.{terms.first},{terms.network}.{terms.last},"
                f"{terms.lease_s}s",
                f"--dhcp-option=option:router,{terms.router}",
            ]
            words += [f"--dhcp-host={mac},{address}" for mac, address in terms.fixed.items()]
            # An option for T1 or T2 takes the place of what dnsmasq would reckon.
            words += [f"--dhcp-option-force=option:T1,{terms.t1_s}"] if terms.t1_s else []
            words += [f"--dhcp-option-force=option:T2,{terms.t2_s}"] if terms.t2_s else []
        else:
            words.append(
                f"--dhcp-range={NETWORK6}{terms.first},{NETWORK6}{terms.last},"
                f"{PREFIX6_BITS},{terms.lease_s}s"
            )
            words += [f"--dhcp-host=id:{duid},[{address}]" for duid, address in terms.fixed.items()]
        return [*words, *self.extra]


class IscDhcpd(DhcpServer):
    """ISC dhcpd, authoritative, without a ping before it offers."""

    def __init__(
        self,
        netns: Namespace,
        *,
        device: str = "eth0",
        family: int = 4,
        terms: Terms | None = None,
        statements: str = "",
    ) -> None:
        super().__init__(netns, "dhcpd", device=device, family=family, terms=terms, copied=True)
        self.config = self.directory / "dhcpd.conf"
        self.statements = statements

    def arguments(self) -> list[str | Path]:
        """In the foreground, its log on stderr."""
        self.config.write_text(self._config())
        return [
            f"-{self.family}", "-f", "-d", "-cf", self.config, "-lf", self.leases,
            "-pf", self.directory / "pid", self.device,
        ]  # fmt: skip

    def _config(self) -> str:
        terms = self.terms
        lines = [
            "authoritative;",
            "ddns-update-style none;",
            f"default-lease-time {terms.lease_s};",
            f"max-lease-time {terms.lease_s};",
            f"min-lease-time {terms.lease_s};",
        ]
        lines += [f"option dhcp-renewal-time {terms.t1_s};"] if terms.t1_s else []
        lines += [f"option dhcp-rebinding-time {terms.t2_s};"] if terms.t2_s else []
        if self.family == 4:
            lines += [
                "ping-check false;",
                "one-lease-per-client true;",
                f"subnet {terms.network}.0 netmask {_netmask()} {{",
                f"  range {terms.network}.{terms.first} {terms.network}.{terms.last};",
                f"  option routers {terms.router};",
                "}",
            ]
            for number, (mac, address) in enumerate(terms.fixed.items()):
                lines.append(
                    f"host h{number} {{ hardware ethernet {mac}; fixed-address {address}; }}"
                )
        else:
            lines += [
                f"preferred-lifetime {terms.lease_s};",
                f"subnet6 {NETWORK6}/{PREFIX6_BITS} {{",
                f"  range6 {NETWORK6}{terms.first} {NETWORK6}{terms.last};",
                "}",
            ]
            for number, (duid, address) in enumerate(terms.fixed.items()):
                lines.append(
                    f"host h{number} {{ host-identifier option dhcp6.client-id {duid}; "
                    f"fixed-address6 {address}; }}"
                )
        return "\n".join([*lines, self.statements, ""])


class Agent(Host, Closing):
    """A namespace on the hypervisor's bridge: what Neutron's DHCP agent lives in.

    Its end on the bridge is a veth with a port's name, as Neutron's is, and no VM's.
    """

    def __init__(self, hypervisor: Hypervisor, address: str = f"{NETWORK}.2") -> None:
        part = secrets.token_hex(4)
        super().__init__("agent", AGENT_MAC, address, f"ns-{part}")
        self.leg = f"tap{part}-7e"
        try:
            hypervisor.netns.ip(
                f"link add name {self.leg} type veth peer name {self.device} "
                f"netns {self.netns.name}",
                f"link set {self.leg} addrgenmode none master {hypervisor.bridge} up",
            )
            self.configure()
        except BaseException:
            self.close()
            raise


def turn_on_ipv6(netns: Namespace, device: str = "eth0", address: str = "") -> None:
    """Give a device IPv6: a link-local address that is good at once, and `address`.

    No router is looked for, and no address is tried out first.
    """
    settings = {"accept_ra": "0", "accept_dad": "0", "dad_transmits": "0", "disable_ipv6": "0"}
    with netns.enter():
        for scope in ("all", "default", device):
            for key, value in settings.items():
                Path(f"/proc/sys/net/ipv6/conf/{scope}/{key}").write_text(value)
    # The mode counts when the device comes up, and has to be there before.
    lines = [f"link set {device} {words}" for words in ("addrgenmode eui64", "down", "up")]
    if address:
        lines.append(f"address replace {address}/{PREFIX6_BITS} dev {device} nodad")
    netns.ip(*lines)
    wait_until(lambda: _has_link_local(netns, device), 5, f"{device} to have a link-local address")


def _has_link_local(netns: Namespace, device: str) -> bool:
    shown = netns.run(["ip", "-o", "-6", "address", "show", "dev", device, "scope", "link"]).stdout
    return "inet6" in shown and "tentative" not in shown


def _netmask() -> str:
    return str(ipaddress.IPv4Network(f"{NETWORK}.0/{PREFIX_BITS}").netmask)
