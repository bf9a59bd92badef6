# SPDX-License-Identifier: Apache-2.0
"""What a real ovsdb-server and ovs-vswitchd tell of a VM's interface."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from sentinel.identity import IdentityFollower, IdentityPaths, IdentityResolver
from sentinel.identity.ovs import OvsDatabase
from sentinel.vm import UNKNOWN_VM, VmIdentity
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
TAP = "tap5d7a9c1e-3f"
AS_NOVA_DOES = (
    f"external-ids:iface-id={PORT_ID}",
    "external-ids:iface-status=active",
    f"external-ids:attached-mac={MAC}",
    f"external-ids:vm-uuid={UUID}",
)
EXPECTED = VmIdentity(UUID, None, "ovs", port_id=PORT_ID, mac=MAC)


@pytest.fixture
def ovs(tmp_path: Path) -> Iterator[Ovs]:
    with Namespace("ovs") as netns:
        yield Ovs(tmp_path, netns)


async def until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 10
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited 10 s for {what}")
        await asyncio.sleep(0.005)


def paths(ovs_socket: Path, elsewhere: Path) -> IdentityPaths:
    nothing = elsewhere / "nothing"
    nothing.mkdir(exist_ok=True)
    return IdentityPaths(ovs_socket=ovs_socket, libvirt_dir=nothing, proc_root=nothing)


def test_the_switch_s_own_database_tells_which_vm(ovs: Ovs) -> None:
    ovs.start_switch()
    with Tap(TAP, ovs.netns):
        ovs.vsctl("add-br", "br-int", "--", "set", "Bridge", "br-int", "datapath_type=netdev")
        ovs.vsctl(
            "add-port", "br-int", TAP, "--", "set", "Interface", TAP, *AS_NOVA_DOES, wait=True
        )
        assert ovs.vsctl("get", "Interface", TAP, "ofport").strip() == "1"

        async def story() -> None:
            resolver = IdentityResolver(paths(ovs.socket, ovs.directory))
            try:
                assert await resolver.resolve([TAP, "vnet9"]) == {
                    TAP: EXPECTED,
                    "vnet9": UNKNOWN_VM,
                }
                assert resolver.problems() == []
            finally:
                await resolver.close()

        asyncio.run(story())


def test_hybrid_plug_is_known_by_the_veth_s_row(ovs: Ovs) -> None:
    ovs.vsctl("add-br", "br-int")
    ovs.vsctl(
        "add-port", "br-int", "qvo5d7a9c1e-3f",
        "--", "set", "Interface", "qvo5d7a9c1e-3f", *AS_NOVA_DOES,
    )  # fmt: skip

    async def story() -> None:
        resolver = IdentityResolver(paths(ovs.socket, ovs.directory))
        try:
            assert await resolver.resolve([TAP]) == {TAP: EXPECTED}
        finally:
            await resolver.close()

    asyncio.run(story())


def test_rows_written_after_the_tap_appeared_are_told_without_asking(ovs: Ovs) -> None:
    async def story() -> None:
        told: list[tuple[str, VmIdentity]] = []
        resolver = IdentityResolver(paths(ovs.socket, ovs.directory))
        follower = IdentityFollower(
            resolver, lambda name, vm: told.append((name, vm)), ask_after_s=(0.0,), ask_every_s=3600
        )
        await follower.start()
        try:
            follower.follow(["vnet3"])
            await until(lambda: told, "a first answer")
            assert told == [("vnet3", UNKNOWN_VM)]
            await asyncio.to_thread(ovs.vsctl, "add-br", "br-int")
            await asyncio.to_thread(
                ovs.vsctl, "add-port", "br-int", "vnet3", "--", "set", "Interface", "vnet3",
                *AS_NOVA_DOES,
            )  # fmt: skip
            await until(lambda: told[-1] == ("vnet3", EXPECTED), "the VM of the new row")
            await asyncio.to_thread(ovs.vsctl, "del-port", "vnet3")
            await until(lambda: told[-1] == ("vnet3", UNKNOWN_VM), "no VM without the row")
            count = len(told)
            follower.forget("vnet3")
            await asyncio.to_thread(ovs.vsctl, "add-port", "br-int", "vnet3")
            await resolver.resolve(["vnet3"])
            assert len(told) == count
        finally:
            await follower.stop()
            await resolver.close()

    asyncio.run(story())


def test_a_server_that_restarts_is_asked_again_and_nothing_is_forgotten_meanwhile(
    ovs: Ovs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.identity.ovs.FIRST_PAUSE_S", 0.01)
    ovs.vsctl("add-br", "br-int")
    ovs.vsctl("add-port", "br-int", "vnet3", "--", "set", "Interface", "vnet3", *AS_NOVA_DOES)

    async def story() -> None:
        changed: list[str] = []
        interfaces = OvsDatabase(ovs.socket, changed.extend)
        try:
            await interfaces.refresh()
            assert interfaces.external_ids("vnet3")["vm-uuid"] == UUID
            ovs.stop_server()
            await until(lambda: interfaces.problem, "a word about the server that went")
            await interfaces.refresh()
            assert interfaces.external_ids("vnet3")["vm-uuid"] == UUID
            ovs.server = ovs.start_server()
            ovs.vsctl("set", "Interface", "vnet3", "external-ids:vm-uuid=" + UUID[::-1])
            changed.clear()

            for _ in range(1000):
                await interfaces.refresh()
                if interfaces.external_ids("vnet3")["vm-uuid"] == UUID[::-1]:
                    break
                await asyncio.sleep(0.01)
            assert interfaces.problem is None
            assert changed == ["vnet3"]
        finally:
            await interfaces.close()

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH_9.2\n{}", "no JSON object"),
        (b'{"id": 1, "result": null, "error": "unknown database"}', "unknown database"),
        (b"", "closed"),
    ],
)
def test_a_socket_that_is_no_ovsdb_is_a_problem_and_no_more(
    tmp_path: Path, answer: bytes, problem: str
) -> None:
    async def story() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer)
            await writer.drain()
            writer.close()

        socket = tmp_path / "db.sock"
        server = await asyncio.start_unix_server(serve, socket)
        resolver = IdentityResolver(paths(socket, tmp_path))
        try:
            assert await asyncio.wait_for(resolver.resolve(["tap0"]), 5) == {"tap0": UNKNOWN_VM}
            assert problem in resolver.problems()[0]
        finally:
            await resolver.close()
            server.close()

    asyncio.run(story())


def test_a_server_that_never_answers_does_not_keep_anybody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.identity.ovs.ANSWER_TIMEOUT_S", 0.1)

    async def story() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        socket = tmp_path / "db.sock"
        server = await asyncio.start_unix_server(silent, socket)
        changed: list[Collection[str]] = []
        interfaces = OvsDatabase(socket, changed.append)
        try:
            await asyncio.wait_for(interfaces.refresh(), 5)
            assert interfaces.problem is not None
            assert changed == []
        finally:
            await interfaces.close()
            server.close()

    asyncio.run(story())


async def asked_until_it_fails(database: OvsDatabase) -> None:
    for _ in range(1000):
        await database.refresh()
        await asyncio.sleep(0.01)


def test_a_callback_that_fails_is_not_swallowed(ovs: Ovs) -> None:
    async def story() -> None:
        def broken() -> None:
            raise LookupError("broken")

        database = OvsDatabase(ovs.socket, lambda _: None, broken)
        try:
            await database.refresh()
            await asyncio.to_thread(ovs.vsctl, "add-br", "br-int")
            with pytest.raises(LookupError, match="broken"):
                await asked_until_it_fails(database)
        finally:
            await database.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_host_without_open_vswitch_has_no_problem(tmp_path: Path) -> None:
    async def story() -> None:
        resolver = IdentityResolver(paths(tmp_path / "none.sock", tmp_path))
        try:
            assert await resolver.resolve(["tap0"]) == {"tap0": UNKNOWN_VM}
            assert await resolver.resolve([]) == {}
            assert resolver.problems() == []
        finally:
            await resolver.close()

    asyncio.run(story())
