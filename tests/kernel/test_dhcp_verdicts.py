# SPDX-License-Identifier: Apache-2.0
"""Each verdict from a real fault, with its time line, and its end when the fault ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.harness.closing import Closing
from tests.harness.dhcp_clients import Dhclient, Dhcpcd, DhcpClient
from tests.harness.dhcp_faults import Deaf, RepliesDropped, Squatter
from tests.harness.dhcp_hostile import Asking
from tests.harness.dhcp_scene import SHORT, DhcpScene, assert_verdict, dhcp_scene, texts
from tests.harness.dhcp_servers import Agent, DhcpServer, IscDhcpd, Terms
from tests.harness.guarded import needs_daemon
from tests.harness.guest_traffic import Talking
from tests.harness.hypervisor import NETWORK
from tests.harness.waiting import wait_until

pytestmark = [*needs_daemon, pytest.mark.slow]

PORT, NEIGHBOUR = "tapone", "taptwo"
LOST, DEAF, ASLEEP, STILL = "taplost", "tapdeaf", "tapasleep", "tapstill"
MILLISECOND_NS = 1_000_000
SOON_S = 40
"""A lease of 20 s that nobody renews is lost by then."""


def test_a_server_that_stopped_is_unanswered_and_then_the_leases_are_lost() -> None:
    with dhcp_scene([PORT, NEIGHBOUR]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        clients = {
            PORT: scene.run(Dhclient(scene.guest(PORT).netns)),
            NEIGHBOUR: scene.run(Dhcpcd(scene.guest(NEIGHBOUR).netns)),
        }
        held = {port: client.addresses()[0] for port, client in clients.items()}
        for port in clients:
            scene.wait_for_lease(port, state="bound")
        server.kill()
        for port in clients:
            incident = scene.wait_for_verdict(port, "unanswered", SOON_S)
            assert_verdict(scene, incident, address=held[port], places=(port, scene.uplink))
            assert f"{scene.guest(port).mac} sent DHCP" in incident["summary"]
            assert "no server answered" in incident["summary"]
            assert f"leaving by {scene.uplink}" in incident["summary"]
            assert "DHCPREQUEST" in texts(incident)
        for port in clients:
            lost = scene.wait_for_verdict(port, "lease_lost", SOON_S)
            assert_verdict(scene, lost, address=held[port], places=(port, scene.uplink))
            assert f"lease of {held[port]} lost" in lost["summary"]
            assert "no server answered" in lost["summary"]
            assert "Not a DHCP fault" not in lost["summary"]
            scene.assert_open(port, {"unanswered", "lease_lost"})
        server.start()
        for port, client in clients.items():
            client.lease(40)
            scene.assert_over(port, {"unanswered", "lease_lost"})


def test_an_agent_that_froze_on_the_bridge_was_asked_through_no_uplink() -> None:
    with dhcp_scene([PORT]) as scene:
        agent = scene.add(Agent(scene.lab.hypervisor))
        # Until T2 it renews with the agent itself, and so through no uplink.
        terms = Terms(lease_s=40, t1_s=6, t2_s=35)
        server = scene.add(IscDhcpd(agent.netns, device=agent.device, terms=terms))
        server.start()
        client = scene.run(Dhclient(scene.guest(PORT).netns))
        address = client.addresses()[0]
        server.freeze()
        incident = scene.wait_for_verdict(PORT, "unanswered", SOON_S)
        assert_verdict(scene, incident, address=address, places=[PORT])
        assert "no server answered" in incident["summary"]
        assert f"last seen at {PORT}, at no uplink" in incident["summary"]
        server.thaw()
        client.wait_for_renewals(1, 20)
        scene.assert_over(PORT, {"unanswered"})


@dataclass(frozen=True, slots=True)
class Befallen:
    """Guests with leases of a server outside, and the client in each."""

    scene: DhcpScene
    server: DhcpServer
    clients: dict[str, DhcpClient]

    def address(self, port: str) -> str:
        """What the guest had when the scene began."""
        return self.scene.guest(port).address

    def verdict(self, port: str, cause: str, *said: str) -> None:
        """Wait for a verdict about a guest, and for it to say all this."""
        incident = self.scene.wait_for_verdict(port, cause, SOON_S)
        assert_verdict(self.scene, incident, address=self.address(port))
        for words in said:
            assert words in incident["summary"], self.scene.told(port)


@pytest.fixture
def befallen() -> Iterator[Befallen]:
    kinds = {LOST: Dhclient, DEAF: Dhcpcd, ASLEEP: Dhclient, STILL: Dhcpcd, NEIGHBOUR: Dhclient}
    with dhcp_scene([*kinds]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        clients: dict[str, DhcpClient] = {}
        for port, kind in kinds.items():
            clients[port] = scene.add(kind(scene.guest(port).netns))
            clients[port].start()
        for port, client in clients.items():
            scene.guest(port).address = client.lease(30)
            scene.wait_for_lease(port, state="bound")
        yield Befallen(scene, server, clients)


def test_every_guest_has_the_verdict_of_its_own_fault_and_the_neighbour_none(
    befallen: Befallen,
) -> None:
    """All at once: none of them is taken for another, and each ends with its fault."""
    scene, clients = befallen.scene, befallen.clients
    with ExitStack() as faults:
        enter: Callable[[Closing], Closing] = faults.enter_context
        for port in (DEAF, ASLEEP, STILL):
            enter(Talking(scene.guest(port), every_s=0.02))
        dropping = RepliesDropped(scene.hypervisor, LOST)
        enter(dropping)
        enter(Deaf(scene.guest(DEAF)))
        clients[ASLEEP].freeze()
        scene.guest(STILL).freeze()
        frozen_ns = time.time_ns()

        befallen.verdict(LOST, "reply_lost", "last seen at the uplink " + scene.uplink)
        befallen.verdict(DEAF, "ignored", "passed towards the guest", "drains its receive queue")
        befallen.verdict(ASLEEP, "guest_silent", "still sends")
        befallen.verdict(STILL, "guest_silent", "silent since", "Not a DHCP fault.")
        assert dropping.dropped >= 1
        acks = [one for one in scene.exchange(LOST) if one["name"] == "DHCPACK"]
        assert {one["place"] for one in acks} == {"uplink"}

        lost = {port: f"lease of {befallen.address(port)} lost" for port in clients}
        befallen.verdict(LOST, "lease_lost", lost[LOST], f"the uplink {scene.uplink}")
        befallen.verdict(DEAF, "lease_lost", lost[DEAF], "answered", "ignored")
        befallen.verdict(ASLEEP, "lease_lost", lost[ASLEEP], "still sends")
        befallen.verdict(STILL, "lease_lost", lost[STILL], "silent since", "Not a DHCP fault.")
        assert_last_sent(scene, STILL, frozen_ns)
        scene.assert_open(LOST, {"reply_lost", "lease_lost"})
        scene.assert_open(DEAF, {"ignored", "lease_lost"})
        scene.assert_open(ASLEEP, {"lease_lost"})
        scene.assert_open(STILL, {"lease_lost"})

        clients[ASLEEP].thaw()
        scene.guest(STILL).thaw()
    for port in (LOST, DEAF, ASLEEP, STILL):
        clients[port].lease(40)
    scene.assert_over(LOST, {"reply_lost", "lease_lost"})
    scene.assert_over(DEAF, {"ignored", "lease_lost"})
    scene.assert_over(ASLEEP, {"guest_silent", "lease_lost"})
    scene.assert_over(STILL, {"guest_silent", "lease_lost"})
    scene.assert_quiet(NEIGHBOUR)
    assert befallen.clients[NEIGHBOUR].addresses() == [befallen.address(NEIGHBOUR)]


def assert_last_sent(scene: DhcpScene, port: str, at_ns: int) -> None:
    """`dhcp` and `show` agree on when the guest last sent anything."""
    for said in (scene.ladder(port), scene.sentinel.json("show", port)["port"]):
        assert abs(said["last_sent_wall_ns"] - at_ns) < 200 * MILLISECOND_NS


def test_a_loop_of_refusals_ends_when_the_client_gets_a_lease() -> None:
    with dhcp_scene([PORT, NEIGHBOUR]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        guest = scene.guest(PORT)
        with Asking(guest.tap, guest.mac, "198.51.100.7") as asking:
            incident = scene.wait_for_verdict(PORT, "nak_loop", 20)
            wait_until(lambda: asking.asked > 10, 10, "more of it")
            assert_verdict(scene, incident)
        assert server.said("DHCPNAK") >= 3
        assert f"refused {guest.mac}" in incident["summary"]
        assert "DHCPNAK" in texts(incident)
        scene.run(Dhclient(guest.netns))
        scene.run(Dhcpcd(scene.guest(NEIGHBOUR).netns))
        scene.wait_for_end(PORT, "nak_loop", 90)
        scene.assert_only(PORT, {"nak_loop"})
        scene.wait_for_lease(PORT, trouble=[])
        scene.assert_quiet(NEIGHBOUR)


def test_an_address_that_somebody_squats_on_is_declined() -> None:
    with dhcp_scene([PORT, NEIGHBOUR]) as scene:
        squatted = f"{NETWORK}.100"
        # dhcpd gives the highest address of its range first.
        scene.serve(IscDhcpd, Terms(lease_s=20, t1_s=6, t2_s=13, first=100, last=100))
        scene.add(Squatter(scene.guest(NEIGHBOUR), squatted))
        client = scene.add(Dhcpcd(scene.guest(PORT).netns, arp=True))
        client.start()
        incident = scene.wait_for_verdict(PORT, "address_conflict", SOON_S)
        assert_verdict(scene, incident, address=squatted, places=(PORT, scene.uplink))
        assert squatted in incident["summary"]
        assert "DHCPDECLINE" in texts(incident)
        scene.assert_quiet(NEIGHBOUR)


def test_one_address_for_two_guests_is_a_conflict_at_both_until_one_gives_it_back() -> None:
    names = [PORT, NEIGHBOUR, "tapnext"]
    with dhcp_scene(names) as scene:
        shared = f"{NETWORK}.50"
        fixed = {scene.guest(name).mac: shared for name in (PORT, NEIGHBOUR)}
        scene.serve(IscDhcpd, Terms(lease_s=20, t1_s=6, t2_s=13, fixed=fixed))
        clients = [scene.run(Dhclient(scene.guest(name).netns)) for name in names]
        assert [one.addresses()[0] for one in clients[:2]] == [shared, shared]
        for name, other in ((PORT, NEIGHBOUR), (NEIGHBOUR, PORT)):
            incident = scene.wait_for_verdict(name, "address_conflict", 15)
            assert_verdict(scene, incident, address=shared, places=(name, scene.uplink))
            assert shared in incident["summary"]
            assert scene.guest(other).mac in incident["summary"]
            assert other in incident["summary"]
        clients[1].release()
        for name in (PORT, NEIGHBOUR):
            scene.wait_for_end(name, "address_conflict", 15)
            scene.assert_only(name, {"address_conflict"})
        scene.assert_quiet("tapnext")
