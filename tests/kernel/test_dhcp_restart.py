# SPDX-License-Identifier: Apache-2.0
"""The daemon goes and comes in the middle of leases: the list stays, and nothing is made up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.harness.dhcp_clients import Dhclient, Dhcpcd, wait_for_all_to_renew
from tests.harness.dhcp_scene import CALM, SHORT, DhcpScene, Document, dhcp_scene
from tests.harness.dhcp_servers import IscDhcpd
from tests.harness.guarded import needs_daemon
from tests.harness.waiting import wait_until

pytestmark = [*needs_daemon, pytest.mark.slow]

SECOND_NS = 1_000_000_000
PORTS = ["tapone", "taptwo"]
KEPT = (
    "port", "ifindex", "family", "mac", "client_id", "client", "addresses", "server",
    "server_mac", "state", "lease_ns", "host_name", "vid", "relay", "trouble",
)  # fmt: skip


def end(scene: DhcpScene, how: str) -> None:
    if how == "killed":
        scene.sentinel.kill()
    else:
        assert scene.sentinel.stop() == 0


def assert_same(before: Document, after: Document) -> None:
    for key in KEPT:
        assert after[key] == before[key], key
    for key in ("acked_wall_ns", "expires_wall_ns", "t1_wall_ns", "t2_wall_ns"):
        assert abs(after[key] - before[key]) < SECOND_NS, key


@contextlib.contextmanager
def scenes() -> Iterator[dict[str, DhcpScene]]:
    """Two labs at once, by how their daemons are going to end."""
    with dhcp_scene(PORTS) as killed, dhcp_scene(PORTS) as stopped:
        yield {"killed": killed, "stopped": stopped}


def test_leases_outlive_the_daemon() -> None:
    with scenes() as found:
        clients = {}
        for how, scene in found.items():
            scene.serve(IscDhcpd, CALM)
            clients[how] = [
                scene.run(Dhclient(scene.guest(PORTS[0]).netns)),
                scene.run(Dhcpcd(scene.guest(PORTS[1]).netns)),
            ]
        wait_for_all_to_renew([clients[how][0] for how in found], 1, 20)
        kept = {how: settled(scene) for how, scene in found.items()}
        for how, scene in found.items():
            end(scene, how)
            scene.sentinel.start(PORTS)
            for name in PORTS:
                assert_kept(kept[how][name], scene.wait_for_lease(name))
        wait_for_all_to_renew([one for how in found for one in clients[how]], 1, 40)
        for scene in found.values():
            for name in PORTS:
                scene.wait_for_lease(name, state="bound", trouble=[])
            assert scene.sentinel.incidents() == []


def settled(scene: DhcpScene) -> dict[str, Document]:
    """The leases by port, when they are in the journal: it is written once a second."""

    def written() -> dict[str, Document]:
        kept = {name: scene.wait_for_lease(name, state="bound") for name in PORTS}
        newest_ns = max(one["acked_wall_ns"] for one in kept.values())
        return kept if time.time_ns() > newest_ns + 2 * SECOND_NS else {}

    return wait_until(written, 30, "the journal to be written", 0.2)


def assert_kept(before: Document, after: Document) -> None:
    """The same lease, or one that was renewed meanwhile."""
    assert after["addresses"] == before["addresses"]
    assert after["acked_wall_ns"] >= before["acked_wall_ns"] - SECOND_NS
    if after["acked_wall_ns"] < before["acked_wall_ns"] + 4 * SECOND_NS:
        assert_same(before, after)


def test_renewals_while_no_daemon_runs_are_no_loss() -> None:
    """The kernel tells them all the same; and where it could not, nothing is concluded."""
    port = PORTS[0]
    with scenes() as found:
        clients, before = {}, {}
        for how, scene in found.items():
            scene.serve(IscDhcpd, SHORT)
            clients[how] = scene.run(Dhclient(scene.guest(port).netns))
            before[how] = scene.wait_for_lease(port, state="bound")
        for how, scene in found.items():
            end(scene, how)
        late_ns = max(one["expires_wall_ns"] for one in before.values()) + SECOND_NS
        wait_until(lambda: time.time_ns() > late_ns, 30, "the old leases to end")
        for how, scene in found.items():
            scene.sentinel.start([port])
            clients[how].wait_for_renewals(1, 30)
            after = scene.wait_for_lease(port, state="bound")
            assert after["addresses"] == before[how]["addresses"]
            assert after["acked_wall_ns"] > before[how]["expires_wall_ns"]
            assert scene.sentinel.incidents() == []


def test_what_went_wrong_while_no_daemon_ran_is_found_out() -> None:
    with dhcp_scene(PORTS[:1]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        client = scene.run(Dhclient(scene.guest(PORTS[0]).netns))
        address = client.addresses()[0]
        scene.wait_for_lease(PORTS[0], state="bound")
        scene.sentinel.stop()
        server.kill()
        client.wait_for_loss(40)
        scene.sentinel.start(PORTS[:1])
        lost = scene.wait_for_verdict(PORTS[0], "lease_lost", 30)
        assert address in lost["summary"]
        server.start()
        client.lease(60)
        scene.wait_for_end(PORTS[0], "lease_lost", 30)


def test_a_restart_in_the_middle_of_trouble_opens_it_once() -> None:
    with dhcp_scene(PORTS[:1]) as scene:
        server = scene.serve(IscDhcpd, SHORT)
        client = scene.run(Dhclient(scene.guest(PORTS[0]).netns))
        scene.wait_for_lease(PORTS[0], state="bound")
        server.kill()
        scene.wait_for_verdict(PORTS[0], "unanswered", 40)
        scene.sentinel.kill()
        scene.sentinel.start(PORTS[:1])
        scene.wait_for_verdict(PORTS[0], "lease_lost", 40)
        still_open = [
            one["detail"] for one in scene.verdicts(PORTS[0]) if one["closed_wall_ns"] is None
        ]
        assert sorted(still_open) == sorted(set(still_open))
        server.start()
        client.lease(40)
        scene.assert_over(PORTS[0], {"unanswered", "lease_lost"})
