# SPDX-License-Identifier: Apache-2.0
"""The lab's DHCP servers, clients and faults do what they say, without any daemon."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.dhcp import DhcpType
from tests.harness.dhcp_clients import Dhclient, Dhcpcd, DhcpClient, Udhcpc
from tests.harness.dhcp_faults import Deaf, RepliesDropped, Squatter
from tests.harness.dhcp_hostile import Asking
from tests.harness.dhcp_seen import MessagesSeen
from tests.harness.dhcp_servers import (
    SERVER6,
    Agent,
    DhcpServer,
    Dnsmasq,
    IscDhcpd,
    Terms,
    turn_on_ipv6,
)
from tests.harness.guest_traffic import Datagrams, Talking, tap_queue
from tests.harness.guests import Guest
from tests.harness.hypervisor import Lab
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")

SHORT = Terms(lease_s=20, t1_s=4, t2_s=9)
CLIENTS: list[type[DhcpClient]] = [Dhclient, Udhcpc, Dhcpcd]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def guest(lab: Lab, name: str = "tapone") -> Guest:
    made = lab.add_guest(name)
    made.netns.ip(f"address flush dev {made.device}")
    return made


def client_of(kind: type[DhcpClient], where: Guest, family: int = 4) -> DhcpClient:
    if kind is Udhcpc:
        return Udhcpc(where.netns)
    if kind is Dhclient:
        return Dhclient(where.netns, family=family)
    return Dhcpcd(where.netns, family=family)


@pytest.fixture
def leased(lab: Lab) -> Iterator[tuple[Lab, Guest, DhcpClient, DhcpServer]]:
    """A dhclient that has a lease of a dhcpd outside."""
    where = guest(lab)
    with (
        IscDhcpd(lab.outside.netns, terms=SHORT) as server,
        Dhclient(where.netns) as client,
    ):
        server.start()
        client.start()
        client.lease()
        yield lab, where, client, server


@pytest.mark.parametrize("server_kind", [Dnsmasq, IscDhcpd])
@pytest.mark.parametrize("kind", CLIENTS)
def test_every_client_gets_a_lease_of_every_server(
    lab: Lab, kind: type[DhcpClient], server_kind: type[Dnsmasq] | type[IscDhcpd]
) -> None:
    resolv = Path("/etc/resolv.conf").read_bytes()
    where = guest(lab)
    with (
        server_kind(lab.outside.netns, terms=SHORT) as server,
        client_of(kind, where) as client,
        MessagesSeen(lab.hypervisor.netns, "tapone") as seen,
    ):
        server.start()
        client.start()
        assert client.lease().startswith("192.0.2.1")
        talked = [DhcpType.DISCOVER, DhcpType.OFFER, DhcpType.REQUEST, DhcpType.ACK]
        wait_until(lambda: seen.types(where.mac)[-4:] == talked, 2, "the exchange on the tap")
        assert server.said("DHCPACK") == 1
        # A release is lost if the server's hardware address is still to be asked for.
        assert where.ping(lab.outside, count=1).received == 1
        client.release()
        client.wait_for_loss(5)
        wait_until(lambda: server.said("DHCPRELEASE") == 1, 5, "the release")
    assert Path("/etc/resolv.conf").read_bytes() == resolv
    assert not client.directory.exists()


@pytest.mark.parametrize("server_kind", [Dnsmasq, IscDhcpd])
@pytest.mark.parametrize("kind", [Dhclient, Dhcpcd])
def test_every_client_gets_a_lease_of_ipv6(
    lab: Lab, kind: type[DhcpClient], server_kind: type[Dnsmasq] | type[IscDhcpd]
) -> None:
    turn_on_ipv6(lab.outside.netns, address=SERVER6)
    where = guest(lab)
    turn_on_ipv6(where.netns)
    with (
        server_kind(lab.outside.netns, family=6, terms=SHORT) as server,
        client_of(kind, where, 6) as client,
    ):
        server.start()
        client.start()
        assert client.lease(30).startswith("2001:db8:2::1")


def test_an_agent_on_the_bridge_serves(lab: Lab) -> None:
    where = guest(lab)
    with Agent(lab.hypervisor) as agent, Dnsmasq(agent.netns, device=agent.device) as server:
        server.start()
        with Dhclient(where.netns) as client:
            client.start()
            client.lease()
            assert server.said("DHCPACK") == 1


def test_what_has_ended_takes_nobody_else_with_it(lab: Lab) -> None:
    """The number of a mount namespace that is gone is the next one's."""
    outside = lab.outside.netns
    with Dnsmasq(outside) as first, Dnsmasq(outside) as second:
        first.start()
        first.signal(signal.SIGTERM)
        wait_until(lambda: not first.running, 5, "dnsmasq to end")
        second.start()
        first.kill()
        first.close()
        assert second.running


@pytest.mark.slow
def test_short_times_are_kept(leased: tuple[Lab, Guest, DhcpClient, DhcpServer]) -> None:
    _, _, client, _ = leased
    client.wait_for_renewals(2, 20)
    bound, *renewed = client.changes({"BOUND", "RENEW"})
    assert all(one.address == bound.address for one in renewed)


def test_a_frozen_client_asks_nothing(leased: tuple[Lab, Guest, DhcpClient, DhcpServer]) -> None:
    lab, where, client, server = leased
    client.freeze()
    before = server.said("DHCPREQUEST")
    with Talking(where) as talking, MessagesSeen(lab.hypervisor.netns, "tapone") as seen:
        wait_until(lambda: talking.sent > 60, 15, "T1 to pass")
        assert seen.types(where.mac) == []
    assert server.said("DHCPREQUEST") == before
    client.thaw()
    client.wait_for_renewals(1, 10)


def test_dropped_replies_pass_the_uplink_and_not_the_tap(
    leased: tuple[Lab, Guest, DhcpClient, DhcpServer],
) -> None:
    lab, where, client, _ = leased
    with (
        MessagesSeen(lab.hypervisor.netns, lab.hypervisor.uplink) as uplink,
        MessagesSeen(lab.hypervisor.netns, "tapone") as tap,
        RepliesDropped(lab.hypervisor.netns, "tapone") as lost,
    ):
        wait_until(lambda: lost.dropped >= 2, 20, "replies to be lost", 0.1)
        assert uplink.types(where.mac).count(DhcpType.ACK) >= 2
        assert set(tap.types(where.mac)) == {DhcpType.REQUEST}
    client.wait_for_renewals(1, 20)


def test_a_deaf_guest_is_answered_and_asks_again(
    leased: tuple[Lab, Guest, DhcpClient, DhcpServer],
) -> None:
    lab, where, client, _ = leased
    with Deaf(where), MessagesSeen(lab.hypervisor.netns, "tapone") as tap:
        wait_until(lambda: tap.types(where.mac).count(DhcpType.ACK) >= 2, 20, "answers", 0.1)
        assert client.renewals() == 0
        assert where.netns.run(["ip", "link", "show", "eth0"]).returncode == 0
    client.wait_for_renewals(1, 20)


def test_a_queue_that_is_not_read_overflows(lab: Lab) -> None:
    where = lab.add_guest("tapone")
    where.stop_reading()
    before = tap_queue(lab.hypervisor.netns, "tapone")
    with Datagrams(lab.outside, where) as load, Talking(where) as talking:
        wait_until(lambda: load.sent > 2000 and talking.sent > 3, 10, "the load")
        wait_until(
            lambda: (
                tap_queue(lab.hypervisor.netns, "tapone").tx_dropped > before.tx_dropped
                or tap_queue(lab.hypervisor.netns, "tapone").backlog_packets
            ),
            10,
            "the queue to overflow",
            0.1,
        )
    where.read_on()
    assert where.ping(lab.outside, count=3, timeout_s=5).received > 0


def test_a_squatter_makes_dhcpcd_decline(lab: Lab) -> None:
    where = guest(lab)
    squatter = lab.add_guest("taptwo")
    terms = Terms(lease_s=20, first=100, last=110)
    with (
        IscDhcpd(lab.outside.netns, terms=terms) as server,
        Squatter(squatter, "192.0.2.100") as squatting,
        Dhcpcd(where.netns, arp=True) as client,
    ):
        server.start()
        client.start()
        wait_until(lambda: server.said("DHCPDECLINE") >= 1, 30, "the decline", 0.1)
        assert squatting.answered >= 1


def test_asking_for_a_foreign_address_is_refused_each_time(lab: Lab) -> None:
    tap = lab.add_tap("tapone")
    with (
        IscDhcpd(lab.outside.netns) as server,
        Asking(tap, "fa:16:3e:00:09:09", "198.51.100.7", every_s=0.1),
    ):
        server.start()
        wait_until(lambda: server.said("DHCPNAK") >= 4, 15, "four refusals", 0.1)
