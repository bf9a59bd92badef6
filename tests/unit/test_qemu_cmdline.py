# SPDX-License-Identifier: Apache-2.0
"""qemu's command line: which ways to the network it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.pci import pci_address
from sentinel.qemu_cmdline import MOST_PORTS, is_qemu, ports_of_cmdline
from sentinel.vm import VmIdentity, VmPort

VM = VmIdentity(None, None, "fdinfo", pid=42)


def cmdline(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in ("qemu-system-x86_64", *words))


def vhost_user(path: str) -> VmPort:
    return VmPort("vhost-user", VM, source=path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["-chardev", "socket,id=c0,path=/run/a,server=on", "-netdev",
             "vhost-user,id=n0,chardev=c0,queues=2"],
            [vhost_user("/run/a")],
        ),
        # The other order, the long forms, a comma in the path.
        (
            ["--netdev", "type=vhost-user,id=n0,chardev=c0", "--chardev",
             "backend=socket,path=/run/a,,b,id=c0"],
            [vhost_user("/run/a,b")],
        ),
        (
            ["-chardev", "socket,id=c0,path=/run/a", "-netdev",
             '{"type":"vhost-user","id":"n0","chardev":"c0","queues":2}'],
            [vhost_user("/run/a")],
        ),
        (
            ["-nic", "vhost-user,chardev=c0", "-chardev", "socket,id=c0,path=/run/a"],
            [vhost_user("/run/a")],
        ),
        # A socket that is no network, a network that has no socket.
        (["-chardev", "socket,id=mon,path=/run/mon", "-netdev", "tap,id=n0,fd=3"], []),
        (["-netdev", "vhost-user,id=n0,chardev=c0"], []),
        (["-chardev", "pty,id=c0,path=/x", "-netdev", "vhost-user,chardev=c0"], []),
        (["-device", "vfio-pci,host=3b:02.1"], [VmPort("vf", VM, source="0000:3b:02.1")]),
        (
            ["-device", '{"driver":"vfio-pci","host":"0001:3B:02.1","id":"hostdev0"}'],
            [VmPort("vf", VM, source="0001:3b:02.1")],
        ),
        (
            ["-device", "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:3b:02.1"],
            [VmPort("vf", VM, source="0000:3b:02.1")],
        ),
        (["-device", "vfio-pci,host=../../etc"], []),
        (["-device", "vfio-pci,sysfsdev=/sys/bus/mdev/devices/b1ae8bf6-38b0"], []),
        (["-device", "virtio-net-pci,host=3b:02.1"], []),
        (["-device", "{"], []),
        (["-device", "[" * 100_000], []),
        (["-device", '{"a":' * 10_000], []),
        (["-netdev", '{"type":["vhost-user"],"chardev":{}}'], []),
        (["-netdev"], []),
        (
            ["-chardev", "socket,id=c,path=" + "x" * 100_000, "-netdev", "vhost-user,chardev=c"],
            [],
        ),
    ],
)  # fmt: skip
def test_what_is_named(words: list[str], expected: list[VmPort]) -> None:
    assert list(ports_of_cmdline(cmdline(*words), 42)) == expected


def test_there_are_not_more_than_a_vm_can_have() -> None:
    words = ["-device", "vfio-pci,host=3b:02.1"] * 10_000
    assert len(ports_of_cmdline(cmdline(*words), 42)) == MOST_PORTS


@given(st.binary(max_size=300), st.sampled_from([b"-chardev", b"-netdev", b"-device"]))
def test_any_command_line_is_read(junk: bytes, option: bytes) -> None:
    socket = b"-chardev\0socket,id=c0,path=/" + junk + b"\0-netdev\0vhost-user,chardev=c0\0"
    for port in ports_of_cmdline(b"qemu\0" + option + b"\0" + junk + b"\0" + socket, 1):
        assert 0 < len(port.source) <= 256
        port.source.encode("utf-8")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (b"/usr/bin/qemu-system-x86_64", True),
        (b"qemu-system-aarch64", True),
        (b"/usr/libexec/qemu-kvm", True),
        (b"/usr/bin/kvm", True),
        (b"/usr/bin/qemu-img", False),
        (b"/qemu-system-x86_64/sh", False),
        (b"", False),
    ],
)
def test_what_is_qemu(program: bytes, expected: bool) -> None:
    assert is_qemu(program + b"\0-netdev\0vhost-user") is expected
    assert is_qemu(program) is expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("3b:02.1", "0000:3b:02.1"),
        ("0000:3B:1f.7", "0000:3b:1f.7"),
        ("10000:01:00.0", "10000:01:00.0"),
        ("3b:20.0", None),
        ("3b:02.8", None),
        ("000:3b:02.1", None),
        ("3b:02", None),
        ("", None),
        ("0000:3b:02.1/..", None),
    ],
)
def test_pci_addresses(text: str, address: str | None) -> None:
    assert pci_address(text) == address
