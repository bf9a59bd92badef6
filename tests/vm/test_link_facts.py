# SPDX-License-Identifier: Apache-2.0
"""What a real kernel says of its devices, as facts; and that each change is told without asking."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sentinel.link import LinkFacts
from sentinel.netlink import LinkFollower
from sentinel.netlink_counters import link_counters
from sentinel.tag import TPID_8021AD, TPID_8021Q, Tag
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")


class Links:
    """Every link by name, as a follower told it."""

    def __init__(self) -> None:
        self.by_index: dict[int, LinkFacts] = {}
        self.follower = LinkFollower(self._all, self._one, self._gone)

    def _all(self, links: list[LinkFacts]) -> None:
        self.by_index = {link.ifindex: link for link in links}

    def _one(self, link: LinkFacts) -> None:
        self.by_index[link.ifindex] = link

    def _gone(self, ifindex: int) -> None:
        self.by_index.pop(ifindex, None)

    def __getitem__(self, name: str) -> LinkFacts:
        return next(link for link in self.by_index.values() if link.name == name)

    async def until(self, predicate: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 10
        while not predicate():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited 10 s for {what}")
            await asyncio.sleep(0.005)
        assert self.follower.resyncs == 0, f"{what}: seen only because all was read again"
        assert self.follower.undecodable == 0


@asynccontextmanager
async def followed() -> AsyncIterator[Links]:
    links = Links()
    await links.follower.start()
    try:
        yield links
    finally:
        await links.follower.stop()


def facts_of(ns: Namespace) -> Links:
    """What a dump says."""

    async def read() -> Links:
        async with followed() as links:
            return links

    with ns.enter():
        return asyncio.run(read())


def make(ns: Namespace, line: str) -> None:
    """Make a device, or skip where this kernel has no such kind."""
    try:
        ns.ip(line)
    except subprocess.CalledProcessError as problem:
        for word in ("Unknown device type", "Operation not supported", "IPv6 support disabled"):
            if word in str(problem.stderr):
                pytest.skip(f"this kernel cannot: {line}")
        raise


def in_sysfs(ns: Namespace, path: str, value: str) -> None:
    """Write a setting below /sys/class/net as the namespace sees it."""
    mounted = 'mount -t sysfs none /sys && printf %s "$1" > /sys/class/net/$0'
    inside = ["unshare", "--mount", "sh", "-c", mounted, path, value]
    done = ns.run(inside, check=False)
    if "Permission denied" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"this kernel does not let us write {path}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("device", "overhead_bytes", "is_bound"),
    [
        ("type vxlan id 7 remote 10.9.9.1 dev under0 dstport 4789", 50, True),
        ("type vxlan id 7 remote fd00:9::1 dev under0 dstport 4789", 70, True),
        ("type vxlan id 7 local 10.9.9.2 dstport 4789", 50, False),
        ("type vxlan external dstport 4789", 50, False),
        ("type geneve id 7 remote 10.9.9.1", 50, False),
        ("type geneve id 7 remote fd00:9::1", 70, False),
        ("type gretap local 10.9.9.2 remote 10.9.9.1 dev under0", 38, True),
        ("type gretap local 10.9.9.2 remote 10.9.9.1 key 5", 42, False),
        ("type gretap local 10.9.9.2 remote 10.9.9.1 key 5 csum seq", 50, False),
        ("type ip6gretap local fd00:9::2 remote fd00:9::1 encaplimit none", 58, False),
        ("type ip6gretap local fd00:9::2 remote fd00:9::1 dev under0", 66, True),
        ("type ip6gretap local fd00:9::2 remote fd00:9::1 key 5 encaplimit none", 62, False),
        (
            "type erspan seq key 5 local 10.9.9.2 remote 10.9.9.1 dev under0 erspan_ver 1 erspan 1",
            *(50, True),
        ),
        ("type macsec", 32, False),
    ],
)
def test_a_tunnel_s_overhead_is_what_the_kernel_takes_off_its_mtu(
    device: str, overhead_bytes: int, is_bound: bool
) -> None:
    with Namespace() as ns:
        ns.ip(
            "link add under0 type veth peer name under1",
            "link set under0 up mtu 1500",
            "link set under1 up",
            "address add 10.9.9.2/24 dev under0",
        )
        # A host may have it off for what comes.
        setting = "/proc/sys/net/ipv6/conf/$one/disable_ipv6"
        all_on = f"for one in all default under0; do echo 0 > {setting}; done"
        ns.run(["sh", "-c", all_on], check=False)
        on_top = "link under0 " if "macsec" in device else ""
        make(ns, f"link add {on_top}name tunnel0 {device}")
        links = facts_of(ns)
        tunnel, under = links["tunnel0"], links["under0"]
        assert tunnel.tunnel_overhead_bytes == overhead_bytes
        assert tunnel.tunnel_lower == (under.ifindex if is_bound else None)
        if is_bound:
            assert tunnel.mtu_bytes == under.mtu_bytes - overhead_bytes


def test_what_is_below_a_macvlan_and_what_went_elsewhere() -> None:
    with Namespace("here") as here, Namespace("there") as there:
        here.ip("link add up0 type veth peer name up1", "link add qv0 type veth peer name qv1")
        make(here, "link add mv0 link up0 type macvlan mode bridge")
        links = facts_of(here)
        assert links["mv0"].lower == links["up0"].ifindex
        assert not links["mv0"].lower_elsewhere
        here.ip(f"link set mv0 netns {there.name}", f"link set qv1 netns {there.name}")
        moved, here_now = facts_of(there), facts_of(here)
        for gone in (moved["mv0"], here_now["qv0"]):
            assert gone.lower_elsewhere
            assert gone.lower is None


@pytest.mark.parametrize(("proto", "tpid"), [("802.1q", TPID_8021Q), ("802.1ad", TPID_8021AD)])
def test_a_vlan_device_s_tag(proto: str, tpid: int) -> None:
    with Namespace() as ns:
        ns.ip("link add up0 type veth peer name up1")
        make(ns, f"link add link up0 name vlan20 type vlan proto {proto} id 20")
        links = facts_of(ns)
        assert links["vlan20"].tag == Tag(tpid, 20)
        assert links["vlan20"].lower == links["up0"].ifindex
        assert links["up0"].tag is None


def test_a_bond_and_the_slave_it_uses() -> None:
    with Namespace() as ns:
        ns.ip(
            "link add nic0 type veth peer name sw0",
            "link add nic1 type veth peer name sw1",
            "link set sw0 up",
            "link set sw1 up",
        )
        make(ns, "link add bond0 type bond mode active-backup miimon 50")
        with ns.enter():

            async def story() -> None:
                async with followed() as links:
                    assert links["bond0"].bond_mode == "active-backup"
                    assert links["bond0"].bond_active is None
                    for nic in ("nic0", "nic1"):
                        ns.ip(f"link set {nic} master bond0")
                    ns.ip("link set bond0 up")
                    bond, first, second = (links[name] for name in ("bond0", "nic0", "nic1"))
                    await links.until(lambda: links["nic1"].master == bond.ifindex, "the slaves")
                    ns.ip("link set bond0 type bond active_slave nic0")
                    await links.until(
                        lambda: links["bond0"].bond_active == first.ifindex, "the first is active"
                    )
                    ns.ip("link set sw0 down")
                    await links.until(
                        lambda: links["bond0"].bond_active == second.ifindex, "a failover"
                    )
                    ns.ip("link set nic0 nomaster")
                    await links.until(lambda: links["nic0"].master is None, "a slave less")
                    # A slave may be changed behind its bond's back.
                    ns.ip("link set nic1 mtu 1400")
                    await links.until(lambda: links["nic1"].mtu_bytes == 1400, "its MTU")
                    assert links["bond0"].mtu_bytes == 1500

            asyncio.run(story())


SETTINGS: list[tuple[str, Callable[[Links], object]]] = [
    ("ip link set br0 type bridge stp_state 1", lambda links: links["br0"].stp),
    (
        "ip link set br0 type bridge group_fwd_mask 8",
        lambda links: links["br0"].group_fwd_mask == 8,
    ),
    ("ip link set br0 type bridge vlan_filtering 1", lambda links: links["br0"].vlan_filtering),
    (
        "ip link set tap0 type bridge_slave group_fwd_mask 16",
        lambda links: links["tap0"].port_group_fwd_mask == 16,
    ),
    ("ip link set tap0 type bridge_slave guard on", lambda links: links["tap0"].bpdu_guard),
    ("bridge link set dev tap0 guard on", lambda links: links["tap0"].bpdu_guard),
    ("ip link set tap0 mtu 1400", lambda links: links["br0"].mtu_bytes == 1400),
    ("sysfs br0/bridge/stp_state 1", lambda links: links["br0"].stp),
    ("sysfs br0/bridge/group_fwd_mask 16", lambda links: links["br0"].group_fwd_mask == 16),
    ("sysfs br0/bridge/vlan_filtering 1", lambda links: links["br0"].vlan_filtering),
    (
        "sysfs tap0/brport/group_fwd_mask 32",
        lambda links: links["tap0"].port_group_fwd_mask == 32,
    ),
    ("sysfs tap0/brport/bpdu_guard 1", lambda links: links["tap0"].bpdu_guard),
    ("sysfs tap0/mtu 1300", lambda links: links["tap0"].mtu_bytes == 1300),
]


@pytest.mark.parametrize(("order", "is_told"), SETTINGS, ids=[order for order, _ in SETTINGS])
def test_a_change_of_a_setting_is_told(order: str, is_told: Callable[[Links], object]) -> None:
    with Namespace() as ns, Tap("tap0", ns) as tap:
        ns.ip("link add br0 type bridge", "link set br0 up")
        tap.up(master="br0")
        with ns.enter():

            async def story() -> None:
                async with followed() as links:
                    assert links["br0"].stp is False
                    assert not is_told(links)
                    tool, _, rest = order.partition(" ")
                    if tool == "ip":
                        make(ns, rest)
                    elif tool == "bridge":
                        ns.bridge(rest)
                    else:
                        path, _, value = rest.partition(" ")
                        in_sysfs(ns, path, value)
                    await links.until(lambda: is_told(links), order)

            asyncio.run(story())


def test_spanning_tree_s_own_doings_are_no_change() -> None:
    with Namespace() as ns, Tap("tap0", ns) as tap:
        ns.ip("link add br0 type bridge stp_state 1 forward_delay 200", "link set br0 up")
        tap.up(master="br0")
        with ns.enter():

            async def story() -> None:
                async with followed() as links:
                    before = dict(links.by_index)
                    # Root, cost, priority: what an election would change.
                    ns.ip("link set br0 type bridge priority 4096")
                    ns.ip("link set tap0 alias done")
                    await links.until(lambda: links["tap0"].alias == "done", "all before it")
                    # Its carrier comes with the first port that forwards.
                    now = replace(links["br0"], carrier=False)
                    assert now == replace(before[now.ifindex], carrier=False)

            asyncio.run(story())


def test_counters_are_those_of_the_moment() -> None:
    with Namespace() as ns:
        ns.ip(
            "link add a0 type veth peer name b0",
            "link set a0 up",
            "link set b0 up",
        )
        with ns.enter():

            async def story() -> None:
                async with followed() as links:
                    a0, b0 = links["a0"].ifindex, links["b0"].ifindex
                    counted = await link_counters([a0, b0, a0, 987654])
                    assert set(counted) == {a0, b0}
                    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                        wire.bind(("a0", 0))
                        for _ in range(7):
                            wire.send(bytes(12) + b"\x88\xb5" + bytes(86))
                    after = await link_counters([a0, b0])
                    assert after[a0].tx_packets - counted[a0].tx_packets >= 7
                    assert after[a0].tx_bytes - counted[a0].tx_bytes >= 700
                    assert after[b0].rx_packets - counted[b0].rx_packets >= 7
                    assert after[b0].tx_packets == counted[b0].tx_packets
                    assert await link_counters([]) == {}
                    assert await link_counters([-1, 2**40]) == {}

            asyncio.run(story())
