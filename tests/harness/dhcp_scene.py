# SPDX-License-Identifier: Apache-2.0
"""A lab with the daemon, guests that get their addresses by DHCP, and what the daemon says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.harness.closing import Closing
from tests.harness.daemon import Sentinel, Tables
from tests.harness.dhcp_clients import DhcpClient
from tests.harness.dhcp_servers import SERVER6, DhcpServer, Dnsmasq, IscDhcpd, Terms, turn_on_ipv6
from tests.harness.guests import Guest
from tests.harness.hypervisor import Lab
from tests.harness.namespaces import Namespace
from tests.harness.waiting import wait_until

SHORT = Terms(lease_s=20, t1_s=6, t2_s=13)
"""The shortest that dhclient and dhcpcd keep: dhcpcd makes 20 s of less."""
CALM = Terms(lease_s=30, t1_s=10, t2_s=20)
"""The shortest that all three keep: udhcpc renews after 15 s at the earliest."""
STILL = Terms(lease_s=600)
"""Nobody renews while a test looks, on an emulated machine either."""
LONG = Terms(lease_s=120, t1_s=5, t2_s=60)
"""dnsmasq's shortest lease, which dhclient and dhcpcd renew early on."""

LEASE_KEYS = {
    "port", "ifindex", "vm", "family", "mac", "client_id", "client", "address", "addresses",
    "server", "server_mac", "state", "lease_ns", "remaining_ns", "t1_wall_ns", "t2_wall_ns",
    "expires_wall_ns", "acked_wall_ns", "host_name", "vid", "relay", "trouble",
}  # fmt: skip
STEP_KEYS = {
    "time_wall_ns", "gap_ns", "place", "device", "direction", "passed", "name", "xid", "address",
    "server", "note", "count",
}  # fmt: skip

LONGEST_TEST_NS = 600_000_000_000

Part = TypeVar("Part", bound=Closing)
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class DhcpScene:
    """See `dhcp_scene`."""

    lab: Lab
    sentinel: Sentinel
    parts: contextlib.ExitStack
    family: int

    @property
    def hypervisor(self) -> Namespace:
        """Where taps, bridge and daemon are."""
        return self.lab.hypervisor.netns

    @property
    def uplink(self) -> str:
        """The uplink's name."""
        return self.lab.hypervisor.uplink

    def guest(self, name: str) -> Guest:
        """One of the guests."""
        return self.lab.hypervisor.guests[name]

    def add(self, part: Part) -> Part:
        """Close it with the scene."""
        self.parts.callback(part.close)
        return part

    def serve(
        self, kind: type[Dnsmasq] | type[IscDhcpd] = IscDhcpd, terms: Terms = SHORT
    ) -> DhcpServer:
        """Start a server outside, behind the switch."""
        server = self.add(kind(self.lab.outside.netns, family=self.family, terms=terms))
        server.start()
        return server

    def run(self, client: DhcpClient) -> DhcpClient:
        """Start a client and wait for its lease."""
        self.add(client)
        client.start()
        client.lease(30)
        return client

    # What the daemon says.

    def leases(self, port: str | None = None) -> list[Document]:
        """`dhcp --json`; those of one port if named."""
        found: list[Document] = self.sentinel.json("dhcp")
        return [one for one in found if port in (None, one["port"])]

    def ladder(self, port: str) -> Document:
        """`dhcp PORT --json`."""
        found: Document = self.sentinel.json("dhcp", port)
        return found

    def exchange(self, port: str) -> list[Document]:
        """The last exchange of the newest client of a port."""
        found: list[Document] = self.ladder(port)["clients"][0]["exchange"]
        return found

    def wait_for_lease(self, port: str, timeout_s: float = 10, **wanted: object) -> Document:
        """Wait until a port has a lease whose document says all of `wanted`.

        Raises TimeoutError with what there is, as everything here that waits.
        """

        def found() -> Document | None:
            for one in self.leases(port):
                if all(one[key] == value for key, value in wanted.items()):
                    return one
            return None

        return self._wait(found, timeout_s, port, f"a lease of {port} with {wanted}")

    def verdicts(self, port: str | None = None, check: str = "dhcp") -> list[Document]:
        """The incidents of a check, oldest first."""
        found = [one for one in self.sentinel.incidents(port) if one["check"] == check]
        return found[::-1]

    def causes(self, port: str | None = None) -> set[str]:
        """Their causes."""
        return {one["detail"] for one in self.verdicts(port)}

    def wait_for_verdict(self, port: str, cause: str, timeout_s: float) -> Document:
        """Wait for an incident with this cause; returns the oldest."""
        return self._wait(
            lambda: next((one for one in self.verdicts(port) if one["detail"] == cause), None),
            timeout_s,
            port,
            f"the verdict {cause} of {port}",
        )

    def at_each_verdict(
        self, ports: Collection[str], cause: str, timeout_s: float, act: Callable[[str], None]
    ) -> None:
        """Do something at each of these ports as soon as it has an incident with this cause."""
        left = set(ports)

        def done() -> bool:
            for port in sorted(left):
                if cause in self.causes(port):
                    act(port)
                    left.remove(port)
            return not left

        try:
            wait_until(done, timeout_s, f"the verdict {cause} of {sorted(ports)}", 0.1)
        except TimeoutError as late:
            late.add_note("\n".join(self.told(port) for port in sorted(left)))
            raise

    def wait_for_end(self, port: str, cause: str, timeout_s: float) -> Document:
        """Wait until every incident of that cause is closed; returns the newest."""

        def closed() -> Document | None:
            found = [one for one in self.verdicts(port) if one["detail"] == cause]
            done = found and all(one["closed_wall_ns"] is not None for one in found)
            return found[-1] if done else None

        return self._wait(closed, timeout_s, port, f"the end of {cause} of {port}")

    def open_causes(self, port: str) -> set[str]:
        """The causes of its incidents that are not over."""
        return {one["detail"] for one in self.verdicts(port) if one["closed_wall_ns"] is None}

    def assert_open(self, port: str, causes: Collection[str]) -> None:
        """These are told of a port, and are not over."""
        found = self.open_causes(port)
        assert found >= set(causes), f"open: {sorted(found)}\n{self.told(port)}"

    def assert_over(self, port: str, causes: Collection[str]) -> None:
        """Wait until these are over and the client is well; nothing else was told."""
        self.wait_for_lease(port, 30, state="bound", trouble=[])
        for cause in causes:
            self.wait_for_end(port, cause, 30)
        self.assert_only(port, causes)

    def assert_quiet(self, *ports: str) -> None:
        """No incident of any check at any of these ports."""
        for port in ports:
            assert not self.sentinel.incidents(port), self.told(port)

    def assert_only(self, port: str, causes: Collection[str]) -> None:
        """No verdict about a port but these."""
        more = self.causes(port) - set(causes)
        assert not more, f"{sorted(more)} of {port}\n{self.told(port)}"

    def told(self, port: str) -> str:
        """All that the command line says about a port's leases, for people."""
        said = [self.sentinel.cli("dhcp", port), self.sentinel.cli("incidents", "-v")]
        return "\n".join(one.stdout + one.stderr for one in said)

    def _wait(
        self, predicate: Callable[[], Document | None], timeout_s: float, port: str, what: str
    ) -> Document:
        try:
            return wait_until(predicate, timeout_s, what, 0.2) or {}
        except TimeoutError as late:
            late.add_note(self.told(port))
            raise


@contextlib.contextmanager
def dhcp_scene(
    names: Sequence[str],
    tables: Tables | None = None,
    *,
    family: int = 4,
    start: bool = True,
) -> Iterator[DhcpScene]:
    """Guests with these taps and no address, a daemon that watches them.

    With `family` 6 guests and the host outside have IPv6 too.
    """
    with (
        Lab() as lab,
        Sentinel(lab.hypervisor.netns, tables) as sentinel,
        contextlib.ExitStack() as parts,
    ):
        if family == 6:
            turn_on_ipv6(lab.outside.netns, address=SERVER6)
        for name in names:
            guest = lab.add_guest(name)
            guest.netns.ip(f"address flush dev {guest.device}")
            if family == 6:
                turn_on_ipv6(guest.netns)
        if start:
            sentinel.start([*names, lab.hypervisor.uplink])
        yield DhcpScene(lab, sentinel, parts, family)


def texts(incident: Document) -> str:
    """Everything that an incident says in words, in one string."""
    return "\n".join(
        [incident["summary"], *(f"{one['place']} {one['text']}" for one in incident["evidence"])]
    )


def assert_verdict(
    scene: DhcpScene, incident: Document, *, address: str = "", places: Collection[str] = ()
) -> None:
    """It is about its port's guest, cuts nothing, is told by `dhcp` too, and has a time line.

    `places` are all that its evidence names; none given: the port, and no other port.
    """
    port = incident["port"]
    assert (incident["check"], incident["action"]) == ("dhcp", "count")
    assert (incident["verdict"], incident["uplink"]) == ("passed", False)
    assert incident["ifindex"] == scene.sentinel.port(port)["ifindex"]
    assert incident["mac"] == scene.guest(port).mac
    assert incident["frames"] >= 1
    assert incident["summary"].startswith(f"{port}: ")
    assert address in texts(incident)
    assert_time_line(incident)
    named = {one["place"] for one in incident["evidence"]}
    assert named == set(places) if places else named <= {port, scene.uplink}
    if incident["closed_wall_ns"] is None:
        (lease,) = (one for one in scene.leases(port) if one["mac"] == incident["mac"])
        assert incident["detail"] in lease["trouble"], f"{lease}\n{scene.told(port)}"


def assert_time_line(incident: Document) -> None:
    """Evidence is there, in order, each moment with a place and a text, none of the future."""
    moments = incident["evidence"]
    assert moments
    times = [one["time_ns"] for one in moments]
    assert times == sorted(times)
    assert all(one["place"] and one["text"] for one in moments)
    assert times[-1] <= time.time_ns()
    # A lease may have been got long before its trouble, but not before the test.
    assert times[0] > time.time_ns() - LONGEST_TEST_NS
