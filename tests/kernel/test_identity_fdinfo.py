# SPDX-License-Identifier: Apache-2.0
"""A real qemu is found by the tap that it holds."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sentinel.identity import IdentityPaths, IdentityResolver
from sentinel.identity.fdinfo import TapHolders
from sentinel.vm import VmIdentity
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until

QEMU = shutil.which("qemu-system-x86_64")
PROC = Path("/proc")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root"),
    pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed"),
]


def qemu(netns: Namespace, tap: str, vm_uuid: str, name: str) -> subprocess.Popen[str]:
    """Start a paused VM on a tap of its own making; its monitor is on stdin and stdout."""
    monitor = netns.popen(
        [
            "qemu-system-x86_64", "-nodefaults", "-accel", "tcg", "-S", "-m", "16",
            "-display", "none", "-monitor", "stdio",
            "-name", f"guest={name},debug-threads=on", "-uuid", vm_uuid,
            "-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=n0,romfile=",
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_until(lambda: tap in netns.links(), 20, f"qemu's {tap}")
    return monitor


def test_a_qemu_is_named_by_its_tap_and_so_is_one_that_is_plugged_later() -> None:
    vm_uuid = str(uuid.uuid4())
    with Namespace("vm") as netns:
        vm = qemu(netns, "tap0", vm_uuid, "web,,1")
        expected = VmIdentity(vm_uuid, "web,1", "fdinfo", pid=vm.pid)
        with netns.enter():
            holders = TapHolders(PROC)
            assert holders.find(["tap0", "tap1"]) == {"tap0": expected}
            assert vm.stdin is not None
            vm.stdin.write("netdev_add tap,id=n1,ifname=tap1,script=no,downscript=no\n")
            vm.stdin.flush()
            wait_until(lambda: "tap1" in netns.links(), 20, "the second tap")
            # At once, however lately this process was looked at.
            assert holders.find(["tap1"]) == {"tap1": expected}
            vm.kill()
            vm.wait()
            assert holders.find(["tap0", "tap1"]) == {}


def test_a_vm_of_another_namespace_has_another_tap_of_the_same_name() -> None:
    ours, theirs = str(uuid.uuid4()), str(uuid.uuid4())
    with Namespace("a") as here, Namespace("b") as there:
        # Were the namespace not asked for, either could win: so both ways.
        qemu(there, "tap0", theirs, "theirs")
        with here.enter():
            assert TapHolders(PROC).find(["tap0"]) == {}
        qemu(here, "tap0", ours, "ours")
        for netns, vm_uuid in ((here, ours), (there, theirs)):
            with netns.enter():
                assert TapHolders(PROC).find(["tap0"])["tap0"].uuid == vm_uuid


def test_who_holds_a_tap_and_is_no_qemu_is_known_by_its_pid() -> None:
    with Namespace("vm") as netns, netns.enter(), Tap("tap0", netns):
        found = TapHolders(PROC).find(["tap0"])
        assert found == {"tap0": VmIdentity(None, None, "fdinfo", pid=os.getpid())}


def test_the_resolver_finds_a_qemu_too(tmp_path: Path) -> None:
    vm_uuid = str(uuid.uuid4())
    tap = "tap5d7a9c1e-3f"
    with Namespace("vm") as netns:
        vm = qemu(netns, tap, vm_uuid, "web")

        async def story() -> None:
            resolver = IdentityResolver(IdentityPaths(tmp_path / "none", tmp_path, PROC))
            try:
                assert await resolver.resolve([tap]) == {
                    tap: VmIdentity(vm_uuid, "web", "fdinfo", port_id="5d7a9c1e-3f", pid=vm.pid)
                }
            finally:
                await resolver.close()

        with netns.enter():
            asyncio.run(story())


def test_without_the_right_it_is_counted_not_guessed() -> None:
    script = """
import os, pathlib
from sentinel.identity.fdinfo import TapHolders
os.setgroups([]); os.setegid(65534); os.seteuid(65534)
holders = TapHolders(pathlib.Path("/proc"))
assert holders.find(["tap0"]) == {}
assert holders.denied > 0, holders.denied
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
