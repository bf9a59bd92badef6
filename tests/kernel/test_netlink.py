# SPDX-License-Identifier: Apache-2.0
"""Links of a real namespace, followed: plugged, renamed, reused, moved, and lost events."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sentinel.config import PortsConfig
from sentinel.inventory import Appeared, Change, Gone, Inventory, Renamed
from sentinel.link import LinkFacts
from sentinel.netlink import LinkFollower
from tests.harness.namespaces import Namespace
from tests.harness.taps import IFF_NO_PI, IFF_TAP, TUNSETIFF, Tap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")

TUNSETIFINDEX = 0x400454DA


class Followed:
    """A follower that feeds an inventory, and everything that both said."""

    def __init__(self, ports: PortsConfig, receive_buffer_bytes: int) -> None:
        self.inventory = Inventory(ports)
        self.changes: list[Change] = []
        self.gone: list[int] = []
        self.lists: list[list[LinkFacts]] = []
        self.told = 0
        self.follower = LinkFollower(
            self._resynced,
            self._link,
            self._gone,
            receive_buffer_bytes=receive_buffer_bytes,
        )

    def _resynced(self, links: list[LinkFacts]) -> None:
        self.lists.append(links)
        self.changes += self.inventory.replace_links(links)

    def _link(self, link: LinkFacts) -> None:
        self.told += 1
        self.changes += self.inventory.update_link(link)

    def _gone(self, ifindex: int) -> None:
        self.gone.append(ifindex)
        self.changes += self.inventory.remove_link(ifindex)

    def link(self, name: str) -> LinkFacts | None:
        return next((one for one in self.inventory.links().values() if one.name == name), None)

    async def until(self, predicate: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 10
        while not predicate():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited 10 s for {what}; changes {self.changes[-5:]}")
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(
    ports: PortsConfig | None = None, receive_buffer_bytes: int = 1 << 20
) -> AsyncIterator[Followed]:
    followed = Followed(ports or PortsConfig(), receive_buffer_bytes)
    await followed.follower.start()
    try:
        yield followed
    finally:
        await followed.follower.stop()


def test_what_is_there_is_told_at_once_and_what_comes_and_goes_after() -> None:
    with Namespace() as ns, Tap("tap0", ns), ns.enter():

        async def story() -> None:
            ns.ip("tuntap add tun9 mode tun")
            async with following() as seen:
                assert [one.name for one in seen.lists[0]] == ["lo", "tap0", "tun9"]
                tap0, tun9 = seen.link("tap0"), seen.link("tun9")
                assert tap0 is not None
                assert tap0.is_tap
                assert tap0.ethernet
                assert tun9 is not None
                assert (tun9.tun_type, tun9.ethernet) == ("tun", False)
                with Tap("tap1", ns) as tap1:
                    await seen.until(lambda: seen.inventory.by_name("tap1"), "tap1")
                    tap1.up(mtu_bytes=1400)
                    await seen.until(
                        lambda: (one := seen.link("tap1")) and one.up and one.mtu_bytes == 1400,
                        "tap1 up with its MTU",
                    )
                await seen.until(lambda: not seen.inventory.by_name("tap1"), "tap1 gone")
                assert seen.follower.resyncs == 0

        asyncio.run(story())


def test_leaving_a_bridge_is_no_unplugging() -> None:
    with Namespace() as ns, Tap("tap0", ns) as tap, ns.enter():

        async def story() -> None:
            ns.ip("link add br0 type bridge", "link set br0 up")
            tap.up(master="br0")
            async with following() as seen:
                port = seen.inventory.by_name("tap0")
                assert port is not None
                assert port.bridge == "br0"
                ns.ip("link set tap0 nomaster")
                await seen.until(
                    lambda: (one := seen.inventory.by_name("tap0")) and one.bridge is None,
                    "tap0 without a bridge",
                )
                ns.ip("link set tap0 master br0")
                await seen.until(
                    lambda: (one := seen.inventory.by_name("tap0")) and one.bridge == "br0",
                    "tap0 back on br0",
                )
                assert seen.gone == []

        asyncio.run(story())


def test_a_rename_is_a_rename() -> None:
    with Namespace() as ns, Tap("tap0", ns), ns.enter():

        async def story() -> None:
            async with following() as seen:
                before = seen.inventory.by_name("tap0")
                assert before is not None
                ns.ip("link set tap0 name tap7")
                await seen.until(lambda: seen.inventory.by_name("tap7"), "tap7")
                ns.ip("link set tap7 name other")
                await seen.until(lambda: not seen.inventory.by_name("tap7"), "tap7 left out")
                kinds = [type(change) for change in seen.changes]
                assert kinds == [Appeared, Renamed, Gone]

        asyncio.run(story())


def tap_with_ifindex(name: str | bytes, ifindex: int) -> int:
    """Open a tap under an ifindex of one's choice; it goes with the descriptor."""
    name = name.encode() if isinstance(name, str) else name
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFINDEX, struct.pack("I", ifindex))
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name, IFF_TAP | IFF_NO_PI))
    return fd


def test_an_ifindex_used_again_is_another_device() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            async with following() as seen:
                for _ in range(2):
                    os.close(tap_with_ifindex("tap0", 4711))
                await seen.until(lambda: len(seen.changes) == 4, "both, gone again")
                assert [type(change) for change in seen.changes] == [Appeared, Gone] * 2
                first, second = seen.changes[0].device, seen.changes[2].device
                assert first.ifindex == second.ifindex == 4711
                assert first.mac != second.mac

        asyncio.run(story())


def test_an_ifindex_used_again_while_events_were_lost_is_another_device() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            fd = tap_with_ifindex("tap0", 4711)
            async with following(receive_buffer_bytes=4096) as seen:
                assert [type(change) for change in seen.changes] == [Appeared]
                ns.ip(*(f"tuntap add pad{number} mode tap" for number in range(50)))
                os.close(fd)
                fd = tap_with_ifindex("tap0", 4711)
                await seen.until(lambda: seen.follower.resyncs, "a resync")
                assert [type(change) for change in seen.changes] == [Appeared, Gone, Appeared]
                assert seen.gone == []
            os.close(fd)

        asyncio.run(story())


def test_a_device_that_moves_is_gone_here_and_appears_there() -> None:
    with Namespace("here") as here, Namespace("there") as there, Tap("tap0", here), here.enter():

        async def story() -> None:
            async with following() as seen:
                assert seen.inventory.by_name("tap0")
                here.ip(f"link set tap0 netns {there.name}")
                await seen.until(lambda: not seen.inventory.by_name("tap0"), "tap0 gone")
                there.ip(f"link set tap0 netns {here.name}")
                await seen.until(lambda: seen.inventory.by_name("tap0"), "tap0 back")
                assert [type(change) for change in seen.changes] == [Appeared, Gone, Appeared]

        asyncio.run(story())


def test_a_burst_that_overruns_the_buffer_ends_in_the_truth() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            async with following(receive_buffer_bytes=4096) as seen:
                # The event loop stands still meanwhile: what does not fit is lost.
                ns.ip(*(f"tuntap add tap{number} mode tap" for number in range(300)))
                await seen.until(lambda: len(seen.inventory.devices()) == 300, "300 taps")
                assert seen.follower.resyncs >= 1
                resyncs = seen.follower.resyncs
                ns.ip(*(f"tuntap del tap{number} mode tap" for number in range(0, 300, 2)))
                await seen.until(lambda: len(seen.inventory.devices()) == 150, "150 taps")
                await seen.until(lambda: seen.follower.resyncs > resyncs, "another resync")
                names = {device.name for device in seen.inventory.devices().values()}
                assert names == {f"tap{number}" for number in range(1, 300, 2)}
                # It follows on.
                ns.ip("tuntap add taplast mode tap")
                await seen.until(lambda: seen.inventory.by_name("taplast"), "taplast")

        asyncio.run(story())


def test_a_burst_with_the_usual_buffer_loses_nothing() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            async with following(receive_buffer_bytes=8 << 20) as seen:
                ns.ip(*(f"tuntap add tap{number} mode tap" for number in range(300)))
                await seen.until(lambda: len(seen.inventory.devices()) == 300, "300 taps")
                assert seen.follower.resyncs == 0
                assert seen.told >= 300

        asyncio.run(story())


def test_a_tap_plugged_just_after_the_dump_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Namespace() as ns, ns.enter():
        dump = LinkFollower._dump

        async def dump_then_plug(self: LinkFollower) -> list[LinkFacts]:
            links = await dump(self)
            ns.ip("tuntap add taplate mode tap")
            return links

        monkeypatch.setattr(LinkFollower, "_dump", dump_then_plug)

        async def story() -> None:
            async with following() as seen:
                assert [one.name for one in seen.lists[0]] == ["lo"]
                await seen.until(lambda: seen.inventory.by_name("taplate"), "taplate")

        asyncio.run(story())


def test_hybrid_plug_reaches_the_wire_through_the_second_bridge() -> None:
    with Namespace("here") as here, Namespace("wire") as wire, Tap("tap0", here) as tap:
        here.ip(
            "link add qbr0 type bridge",
            "link add br-int type bridge",
            "link add qvb0 type veth peer name qvo0",
            f"link add up0 type veth peer name sw0 netns {wire.name}",
            "link set qvb0 master qbr0",
            "link set qvo0 master br-int",
            "link set up0 mtu 1400 master br-int",
        )
        tap.up(master="qbr0")
        with here.enter():

            async def story() -> None:
                async with following() as seen:
                    devices = seen.inventory.devices().values()
                    assert {(one.name, one.role) for one in devices} == {
                        ("tap0", "port"),
                        ("up0", "uplink"),
                    }
                    port = seen.inventory.by_name("tap0")
                    assert port is not None
                    assert (port.bridge, port.path_mtu_bytes) == ("qbr0", 1400)
                    here.ip("link set up0 mtu 1300")
                    await seen.until(
                        lambda: (
                            (one := seen.inventory.by_name("tap0")) and one.path_mtu_bytes == 1300
                        ),
                        "the path's new MTU",
                    )

            asyncio.run(story())


def test_a_name_that_is_no_text_is_still_a_name() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            async with following() as seen:
                fd = tap_with_ifindex(b"tap\xff\x1b[2J", 77)
                await seen.until(seen.inventory.devices, "the tap")
                assert [one.name for one in seen.inventory.devices().values()] == [
                    "tap\\xff\x1b[2J"
                ]
                os.close(fd)
                await seen.until(lambda: not seen.inventory.devices(), "no tap")

        asyncio.run(story())


def test_a_callback_that_fails_ends_the_follower_loudly() -> None:
    with Namespace() as ns, ns.enter():

        async def story() -> None:
            def broken(link: LinkFacts) -> None:
                raise OSError(f"no room for {link.name}")

            follower = LinkFollower(lambda _: None, broken, lambda _: None)
            await follower.start()
            try:
                ns.ip("tuntap add tap0 mode tap")
                with pytest.raises(OSError, match="no room for tap0"):
                    await asyncio.wait_for(follower.wait(), 10)
                assert follower.resyncs == 0
            finally:
                await follower.stop()

        asyncio.run(story())
