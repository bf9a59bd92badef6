# SPDX-License-Identifier: Apache-2.0
"""Guests under load stop draining their receive queues: leases go, and DHCP gets the blame.

A guest asks, the server answers, the answers pass towards the guest, and the guest
asks again until it has no address. What an operator has to be told: since when the
guest was silent, and that its queue is not being drained.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.harness.dhcp_clients import Dhclient, Dhcpcd, DhcpClient, wait_for_all_to_renew
from tests.harness.dhcp_scene import (
    LONG,
    SHORT,
    DhcpScene,
    Document,
    assert_verdict,
    dhcp_scene,
    texts,
)
from tests.harness.dhcp_servers import DhcpServer, Dnsmasq, IscDhcpd, Terms
from tests.harness.guarded import needs_daemon
from tests.harness.guest_traffic import Datagrams, Load, Talking, tap_queue
from tests.harness.waiting import wait_until

pytestmark = [*needs_daemon, pytest.mark.slow]

PORTS: dict[str, type[Dhclient] | type[Dhcpcd]] = {"tapone": Dhclient, "taptwo": Dhcpcd}
NEIGHBOUR = "tapnext"
MILLISECOND_NS = 1_000_000
SECOND_NS = 1000 * MILLISECOND_NS
SILENCE = re.compile(r"silent since (\d\d:\d\d:\d\d\.\d{3}), ([\d.]+) ?(ms|s) before")


@dataclass(frozen=True, slots=True)
class Leased:
    """Guests of interest and a neighbour, all with leases of a server outside."""

    scene: DhcpScene
    clients: dict[str, DhcpClient]
    server: DhcpServer

    def address(self, port: str) -> str:
        """What the guest had when the scene began."""
        return self.scene.guest(port).address


@pytest.fixture
def leased() -> Iterator[Leased]:
    with dhcp_scene([*PORTS, NEIGHBOUR]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        scene.run(Dhclient(scene.guest(NEIGHBOUR).netns))
        clients: dict[str, DhcpClient] = {}
        outside = scene.lab.outside
        for port, kind in PORTS.items():
            guest = scene.guest(port)
            clients[port] = scene.run(kind(guest.netns))
            guest.address = clients[port].addresses()[0]
            # So that its unicast renewals go out, whatever it can no longer hear.
            guest.netns.ip(
                f"neighbour replace {outside.address} lladdr {outside.mac} "
                f"dev {guest.device} nud permanent"
            )
            scene.wait_for_lease(port, state="bound")
        yield Leased(scene, clients, server)


def stop_reading_before_the_renewals(scene: DhcpScene) -> dict[str, int]:
    """Let each guest stop reading about half way to T1; returns when (CLOCK_REALTIME, ns)."""
    stopped: dict[str, int] = {}

    def all_stopped() -> bool:
        for port in PORTS.keys() - stopped.keys():
            lease = scene.leases(port)[0]
            into_ns = time.time_ns() - lease["acked_wall_ns"]
            half_ns = (lease["t1_wall_ns"] - lease["acked_wall_ns"]) // 2
            if lease["state"] == "bound" and 0 <= into_ns - half_ns < SECOND_NS // 2:
                scene.guest(port).stop_reading()
                stopped[port] = time.time_ns()
        return len(stopped) == len(PORTS)

    wait_until(all_stopped, 60, "the renewals to come near", 0.05)
    return stopped


def gap_ms(silence: re.Match[str]) -> float:
    """How long before the renewal, as it was told."""
    return float(silence[2]) * (1 if silence[3] == "ms" else 1000)


def assert_told(scene: DhcpScene, incident: Document, address: str, stopped_ns: int) -> None:
    """It says what happened: who, since when, the queue, and that it is not DHCP."""
    port, summary = incident["port"], incident["summary"]
    assert_verdict(scene, incident, address=address, places=(port, scene.uplink))
    assert "answered" in summary
    assert "passed towards the guest" in summary
    assert "receive queue is not being drained" in summary
    assert summary.endswith("Not a DHCP fault.")
    said = texts(incident)
    for words in ("DHCPREQUEST", "DHCPACK", "receive queue, read since"):
        assert words in said, scene.told(port)
    match = SILENCE.search(summary)
    assert match, summary
    # The last frame of the load's answers; the clock of the daemon is this machine's.
    silent = datetime.strptime(match[1], "%H:%M:%S.%f")
    stopped = datetime.fromtimestamp(stopped_ns / 1e9, UTC).astimezone()
    apart = (stopped.hour - silent.hour) * 3600 + (stopped.minute - silent.minute) * 60
    apart_s = apart + stopped.second - silent.second
    assert -1 <= apart_s <= 2
    assert 0 <= gap_ms(match) < 8000


def assert_line(scene: DhcpScene, port: str, address: str) -> None:
    """What took days to find stands in one line, for people."""
    (line,) = (
        one
        for one in scene.sentinel.cli("incidents").stdout.splitlines()
        if f"{port}: lease of {address} lost" in one
    )
    assert re.search(
        r"The server answered \d+ times, the replies passed towards the guest; the guest had "
        r"been silent since \d\d:\d\d:\d\d\.\d{3}, [\d.]+ ?m?s before the first renewal; its "
        r"receive queue is not being drained(?: \([^)]*\))?\. Not a DHCP fault\.$",
        line,
    ), line


def test_the_story_under_load(leased: Leased) -> None:
    scene = leased.scene
    guests = {port: scene.guest(port) for port in PORTS}
    with contextlib.ExitStack() as loads:
        carried = [loads.enter_context(Load(scene.lab.outside, one)) for one in guests.values()]
        wait_until(lambda: all(one.received_bytes > 1_000_000 for one in carried), 15, "the loads")
        stopped = stop_reading_before_the_renewals(scene)
        answered = {port: leased.server.said("DHCPACK", guests[port].mac) for port in PORTS}
        taken = {port: tap_queue(scene.hypervisor, port).tx_packets for port in PORTS}
        for port, stopped_ns in stopped.items():
            stalled = scene.wait_for_verdict(port, "queue_stalled", 20)
            assert_told(scene, stalled, leased.address(port), stopped_ns)
        for port, stopped_ns in stopped.items():
            leased.clients[port].wait_for_loss(30)
            lost = scene.wait_for_verdict(port, "lease_lost", 15)
            assert f"lease of {leased.address(port)} lost" in lost["summary"]
            assert_told(scene, lost, leased.address(port), stopped_ns)
            assert_line(scene, port, leased.address(port))
            assert tap_queue(scene.hypervisor, port).tx_packets == taken[port]
            assert leased.server.said("DHCPACK", guests[port].mac) >= answered[port] + 2
            last_sent_ns = scene.ladder(port)["last_sent_wall_ns"]
            assert last_sent_ns >= stopped_ns - 500 * MILLISECOND_NS
        for port, guest in guests.items():
            scene.assert_open(port, {"queue_stalled", "lease_lost"})
            guest.read_on()
        for port in PORTS:
            leased.clients[port].lease(60)
            scene.assert_over(port, {"queue_stalled", "lease_lost"})
    scene.assert_quiet(NEIGHBOUR)


def test_the_gap_before_the_renewal_is_the_measured_one() -> None:
    """dhcpcd keeps T1 to the millisecond, so the gap that is told can be checked."""
    with dhcp_scene(["tapone"]) as scene:
        scene.serve(IscDhcpd, SHORT)
        guest = scene.guest("tapone")
        client = scene.run(Dhcpcd(guest.netns))
        guest.address = client.addresses()[0]
        with Talking(guest, every_s=0.005) as talking:
            lease = scene.wait_for_lease("tapone", state="bound")
            due_ns = lease["t1_wall_ns"]
            wait_until(lambda: time.time_ns() > due_ns - 300 * MILLISECOND_NS, 10, "the renewal")
        with Datagrams(scene.lab.outside, guest, per_s=200):
            guest.stop_reading()
            incident = scene.wait_for_verdict("tapone", "queue_stalled", 25)
            match = SILENCE.search(incident["summary"])
            assert match, incident["summary"]
            asked = [one for one in scene.exchange("tapone") if one["name"] == "DHCPREQUEST"]
            measured_ms = (asked[0]["time_wall_ns"] - talking.last_ns) / MILLISECOND_NS
            assert abs(gap_ms(match) - measured_ms) < 60


def test_a_queue_that_overflows_says_how_much_was_dropped(leased: Leased) -> None:
    scene = leased.scene
    with contextlib.ExitStack() as traffic:
        for port in PORTS:
            guest = scene.guest(port)
            traffic.enter_context(Datagrams(scene.lab.outside, guest, per_s=500))
            traffic.enter_context(Talking(guest))
            guest.stop_reading()
        for port in PORTS:
            stalled = scene.wait_for_verdict(port, "queue_stalled", 30)
            assert_verdict(scene, stalled, address=leased.address(port))
            assert "not being drained" in stalled["summary"]
            # It still talks, and this is no silence.
            assert "silent since" not in stalled["summary"]
        for port in PORTS:
            lost = scene.wait_for_verdict(port, "lease_lost", 40)
            assert_verdict(scene, lost, address=leased.address(port))
            match = re.search(r"(\d+) dropped", lost["summary"])
            assert match, lost["summary"]
            assert 0 < int(match[1]) <= tap_queue(scene.hypervisor, port).tx_dropped
            scene.assert_only(port, {"queue_stalled", "lease_lost"})
    scene.assert_quiet(NEIGHBOUR)


def test_a_short_stall_that_ends_before_the_lease_does_is_no_loss(leased: Leased) -> None:
    scene = leased.scene
    stop_reading_before_the_renewals(scene)
    scene.at_each_verdict(PORTS, "queue_stalled", 20, lambda port: scene.guest(port).read_on())
    wait_for_all_to_renew(leased.clients.values(), 1, 20)
    for port in PORTS:
        scene.assert_over(port, {"queue_stalled"})
    scene.assert_quiet(NEIGHBOUR)


def test_a_neighbour_that_reads_slowly_is_not_accused() -> None:
    """A guest that stands still for less than a moment now and then drains its queue."""
    with dhcp_scene(["tapone"]) as scene:
        scene.serve(Dnsmasq, Terms(lease_s=LONG.lease_s, t1_s=3, t2_s=60))
        guest = scene.guest("tapone")
        client = scene.run(Dhclient(guest.netns))
        guest.address = client.addresses()[0]
        with Load(scene.lab.outside, guest, bytes_per_s=1_000_000):
            goal = client.renewals() + 4

            def slow() -> bool:
                guest.stop_reading()
                guest.read_on()
                return client.renewals() >= goal

            wait_until(slow, 60, "four renewals", 0.3)
        scene.assert_quiet("tapone")
