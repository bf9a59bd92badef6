# SPDX-License-Identifier: Apache-2.0
"""Leases as they are seen on the wire: real servers, real clients, and no false alarm."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.harness.dhcp_clients import Dhclient, Dhcpcd, DhcpClient, Udhcpc
from tests.harness.dhcp_scene import CALM, LEASE_KEYS, LONG, STEP_KEYS, STILL, DhcpScene, dhcp_scene
from tests.harness.dhcp_servers import Agent, Dnsmasq, IscDhcpd, Terms
from tests.harness.guarded import needs_daemon
from tests.harness.hypervisor import NETWORK, OUTSIDE_MAC
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

SECOND_NS = 1_000_000_000
CLIENTS: list[type[Dhclient] | type[Udhcpc] | type[Dhcpcd]] = [Dhclient, Udhcpc, Dhcpcd]
FOUR_MESSAGES = ["DHCPDISCOVER", "DHCPOFFER", "DHCPREQUEST", "DHCPACK"]
WATCHED_S = 125


def start(
    scene: DhcpScene, kind: type[Dhclient] | type[Udhcpc] | type[Dhcpcd], name: str
) -> DhcpClient:
    return scene.run(kind(scene.guest(name).netns))


def assert_newest(scene: DhcpScene, name: str, client: DhcpClient) -> None:
    """The listed lease is the one that the client was told of last."""
    wait_until(
        lambda: (
            abs(
                scene.leases(name)[0]["acked_wall_ns"]
                - client.changes({"RENEW", "renew"})[-1].time_ns
            )
            < SECOND_NS
        ),
        5,
        f"the newest answer to {name}",
        0.2,
    )


@pytest.mark.parametrize("server_kind", [Dnsmasq, IscDhcpd])
def test_leases_of_all_clients_are_listed_as_they_are(
    server_kind: type[Dnsmasq] | type[IscDhcpd],
) -> None:
    names = ["tapone", "taptwo", "tapthree"]
    with dhcp_scene(names) as scene:
        terms = LONG if server_kind is Dnsmasq else CALM
        scene.serve(server_kind, terms)
        for name, kind in zip(names, CLIENTS, strict=True):
            client = start(scene, kind, name)
            lease = scene.wait_for_lease(name, state="bound")
            assert set(lease) >= LEASE_KEYS
            assert lease["family"] == 4
            assert lease["mac"] == scene.guest(name).mac
            assert [lease["address"]] == lease["addresses"] == client.addresses()
            assert (lease["server"], lease["server_mac"]) == (f"{NETWORK}.1", OUTSIDE_MAC)
            assert lease["lease_ns"] == terms.lease_s * SECOND_NS
            assert 0 < lease["remaining_ns"] <= lease["lease_ns"]
            assert lease["expires_wall_ns"] == lease["acked_wall_ns"] + lease["lease_ns"]
            assert lease["t1_wall_ns"] == lease["acked_wall_ns"] + terms.t1_s * SECOND_NS
            assert lease["t2_wall_ns"] == lease["acked_wall_ns"] + terms.t2_s * SECOND_NS
            assert abs(time.time_ns() - lease["acked_wall_ns"]) < 10 * SECOND_NS
            assert lease["trouble"] == []
        assert [one["port"] for one in scene.leases()] == sorted(names)
        assert scene.sentinel.incidents() == []


def test_the_ladder_shows_the_exchange_at_port_and_uplink() -> None:
    with dhcp_scene(["tapone"]) as scene:
        scene.serve(terms=STILL)
        client = start(scene, Dhclient, "tapone")
        scene.wait_for_lease("tapone", state="bound")

        def whole() -> bool:
            return len(scene.exchange("tapone")) >= 8

        wait_until(whole, 5, "both places to be told", 0.1)
        exchange = scene.exchange("tapone")
        for place, to, back, device in (
            ("port", "from_guest", "to_guest", "tapone"),
            ("uplink", "to_wire", "from_wire", scene.uplink),
        ):
            there = [one for one in exchange if one["place"] == place]
            assert [one["name"] for one in there] == FOUR_MESSAGES
            assert [one["direction"] for one in there] == [to, back, to, back]
            assert {one["device"] for one in there} == {device}
        assert all(set(one) >= STEP_KEYS and one["passed"] for one in exchange)
        times = [one["time_wall_ns"] for one in exchange]
        assert times == sorted(times)
        gaps = [one["gap_ns"] for one in exchange]
        assert gaps[0] is None
        assert gaps[1:] == [after - before for before, after in pairwise(times)]
        acks = [one for one in exchange if one["name"] == "DHCPACK"]
        assert {one["address"] for one in acks} == set(client.addresses())
        assert {one["server"] for one in acks} == {f"{NETWORK}.1"}
        shown = scene.sentinel.cli("dhcp", "tapone")
        assert [name for name in FOUR_MESSAGES if name not in shown.stdout] == [], shown
        assert scene.sentinel.cli("dhcp", "tapnone").returncode == 1


def test_a_released_lease_is_no_lease_and_no_incident() -> None:
    with dhcp_scene(["tapone"]) as scene:
        scene.serve(terms=STILL)
        client = start(scene, Udhcpc, "tapone")
        scene.wait_for_lease("tapone", state="bound")
        client.release()
        client.wait_for_loss(5)
        lease = scene.wait_for_lease("tapone", state="released")
        assert lease["remaining_ns"] is None
        assert scene.sentinel.incidents() == []


def test_an_agent_on_the_bridge_is_a_server_like_any_other() -> None:
    with dhcp_scene(["tapone"]) as scene:
        agent = scene.add(Agent(scene.lab.hypervisor))
        server = scene.add(Dnsmasq(agent.netns, device=agent.device, terms=LONG))
        server.start()
        client = start(scene, Dhclient, "tapone")
        lease = scene.wait_for_lease("tapone", state="bound")
        assert (lease["server"], lease["server_mac"]) == (agent.address, agent.mac)
        client.wait_for_renewals(1, 15)
        assert scene.sentinel.incidents() == []
        assert [one["name"] for one in scene.sentinel.ports() if one["role"] == "uplink"] == [
            scene.uplink
        ]


def test_several_clients_behind_one_port_are_told_apart() -> None:
    with dhcp_scene(["tapone"]) as scene:
        # Nobody renews meanwhile: who spoke last comes first.
        scene.serve(terms=Terms(lease_s=3600, t1_s=1800, t2_s=3000))
        inside = scene.guest("tapone").netns
        held = {}
        for number in range(3):
            device, mac = f"mv{number}", f"fa:16:3e:aa:00:0{number}"
            inside.ip(
                f"link add link eth0 name {device} address {mac} type macvlan mode bridge",
                f"link set {device} addrgenmode none up",
            )
            client = scene.run(Dhclient(inside, device=device))
            held[mac] = client.addresses()[0]
        assert len(set(held.values())) == 3

        def listed() -> bool:
            found = {one["mac"]: one["address"] for one in scene.leases("tapone")}
            return found == held

        wait_until(listed, 10, "three leases", 0.2)
        macs = [one["mac"] for one in scene.leases("tapone")]
        assert macs == sorted(macs)
        clients = scene.ladder("tapone")["clients"]
        assert [one["mac"] for one in clients] == list(held)[::-1]
        assert scene.sentinel.incidents() == []


def test_two_servers_that_answer_one_discover_are_no_incident() -> None:
    with dhcp_scene(["tapone"]) as scene:
        agent = scene.add(Agent(scene.lab.hypervisor))
        near = scene.add(
            Dnsmasq(
                agent.netns,
                device=agent.device,
                terms=Terms(first=150, last=160),
                authoritative=False,
            )
        )
        near.start()
        # dhcpd acknowledges what was asked of another, if the address is of its own range.
        far = scene.serve(terms=replace(CALM, last=120))
        start(scene, Dhclient, "tapone")
        lease = scene.wait_for_lease("tapone", state="bound")
        wait_until(lambda: near.said("DHCPOFFER") and far.said("DHCPOFFER"), 5, "two offers", 0.1)
        chosen = near if near.said("DHCPACK") else far
        expected = agent.address if chosen is near else f"{NETWORK}.1"
        assert lease["server"] == expected, scene.told("tapone")

        def offers() -> set[str]:
            return {
                one["server"]
                for one in scene.exchange("tapone")
                if one["name"] == "DHCPOFFER" and one["place"] == "port"
            }

        wait_until(lambda: offers() == {agent.address, f"{NETWORK}.1"}, 5, "both offers", 0.1)
        assert scene.sentinel.incidents() == []


@pytest.mark.slow
def test_minutes_of_normal_renewals_raise_nothing() -> None:
    """With both servers, in a lab each; every client with each."""
    names = ["tapone", "taptwo", "tapthree"]
    with dhcp_scene(names) as far, dhcp_scene(names) as near:
        far.serve(Dnsmasq, LONG)
        near.serve(IscDhcpd, CALM)
        clients = {
            (scene, name): start(scene, kind, name)
            for scene in (far, near)
            for name, kind in zip(names, CLIENTS, strict=True)
        }
        held = {at: client.addresses() for at, client in clients.items()}
        ending = time.monotonic() + WATCHED_S

        def watched() -> bool:
            for (scene, name), addresses in held.items():
                lease = scene.wait_for_lease(name)
                assert lease["addresses"] == addresses
                assert lease["state"] in ("bound", "renewing", "rebinding")
                assert lease["trouble"] == []
            assert far.sentinel.incidents() == near.sentinel.incidents() == []
            return time.monotonic() > ending

        wait_until(watched, 2 * WATCHED_S, "the minutes to pass", 2)
        assert all(client.renewals() >= 2 for client in clients.values())
        assert clients[far, "tapone"].renewals() >= 15
        assert clients[near, "tapone"].renewals() >= 8
        for (scene, name), client in clients.items():
            assert_newest(scene, name, client)
