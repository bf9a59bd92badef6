# SPDX-License-Identifier: Apache-2.0
"""How soon a change of libvirt's files or of a qemu is told, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from sentinel.identity import IdentityPaths, IdentityResolver, SourceWatch
from sentinel.vm import VmIdentity, VmPort

UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
VM = VmIdentity(UUID, "a", "libvirt")
QEMU = b"qemu-kvm\0-chardev\0socket,id=c,path=%s\0-netdev\0vhost-user,chardev=c\0"


class Host:
    """libvirt's directory and a /proc, watched."""

    def __init__(self, root: Path) -> None:
        self.paths = IdentityPaths(root / "no.sock", root / "qemu", root / "proc", root / "pci")
        self.paths.proc_root.mkdir()
        self.resolver = IdentityResolver(self.paths)
        self.told = asyncio.Queue[tuple[VmPort, ...]]()
        self.watch = SourceWatch(
            self.resolver,
            lambda: self.told.put_nowait(self.resolver.vm_ports),
            every_s=0.01,
            processes_every_s=0.02,
        )

    def libvirt_writes(self, name: str, interfaces: str) -> None:
        self.paths.libvirt_dir.mkdir(exist_ok=True)
        new = self.paths.libvirt_dir / f"{name}.xml.new"
        new.write_text(
            f"<domstatus><domain><name>{name}</name><uuid>{UUID}</uuid>"
            f"<devices>{interfaces}</devices></domain></domstatus>"
        )
        new.rename(self.paths.libvirt_dir / f"{name}.xml")

    def qemu_starts(self, pid: int, path: bytes) -> None:
        process = self.paths.proc_root / "new"
        process.mkdir()
        (process / "stat").write_text(f"{pid} (qemu) S {' '.join(['0'] * 20)}\n")
        (process / "cmdline").write_bytes(QEMU % path)
        process.rename(self.paths.proc_root / str(pid))

    async def next(self) -> tuple[VmPort, ...]:
        return await asyncio.wait_for(self.told.get(), 10)


def played(root: Path, story: Callable[[Host], Awaitable[None]]) -> None:
    async def run() -> None:
        host = Host(root)
        await host.watch.start()
        try:
            await story(host)
        finally:
            await host.watch.stop()
            await host.resolver.close()

    asyncio.run(run())


def test_domains_without_a_tap_are_told_and_so_is_their_end(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        host.libvirt_writes("a", "<interface type='vhostuser'><source path='/v'/></interface>")
        assert await host.next() == (VmPort("vhost-user", VM, source="/v"),)
        host.libvirt_writes(
            "a", "<interface type='direct'><source dev='e'/><target dev='m0'/></interface>"
        )
        assert await host.next() == (VmPort("macvtap", VM, "m0", "e"),)
        # What is the same is not told.
        host.libvirt_writes("b", "<interface type='bridge'><target dev='vnet0'/></interface>")
        (host.paths.libvirt_dir / "a.xml").unlink()
        assert await host.next() == ()
        assert host.told.empty()
        await host.watch.stop()
        await host.watch.stop()
        assert host.resolver.on_change is None

    played(tmp_path, story)


def test_a_qemu_of_libvirt_s_is_one_and_another_is_told_too(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        host.libvirt_writes("a", "<interface type='vhostuser'><source path='/v'/></interface>")
        told = VmPort("vhost-user", VM, source="/v")
        assert await host.next() == (told,)
        host.qemu_starts(10, b"/v")
        host.qemu_starts(11, b"/w")
        other = VmPort("vhost-user", VmIdentity(None, None, "fdinfo", pid=11), source="/w")
        assert await host.next() == (told, other)

    played(tmp_path, story)


def test_a_tap_that_libvirt_tells_of_is_hinted_at(tmp_path: Path) -> None:
    async def story(host: Host) -> None:
        hinted: list[Collection[str]] = []
        news = asyncio.Event()

        def on_hint(names: Collection[str]) -> None:
            hinted.extend(names)
            news.set()

        host.resolver.on_hint = on_hint
        host.libvirt_writes("a", "<interface type='bridge'><target dev='vnet0'/></interface>")
        await asyncio.wait_for(_until(lambda: hinted == ["vnet0"], news), 10)
        assert await host.resolver.resolve(["vnet0"]) == {"vnet0": VM}
        # The same once more is no news.
        host.libvirt_writes("a", "<interface type='bridge'><target dev='vnet0'/></interface>")
        host.libvirt_writes("b", "<interface type='vhostuser'><source path='/v'/></interface>")
        await host.next()
        assert hinted == ["vnet0"]
        (host.paths.libvirt_dir / "a.xml").unlink()
        await asyncio.wait_for(_until(lambda: hinted == ["vnet0", "vnet0"], news), 10)

    played(tmp_path, story)


async def _until(predicate: Callable[[], bool], news: asyncio.Event) -> None:
    while not predicate():
        await news.wait()
        news.clear()


def test_a_callback_that_fails_is_not_swallowed(tmp_path: Path) -> None:
    async def run() -> None:
        host = Host(tmp_path)

        def broken() -> None:
            raise LookupError("broken")

        host.libvirt_writes("a", "<interface type='vhostuser'><source path='/v'/></interface>")
        watch = SourceWatch(host.resolver, broken)
        await watch.start()
        with pytest.raises(LookupError, match="broken"):
            await asyncio.wait_for(watch.wait(), 10)
        await watch.stop()
        await host.resolver.close()

    asyncio.run(run())
