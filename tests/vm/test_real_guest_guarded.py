# SPDX-License-Identifier: Apache-2.0
"""The story with a real virtual machine: its own spanning tree, its own kernel."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.harness.daemon import Sentinel
from tests.harness.hypervisor import Lab
from tests.harness.real_guest import RealGuest
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None,
        reason="needs root and qemu-system-x86_64 (package qemu-system-x86)",
    ),
    pytest.mark.skipif("TAPSENTINEL_LANE" in os.environ, reason="a guest boots no guests"),
]

TAP = "tapreal"
GUEST_MAC = "52:54:00:aa:00:09"
CUT = {"checks.bpdu": {"action": "quarantine"}}


def test_a_real_guest_s_first_bpdu_dies_with_its_port() -> None:
    with Lab() as lab, lab.capture() as wire, Sentinel(lab.hypervisor.netns, CUT) as sentinel:
        neighbour = lab.add_guest("tapnext")
        lab.hypervisor.netns.ip(f"tuntap add dev {TAP} mode tap", f"link set {TAP} master br0 up")
        sentinel.start([TAP, "tapnext"])
        with RealGuest(TAP, lab.hypervisor.netns.name, GUEST_MAC, name="story-3") as guest:
            guest.wait_ready()
            wait_until(lambda: sentinel.port(TAP)["vm"]["name"], 30, "the VM's name", 0.1)
            assert sentinel.port(TAP)["vm"]["name"] == "story-3"
            assert sentinel.port(TAP)["vm"]["source"] == "fdinfo"

            with neighbour.pinging(lab.outside.address) as pings:
                guest.start_spanning_tree()
                wait_until(lambda: sentinel.port(TAP)["state"] == "quarantined", 60, "the cut", 0.1)
                tally = pings.stop()
            assert (tally.lost, tally.sent > 0) == (0, True)

            (incident,) = sentinel.incidents(TAP)
            assert (incident["check"], incident["verdict"]) == ("bpdu", "latched")
            assert incident["mac"] == GUEST_MAC
            assert incident["vm"]["name"] == "story-3"
            assert "VM story-3" in incident["summary"]
        assert wire.bpdus() == 0
        assert lab.switch.state(lab.port) == "forwarding"
