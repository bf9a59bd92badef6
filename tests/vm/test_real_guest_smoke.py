# SPDX-License-Identifier: Apache-2.0
"""A real virtual machine on a tap: it pings, and its spanning tree sends real BPDUs."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.namespaces import Namespace
from tests.harness.real_guest import GuestError, RealGuest

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None,
        reason="needs root and qemu-system-x86_64 (package qemu-system-x86)",
    ),
    pytest.mark.skipif("TAPSENTINEL_LANE" in os.environ, reason="a guest boots no guests"),
]

ETH_P_ALL = 0x0003
GUEST_MAC = "52:54:00:aa:00:07"
HOST_ADDRESS, GUEST_ADDRESS = "10.0.0.1", "10.0.0.7"
# IEEE 802.1D-1998 7.12.3 and 9.3.1: group address, 802.3 length, LLC, protocol 0,
# version 0, type 0 (configuration).
BRIDGE_GROUP = bytes.fromhex("0180c2000000")
STP_CONFIGURATION = bytes.fromhex("42420300000000")


@pytest.fixture
def host() -> Iterator[Namespace]:
    with Namespace("realguest") as namespace:
        yield namespace


@pytest.fixture
def tap(host: Namespace) -> str:
    name = f"tap{secrets.token_hex(4)}"
    host.ip(
        f"tuntap add dev {name} mode tap",
        f"address add {HOST_ADDRESS}/24 dev {name}",
        f"link set {name} up",
    )
    return name


def _next_bpdu(capture: socket.socket, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        capture.settimeout(left_s)
        frame = capture.recv(65536)
        if frame[:6] == BRIDGE_GROUP:
            return frame
    raise TimeoutError("no BPDU came out of the guest")


def test_a_real_guest_pings_and_its_bpdu_reaches_the_tap(host: Namespace, tap: str) -> None:
    with (
        RealGuest(tap, host.name, GUEST_MAC, f"{GUEST_ADDRESS}/24") as guest,
        host.enter(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as capture,
    ):
        capture.bind((tap, ETH_P_ALL))
        guest.wait_ready()
        assert guest.release.startswith("6.1.")
        assert guest.ping(HOST_ADDRESS, count=2)

        guest.start_spanning_tree()
        bpdu = _next_bpdu(capture, 20)
        assert bpdu[6:12] == bytes.fromhex(GUEST_MAC.replace(":", ""))
        (length,) = struct.unpack_from("!H", bpdu, 12)
        assert bpdu[14 : 14 + len(STP_CONFIGURATION)] == STP_CONFIGURATION
        # LLC and configuration BPDU, 3 and 35 bytes.
        assert length == 38
        # The root it claims to be: priority 0, its own MAC.
        assert bpdu[22:24] == b"\0\0"
        assert bpdu[24:30] == bpdu[6:12]

        guest.stop_spanning_tree()
        assert guest.ping(HOST_ADDRESS)


def test_qemu_holds_the_tap_and_both_go_with_the_guest(host: Namespace) -> None:
    name = f"tap{secrets.token_hex(4)}"
    with RealGuest(name, host.name) as guest:
        guest.wait_ready()
        pid = guest.pid
        fdinfos = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
        assert any(f"iff:\t{name}\n" in text for text in fdinfos)
        assert name in host.links()
    assert not Path(f"/proc/{pid}").exists()
    assert name not in host.links()


def test_a_command_that_fails_in_the_guest_says_so(host: Namespace, tap: str) -> None:
    with RealGuest(tap, host.name) as guest:
        guest.wait_ready()
        with pytest.raises(GuestError, match="nowhere"):
            guest.run("ls /nowhere")
        assert guest.run("echo two; echo lines >&2") == "two\nlines\n"
        assert guest.run("exit 3", check=False) == ""


def test_a_guest_without_a_tap_gives_qemu_s_reason(host: Namespace) -> None:
    host.ip("link add notatap type veth peer name peer0")
    with (
        RealGuest("notatap", host.name) as guest,
        pytest.raises(GuestError, match="notatap"),
    ):
        guest.wait_ready()
