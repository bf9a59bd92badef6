# SPDX-License-Identifier: Apache-2.0
"""DHCPv6: leases, renewals and verdicts, with real servers and clients."""

from __future__ import annotations

import pytest

from tests.harness.dhcp_clients import Dhclient, Dhcpcd, DhcpClient, wait_for_all_to_renew
from tests.harness.dhcp_faults import Deaf, RepliesDropped
from tests.harness.dhcp_scene import LEASE_KEYS, LONG, assert_verdict, dhcp_scene
from tests.harness.dhcp_servers import Dnsmasq, IscDhcpd, Terms
from tests.harness.guarded import needs_daemon
from tests.harness.hypervisor import OUTSIDE_MAC
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

SECOND_NS = 1_000_000_000
PORT, NEIGHBOUR = "tapone", "taptwo"
TERMS = Terms(lease_s=30, t1_s=6, t2_s=14)
"""A renewal is sent again after about 10 s (RFC 8415 section 7.6, REN_TIMEOUT)."""


@pytest.mark.parametrize("server_kind", [Dnsmasq, IscDhcpd])
@pytest.mark.parametrize("kind", [Dhclient, Dhcpcd])
def test_a_lease_is_listed_with_its_duid(
    kind: type[Dhclient] | type[Dhcpcd], server_kind: type[Dnsmasq] | type[IscDhcpd]
) -> None:
    with dhcp_scene([PORT], family=6) as scene:
        terms = LONG if server_kind is Dnsmasq else TERMS
        scene.serve(server_kind, terms)
        client = scene.run(kind(scene.guest(PORT).netns, family=6))
        lease = scene.wait_for_lease(PORT, state="bound")
        assert set(lease) >= LEASE_KEYS
        assert lease["family"] == 6
        assert lease["mac"] == scene.guest(PORT).mac
        assert lease["addresses"] == client.addresses()
        assert lease["server_mac"] == OUTSIDE_MAC
        # DUID-LL: type 3, hardware type 1, the MAC (RFC 8415 section 11.4).
        duid = "00030001" + scene.guest(PORT).mac.replace(":", "")
        assert lease["client"].replace(":", "") == duid
        assert lease["lease_ns"] == terms.lease_s * SECOND_NS
        counted = scene.sentinel.port(PORT)["counters"]
        assert counted["from_guest"]["dhcp6"]["solicit"] >= 1
        assert counted["from_guest"]["dhcp6"]["request"] >= 1
        assert counted["to_guest"]["dhcp6"]["advertise"] >= 1
        assert counted["to_guest"]["dhcp6"]["reply"] >= 1
        assert scene.sentinel.incidents() == []


@pytest.mark.slow
def test_renewals_raise_nothing_and_move_the_end() -> None:
    with dhcp_scene([PORT, NEIGHBOUR], family=6) as scene:
        scene.serve(IscDhcpd, TERMS)
        clients = {
            PORT: scene.run(Dhclient(scene.guest(PORT).netns, family=6)),
            NEIGHBOUR: scene.run(Dhcpcd(scene.guest(NEIGHBOUR).netns, family=6)),
        }
        first = {port: scene.wait_for_lease(port, state="bound") for port in clients}
        wait_for_all_to_renew(clients.values(), 2, 60)
        for port in clients:
            now = scene.wait_for_lease(port, state="bound")
            assert now["addresses"] == first[port]["addresses"]
            assert now["expires_wall_ns"] > first[port]["expires_wall_ns"] + 6 * SECOND_NS
            assert "Renew" in {one["name"] for one in scene.exchange(port)}
        assert scene.sentinel.incidents() == []


@pytest.mark.slow
def test_a_server_that_stopped_is_unanswered() -> None:
    with dhcp_scene([PORT], family=6) as scene:
        server = scene.serve(IscDhcpd, TERMS)
        client = scene.run(Dhcpcd(scene.guest(PORT).netns, family=6))
        address = client.addresses()[0]
        scene.wait_for_lease(PORT, state="bound")
        server.kill()
        incident = scene.wait_for_verdict(PORT, "unanswered", 40)
        assert_verdict(scene, incident, address=address, places=(PORT, scene.uplink))
        assert "no server answered" in incident["summary"]
        lost = scene.wait_for_verdict(PORT, "lease_lost", 40)
        assert_verdict(scene, lost, address=address, places=(PORT, scene.uplink))
        assert f"lease of {address} lost" in lost["summary"]
        server.start()
        client.lease(60)
        scene.assert_over(PORT, {"unanswered", "lease_lost"})


@pytest.mark.slow
def test_every_guest_has_the_verdict_of_its_own_fault_and_the_neighbour_none() -> None:
    """A reply lost on the host, one that is ignored, a guest that no longer reads."""
    lost, deaf, stalled = "taplost", "tapdeaf", "tapstuck"
    with dhcp_scene([lost, deaf, stalled, NEIGHBOUR], family=6) as scene:
        scene.serve(IscDhcpd, TERMS)
        clients: dict[str, DhcpClient] = {
            port: scene.add(Dhcpcd(scene.guest(port).netns, family=6))
            for port in (lost, deaf, stalled)
        }
        clients[NEIGHBOUR] = scene.add(Dhclient(scene.guest(NEIGHBOUR).netns, family=6))
        for client in clients.values():
            client.start()
        held = {port: client.lease(30) for port, client in clients.items()}
        for port in clients:
            scene.wait_for_lease(port, state="bound")
        expected = {
            lost: ("reply_lost", f"last seen at the uplink {scene.uplink}"),
            deaf: ("ignored", "the guest ignores"),
            stalled: ("queue_stalled", "its receive queue is not being drained"),
        }
        with RepliesDropped(scene.hypervisor, lost, family=6) as dropping, Deaf(scene.guest(deaf)):
            scene.guest(stalled).stop_reading()
            for port, (cause, words) in expected.items():
                incident = scene.wait_for_verdict(port, cause, 60)
                assert_verdict(scene, incident, address=held[port], places=(port, scene.uplink))
                assert words in incident["summary"]
                assert ("Not a DHCP fault." in incident["summary"]) == (port == stalled)
            assert dropping.dropped >= 1
            replies = [one for one in scene.exchange(lost) if one["name"] == "Reply"]
            assert {one["place"] for one in replies} == {"uplink"}
            for port, (cause, _) in expected.items():
                gone = scene.wait_for_verdict(port, "lease_lost", 60)
                assert_verdict(scene, gone, address=held[port], places=(port, scene.uplink))
                assert f"lease of {held[port]} lost" in gone["summary"]
                scene.assert_open(port, {cause, "lease_lost"})
            scene.guest(stalled).read_on()
        for port, (cause, _) in expected.items():
            wait_until(clients[port].addresses, 90, "an address again", 0.3)
            scene.assert_over(port, {cause, "lease_lost"})
        scene.assert_quiet(NEIGHBOUR)
