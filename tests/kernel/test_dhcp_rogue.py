# SPDX-License-Identifier: Apache-2.0
"""A DHCP server inside a guest: found, stopped if asked for, and nobody else harmed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.harness.daemon import Tables
from tests.harness.dhcp_clients import Dhclient, Udhcpc, wait_for_all_to_renew
from tests.harness.dhcp_scene import CALM, DhcpScene, Document, assert_time_line, dhcp_scene, texts
from tests.harness.dhcp_servers import SERVER6, Dnsmasq, IscDhcpd, Terms, turn_on_ipv6
from tests.harness.guarded import HOOKS, needs_daemon
from tests.harness.hypervisor import NETWORK
from tests.harness.waiting import wait_until

pytestmark = needs_daemon

ROGUE, VICTIM, NEIGHBOUR = "tapbad", "tapone", "taptwo"
ROGUE_ADDRESS = f"{NETWORK}.66"
ROGUES_TERMS = Terms(first=210, last=219, router=ROGUE_ADDRESS)
BY_ROGUE = tuple(f"{NETWORK}.{last}" for last in range(210, 220))


def tables(action: str, hook: str = "auto") -> Tables:
    return {"checks.rogue_dhcp": {"action": action}, "kernel": {"attach": hook}}


@contextlib.contextmanager
def infested(action: str, hook: str = "auto") -> Iterator[tuple[DhcpScene, Dnsmasq]]:
    """A scene with a dnsmasq in a guest; the neighbour has a lease of before."""
    with dhcp_scene([ROGUE, VICTIM, NEIGHBOUR], tables(action, hook)) as scene:
        scene.serve(IscDhcpd, CALM)
        scene.run(Dhclient(scene.guest(NEIGHBOUR).netns))
        bad = scene.guest(ROGUE)
        bad.netns.ip(f"address add {ROGUE_ADDRESS}/24 dev eth0")
        rogue = scene.add(Dnsmasq(bad.netns, terms=ROGUES_TERMS))
        rogue.start()
        yield scene, rogue


def offences(scene: DhcpScene) -> int:
    found: int = scene.sentinel.port(ROGUE)["counters"]["from_guest"]["dhcp_server"]
    return found


def test_counted_a_rogue_is_named_and_its_leases_are_seen() -> None:
    with infested("count") as (scene, rogue):
        scene.lab.outside.netns.ip("link set eth0 down")
        client = scene.add(Udhcpc(scene.guest(VICTIM).netns))
        client.start()
        assert client.lease(20) in BY_ROGUE
        (incident,) = wait_until(
            lambda: scene.verdicts(check="rogue_dhcp"), 10, "the incident", 0.1
        )
        assert incident["port"] == ROGUE
        assert incident["mac"] == scene.guest(ROGUE).mac
        assert (incident["verdict"], incident["action"]) == ("passed", "count")
        wait_until(
            lambda: scene.verdicts(check="rogue_dhcp")[0]["frames"] == offences(scene) >= 2,
            15,
            "every message of it",
            0.2,
        )
        (incident,) = scene.verdicts(check="rogue_dhcp")
        assert_time_line(incident)
        assert {one["place"] for one in incident["evidence"]} == {ROGUE}
        assert f"as server {ROGUE_ADDRESS}" in texts(incident)
        assert scene.guest(VICTIM).mac in texts(incident)
        lease = scene.wait_for_lease(VICTIM, state="bound")
        assert lease["server"] == ROGUE_ADDRESS
        assert lease["server_mac"] == scene.guest(ROGUE).mac
        offer = next(one for one in scene.exchange(VICTIM) if one["name"] == "DHCPOFFER")
        assert offer["server"] == ROGUE_ADDRESS
        assert scene.sentinel.port(ROGUE)["state"] == "watched"
        assert rogue.said("DHCPACK") >= 1
        scene.assert_quiet(VICTIM, NEIGHBOUR)


@pytest.mark.parametrize("hook", HOOKS)
def test_dropped_a_rogue_reaches_nobody(hook: str) -> None:
    with infested("drop", hook) as (scene, rogue):
        client = scene.run(Dhclient(scene.guest(VICTIM).netns))
        assert client.addresses()[0] not in BY_ROGUE
        wait_until(lambda: rogue.said("DHCPOFFER"), 5, "the rogue's offer", 0.1)
        incident = wait_until(lambda: scene.verdicts(check="rogue_dhcp"), 10, "the incident", 0.1)
        assert incident[0]["port"] == ROGUE
        assert incident[0]["verdict"] == "dropped"
        found = scene.sentinel.port(ROGUE)["counters"]["from_guest"]
        assert found["dropped"]["rogue_dhcp"] == found["dhcp_server"] >= 1
        lease = scene.wait_for_lease(VICTIM, state="bound")
        assert lease["server"] == f"{NETWORK}.1"
        servers = {one["server"] for one in scene.exchange(VICTIM) if one["name"] == "DHCPOFFER"}
        assert servers == {f"{NETWORK}.1"}
        # The rest of what the guest says still passes.
        assert scene.guest(ROGUE).ping(f"{NETWORK}.1", count=2, timeout_s=5).received > 0
        assert scene.sentinel.port(ROGUE)["state"] == "watched"
        scene.assert_quiet(VICTIM, NEIGHBOUR)


@pytest.mark.parametrize("hook", HOOKS)
def test_quarantined_a_rogue_is_cut_with_its_first_offer(hook: str) -> None:
    with infested("quarantine", hook) as (scene, _):
        client = scene.run(Dhclient(scene.guest(VICTIM).netns))
        assert client.addresses()[0] not in BY_ROGUE
        wait_until(lambda: scene.sentinel.port(ROGUE)["state"] == "quarantined", 10, "the cut", 0.1)
        (incident,) = scene.verdicts(check="rogue_dhcp")
        assert incident["verdict"] == "latched"
        assert scene.guest(ROGUE).ping(f"{NETWORK}.1", count=2).received == 0
        scene.wait_for_lease(VICTIM, state="bound", server=f"{NETWORK}.1")
        scene.assert_quiet(VICTIM, NEIGHBOUR)


@pytest.mark.slow
def test_the_neighbours_renew_beside_a_rogue_that_was_stopped() -> None:
    with infested("drop") as (dropping, _), infested("quarantine") as (cutting, _):
        clients = [
            (scene, scene.run(Dhclient(scene.guest(VICTIM).netns))) for scene in (dropping, cutting)
        ]
        before = [scene.wait_for_lease(NEIGHBOUR, state="bound") for scene, _ in clients]
        wait_for_all_to_renew([client for _, client in clients], 2, 40)
        for (scene, _), first in zip(clients, before, strict=True):

            def renewed(scene: DhcpScene = scene, first: Document = first) -> bool:
                return bool(scene.leases(NEIGHBOUR)[0]["acked_wall_ns"] > first["acked_wall_ns"])

            wait_until(renewed, 40, "the neighbour to renew", 0.3)
            assert scene.guest(NEIGHBOUR).ping(f"{NETWORK}.1", count=2, timeout_s=5).received > 0
            scene.assert_quiet(VICTIM, NEIGHBOUR)


@pytest.mark.parametrize("action", ["count", "drop"])
def test_a_rogue_of_ipv6_is_one_too(action: str) -> None:
    with dhcp_scene([ROGUE, VICTIM], tables(action), family=6) as scene:
        scene.lab.outside.netns.ip(f"address delete {SERVER6}/64 dev eth0")
        turn_on_ipv6(scene.guest(ROGUE).netns, address=SERVER6)
        rogue = scene.add(Dnsmasq(scene.guest(ROGUE).netns, family=6))
        rogue.start()
        client = scene.add(Dhclient(scene.guest(VICTIM).netns, family=6))
        client.start()
        incident = wait_until(lambda: scene.verdicts(check="rogue_dhcp"), 30, "the incident", 0.1)
        assert incident[0]["port"] == ROGUE
        found = scene.sentinel.port(ROGUE)["counters"]["from_guest"]
        assert found["dhcp_server"] >= 1
        assert found["dhcp6"]["advertise"] >= 1
        if action == "drop":
            assert found["dropped"]["rogue_dhcp"] >= 1
            assert client.addresses() == []
        else:
            assert client.lease(20)
