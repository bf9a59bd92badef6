# SPDX-License-Identifier: Apache-2.0
"""Guests under load stop draining their receive queues: leases go, and DHCP gets the blame.

A guest asks, the server answers, the answers pass towards the guest, and the guest
asks again until it has no address. What an operator has to be told: since when the
guest was silent, and that its queue is not being drained.
"""

from __future__ import annotations

import contextlib
import re
import socket
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
from tests.harness.dhcp_seen import FramesSeen, MessagesSeen
from tests.harness.dhcp_servers import DhcpServer, Dnsmasq, IscDhcpd, Terms
from tests.harness.frames import mac_bytes
from tests.harness.guarded import needs_daemon
from tests.harness.guest_traffic import TALK_TYPE, Datagrams, Load, Talking, tap_queue
from tests.harness.hosts import Host
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
        for port, kind in PORTS.items():
            guest = scene.guest(port)
            clients[port] = scene.run(kind(guest.netns))
            guest.address = clients[port].addresses()[0]
            # So that renewals and answers go out, though one of the two hears nothing.
            know(guest, scene.lab.outside)
            know(scene.lab.outside, guest)
            scene.wait_for_lease(port, state="bound")
        yield Leased(scene, clients, server)


def know(one: Host, other: Host) -> None:
    """One needs not ask for the other's hardware address."""
    one.netns.ip(
        f"neighbour replace {other.address} lladdr {other.mac} dev {one.device} nud permanent"
    )


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


def is_talk(guest: Host, frame: bytes) -> bool:
    """Whether it is the guest's and no housekeeping: a frame of `Talking`, or an ICMP error."""
    is_icmp = frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_ICMP
    return frame[6:12] == mac_bytes(guest.mac) and (is_icmp or frame[12:14] == TALK_TYPE)


def test_the_gap_before_the_renewal_is_the_measured_one() -> None:
    """dhcpcd keeps T1 to the millisecond, so the guest can fall silent shortly before."""
    with dhcp_scene(["tapone"]) as scene:
        scene.serve(IscDhcpd, SHORT)
        guest = scene.guest("tapone")
        client = scene.run(Dhcpcd(guest.netns))
        guest.address = client.addresses()[0]
        know(guest, scene.lab.outside)
        with (
            FramesSeen(scene.hypervisor, "tapone", lambda frame: is_talk(guest, frame)) as said,
            MessagesSeen(scene.hypervisor, "tapone") as asked,
        ):
            with Talking(guest, every_s=0.005):
                due_ns = scene.wait_for_lease("tapone", state="bound")["t1_wall_ns"]
                soon_ns = due_ns - 300 * MILLISECOND_NS
                wait_until(lambda: time.time_ns() > soon_ns, 10, "the renewal")
            with Datagrams(scene.lab.outside, guest, per_s=200):
                guest.stop_reading()
                incident = scene.wait_for_verdict("tapone", "queue_stalled", 25)
            silent_ns = said.frames()[-1][0]
            renewal_ns = next(at for at, _ in asked.typed(guest.mac) if at > silent_ns)
        match = SILENCE.search(incident["summary"])
        assert match, incident["summary"]
        measured_ms = (renewal_ns - silent_ns) / MILLISECOND_NS
        assert measured_ms < 1000
        # Of the frames in one tick of the kernel the first is the one that is noted.
        assert abs(gap_ms(match) - measured_ms) < 20


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


def test_a_server_that_no_longer_reaches_the_guest_is_not_blamed(leased: Leased) -> None:
    """A guest that hears nothing answers no ARP, and so a server's answers do not even leave it."""
    scene, outside = leased.scene, leased.scene.lab.outside
    for port in PORTS:
        scene.guest(port).stop_reading()
        outside.netns.ip(f"neighbour delete {leased.address(port)} dev {outside.device}")
    for cause in ("queue_stalled", "lease_lost"):
        for port in PORTS:
            incident = scene.wait_for_verdict(port, cause, 40)
            assert_verdict(scene, incident, address=leased.address(port))
            assert "receive queue is not being drained" in incident["summary"]
            assert incident["summary"].endswith("Not a DHCP fault.")
    for port in PORTS:
        scene.guest(port).read_on()
    for port, client in leased.clients.items():
        client.lease(60)
        scene.assert_over(port, {"queue_stalled", "lease_lost"})
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
