# SPDX-License-Identifier: Apache-2.0
"""What a real ovsdb-server tells of bridges, ports and interfaces, and how soon."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from sentinel.audit.finding import UnseenPort
from sentinel.audit.unseen import unseen_ports
from sentinel.identity import IdentityPaths, IdentityResolver, SourceWatch
from sentinel.ovs import NO_OVS, OvsBridge, OvsPort
from sentinel.vm import VmIdentity
from tests.harness.namespaces import Namespace
from tests.harness.ovs import NO_OVS_HERE, Ovs
from tests.harness.taps import Tap

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root"),
    pytest.mark.skipif(bool(NO_OVS_HERE), reason=NO_OVS_HERE),
]

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
PORT_ID = "5d7a9c1e-3f42-4c0d-9a77-2f8e6b1d4c35"
MAC = "fa:16:3e:24:e7:22"
VM = VmIdentity(UUID, None, "ovs", port_id=PORT_ID, mac=MAC)
SOON_S = 1.0


@pytest.fixture
def ovs(tmp_path: Path) -> Iterator[Ovs]:
    with Namespace("ovs") as netns:
        yield Ovs(tmp_path, netns)


class Watched:
    """A resolver that is watched, and how often it told of a change."""

    def __init__(self, ovs: Ovs) -> None:
        nothing = ovs.directory / "nothing"
        nothing.mkdir()
        self.ovs = ovs
        self.resolver = IdentityResolver(IdentityPaths(ovs.socket, nothing, nothing, nothing))
        self.told = 0
        self._news = asyncio.Event()
        # Nothing is looked at again: what is told is told by the monitor.
        self.watch = SourceWatch(self.resolver, self._tell, every_s=3600)

    def _tell(self) -> None:
        self.told += 1
        self._news.set()

    async def vsctl_until(self, predicate: Callable[[], object], *words: str) -> None:
        """Change the database; within a second it must be told, and what is waited for be true."""
        told = self.told
        self._news.clear()
        await asyncio.to_thread(self.ovs.vsctl, *words)
        deadline = time.monotonic() + SOON_S
        while self.told == told or not predicate():
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + deadline - time.monotonic()
            ):
                await self._news.wait()
            self._news.clear()


def watched(ovs: Ovs, story: Callable[[Watched], Awaitable[None]]) -> None:
    async def run() -> None:
        host = Watched(ovs)
        await host.watch.start()
        try:
            await story(host)
        finally:
            await host.watch.stop()
            await host.resolver.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_forward_bpdu_and_stp_are_told_within_a_second(ovs: Ovs) -> None:
    async def story(host: Watched) -> None:
        def bridge() -> OvsBridge | None:
            return host.resolver.ovs_facts.bridges.get("br-int")

        assert host.resolver.ovs_facts == NO_OVS
        await host.vsctl_until(bridge, "add-br", "br-int")
        assert bridge() == OvsBridge("br-int")
        for words, expected in (
            ("set Bridge br-int other-config:forward-bpdu=true", OvsBridge("br-int", "", True)),
            ("remove Bridge br-int other-config forward-bpdu", OvsBridge("br-int")),
            ("set Bridge br-int stp_enable=true", OvsBridge("br-int", speaks_stp=True)),
            (
                "set Bridge br-int stp_enable=false rstp_enable=true",
                OvsBridge("br-int", speaks_rstp=True),
            ),
        ):

            def holds(wanted: OvsBridge = expected) -> bool:
                return bridge() == wanted

            await host.vsctl_until(holds, *words.split())
        await host.vsctl_until(lambda: bridge() is None, "del-br", "br-int")
        assert host.resolver.ovs_facts == NO_OVS

    watched(ovs, story)


def test_tags_trunks_bonds_and_patches_are_read(ovs: Ovs) -> None:
    ovs.vsctl("add-br", "br-int", "--", "add-br", "br-ex")
    ovs.vsctl("add-port", "br-int", "vnet0", "tag=20")
    ovs.vsctl("add-port", "br-int", "vnet1", "vlan_mode=native-tagged", "tag=5", "trunks=40,30")
    ovs.vsctl("add-port", "br-int", "vnet2", "trunks=7")
    ovs.vsctl("add-bond", "br-ex", "bond0", "eth0", "eth1")
    ovs.vsctl(
        "add-port", "br-int", "to-ex",
        "--", "set", "Interface", "to-ex", "type=patch", "options:peer=to-int",
        "--", "add-port", "br-ex", "to-int",
        "--", "set", "Interface", "to-int", "type=patch", "options:peer=to-ex",
    )  # fmt: skip

    async def story(host: Watched) -> None:
        await host.resolver.look()
        facts = host.resolver.ovs_facts
        assert facts.ports == {
            "br-ex": OvsPort("br-ex", "br-ex", ("br-ex",)),
            "br-int": OvsPort("br-int", "br-int", ("br-int",)),
            "bond0": OvsPort("bond0", "br-ex", ("eth0", "eth1")),
            "to-ex": OvsPort("to-ex", "br-int", ("to-ex",)),
            "to-int": OvsPort("to-int", "br-ex", ("to-int",)),
            "vnet0": OvsPort("vnet0", "br-int", ("vnet0",), tag=20),
            "vnet1": OvsPort("vnet1", "br-int", ("vnet1",), 5, "native-tagged", (30, 40)),
            "vnet2": OvsPort("vnet2", "br-int", ("vnet2",), trunks=(7,)),
        }
        peers = {name: one.peer for name, one in facts.interfaces.items() if one.type == "patch"}
        assert peers == {"to-ex": "to-int", "to-int": "to-ex"}
        assert facts.interfaces["br-int"].type == "internal"

        def tag() -> int | None:
            return host.resolver.ovs_facts.ports["vnet0"].tag

        await host.vsctl_until(lambda: tag() == 21, "set", "Port", "vnet0", "tag=21")
        await host.vsctl_until(lambda: tag() is None, "clear", "Port", "vnet0", "tag")

    watched(ovs, story)


def test_who_a_tap_belongs_to_is_no_change_of_the_switch(ovs: Ovs) -> None:
    ovs.vsctl("add-br", "br-int", "--", "add-port", "br-int", "vnet0")

    async def story(host: Watched) -> None:
        await host.resolver.look()
        told = host.told
        assert told > 0
        ids = f"external-ids:vm-uuid={UUID}"
        await asyncio.to_thread(ovs.vsctl, "set", "Interface", "vnet0", ids)
        # The monitor tells in order: a change that counts comes after that one.
        await host.vsctl_until(
            lambda: host.resolver.ovs_facts.ports["vnet0"].tag, "set", "Port", "vnet0", "tag=20"
        )
        assert host.resolver.ovs_facts.interfaces["vnet0"].external_ids["vm-uuid"] == UUID
        assert host.told == told + 1

    watched(ovs, story)


def test_vhost_user_of_a_user_space_bridge_is_unseen(ovs: Ovs) -> None:
    async def story(host: Watched) -> None:
        def unseen() -> list[UnseenPort]:
            return unseen_ports(host.resolver.ovs_facts, host.resolver.vm_ports, {})

        await host.vsctl_until(
            lambda: host.resolver.ovs_facts.bridges,
            "add-br", "br-dpdk", "--", "set", "Bridge", "br-dpdk", "datapath_type=netdev",
        )  # fmt: skip
        assert unseen() == []
        await host.vsctl_until(
            unseen,
            "add-port", "br-dpdk", "vhu5d7a9c1e-3f",
            "--", "set", "Interface", "vhu5d7a9c1e-3f", "type=dpdkvhostuserclient",
            "options:vhost-server-path=/run/vhost/vhu5d7a9c1e-3f",
        )  # fmt: skip
        name = "vhu5d7a9c1e-3f"
        assert unseen() == [UnseenPort(name, "vhost-user", parent="br-dpdk")]
        # Whose it is may be written later.
        await host.vsctl_until(
            lambda: unseen()[0].vm.is_known,
            "set", "Interface", name, f"external-ids:vm-uuid={UUID}",
            f"external-ids:iface-id={PORT_ID}", f"external-ids:attached-mac={MAC}",
        )  # fmt: skip
        assert unseen() == [UnseenPort(name, "vhost-user", VM, "br-dpdk")]
        await host.vsctl_until(lambda: not unseen(), "del-port", name)

    watched(ovs, story)


def test_a_tap_of_a_real_user_space_switch_is_unseen_too(ovs: Ovs) -> None:
    ovs.start_switch()
    with Tap("vnet0", ovs.netns):
        ovs.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        ovs.vsctl("add-port", "br0", "vnet0", wait=True)

        async def story(host: Watched) -> None:
            await host.resolver.look()
            assert unseen_ports(host.resolver.ovs_facts, (), {}) == [
                UnseenPort("vnet0", "netdev datapath", parent="br0")
            ]

        watched(ovs, story)
