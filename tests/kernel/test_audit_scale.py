# SPDX-License-Identifier: Apache-2.0
"""A thousand taps and two hundred VLAN devices: how soon the audit answers, and a change is told.

Where the kernel has no 8021q, macvlans stand in for the VLAN devices.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator

import pytest

from sentinel.cli_client import Client
from tests.harness.crowd import crowd_of_taps, wait_for_crowd
from tests.harness.daemon import Sentinel
from tests.harness.guarded import needs_daemon
from tests.harness.namespaces import Namespace
from tests.harness.waiting import PATIENCE, wait_until

pytestmark = [*needs_daemon, pytest.mark.slow, pytest.mark.alone]

PORTS, VLANS = 1000, 200
MOST_ANSWER_S = 1.0
MOST_ABSORB_S = 0.050


@pytest.fixture(scope="module")
def crowd() -> Iterator[Sentinel]:
    with Namespace("hv") as netns, Namespace("sw") as switch:
        netns.ip(
            f"link add eth0 type veth peer name sw0 netns {switch.name}",
            "link set eth0 up",
            "link add br0 type bridge mcast_snooping 0",
            "link set eth0 master br0",
            "link set br0 up",
            f"link add eth1 type veth peer name sw1 netns {switch.name}",
            "link set eth1 up",
        )
        netns.ip(*(f"link add link eth1 name vlan{vid} {_kind(netns, vid)}" for vid in vids()))
        # By clsact: attaching by tcx takes half a minute, and is not what is measured.
        tables = {"kernel": {"attach": "clsact"}}
        with crowd_of_taps(netns, PORTS, "br0"), Sentinel(netns, tables) as sentinel:
            sentinel.start(timeout_s=240)
            wait_for_crowd(sentinel, PORTS)
            yield sentinel


def vids() -> range:
    return range(2, 2 + VLANS)


def _kind(netns: Namespace, vid: int) -> str:
    has_vlans = netns.run(
        ["ip", "link", "add", "link", "eth1", "name", "probe", "type", "vlan", "id", "1"],
        check=False,
    )
    if has_vlans.returncode == 0:
        netns.ip("link delete probe")
        return f"type vlan id {vid}"
    return "type macvlan mode bridge"


def tells(client: Client, finding: str) -> bool:
    """Whether an audit of now has it; each answer is a whole audit."""
    return any(one["id"] == finding for one in json.loads(client.ask("audit"))["findings"])


def busy(took_s: float) -> None:
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > 2 * cpus:
        pytest.skip(f"the machine is busy (load {load:.0f}): {took_s * 1e3:.0f} ms")


def test_the_audit_answers_within_a_second(crowd: Sentinel) -> None:
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        answer = crowd.json("audit")
        took.append(time.perf_counter() - began)
    assert answer["ports"] == PORTS
    assert answer["devices"] >= PORTS + VLANS
    print(
        f"{platform.release()}: `audit --json` with {answer['devices']} devices: "
        f"{min(took) * 1e3:.0f} to {max(took) * 1e3:.0f} ms, of these "
        f"{answer['took_ns'] / 1e6:.1f} ms in the daemon's audit"
    )
    if min(took) >= MOST_ANSWER_S:
        busy(min(took))
    assert min(took) < MOST_ANSWER_S * PATIENCE


def test_a_change_is_absorbed_within_50_ms(crowd: Sentinel) -> None:
    """From the kernel's event until an answer of the audit tells it, this question included."""
    changes = [
        (
            "link set br0 type bridge stp_state 1",
            "link set br0 type bridge stp_state 0",
            "host-stp",
        ),
        ("link set tap7 mtu 1400", "link set tap7 mtu 1500", "bridge-mtu"),
        ("link set vlan7 master br0", "link set vlan7 nomaster", "bridge-mtu"),
    ]
    crowd.netns.ip("link set vlan7 mtu 1400 up")
    with Client(str(crowd.directory / "run" / "control.sock")) as client:
        for there, back, rule in changes:
            took = [absorbed_s(crowd, client, f"{rule}/br0", there, back) for _ in range(5)]
            print(f"{there}: told after {min(took) * 1e3:.0f} to {max(took) * 1e3:.0f} ms")
            if min(took) >= MOST_ABSORB_S:
                busy(min(took))
            assert min(took) < MOST_ABSORB_S * PATIENCE


def absorbed_s(sentinel: Sentinel, client: Client, finding: str, there: str, back: str) -> float:
    """The longer of two ways: until what is wrong is told, and until it is told no more."""
    sentinel.netns.ip(there)
    began = time.perf_counter()
    wait_until(lambda: tells(client, finding), 10, there, 0)
    there_s = time.perf_counter() - began
    sentinel.netns.ip(back)
    began = time.perf_counter()
    wait_until(lambda: not tells(client, finding), 10, back, 0)
    return max(there_s, time.perf_counter() - began)
