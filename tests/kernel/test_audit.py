# SPDX-License-Identifier: Apache-2.0
"""The audit on a real host: findings that open and close with what the host really is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sentinel.loader.drops import describe_obstacle
from tests.harness.daemon import Sentinel
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, ethernet
from tests.harness.guarded import needs_daemon
from tests.harness.guest_traffic import Load
from tests.harness.hypervisor import Lab
from tests.harness.programs import loader_under_test
from tests.harness.waiting import PATIENCE, wait_until

pytestmark = needs_daemon

OBSTACLE = describe_obstacle(loader_under_test()) if os.geteuid() == 0 else None
WITHIN_S = 1.0
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""Whether bridged packets go through iptables, as OpenStack's security groups want it."""
FULL_DATAGRAMS = 12
IP_AND_UDP_BYTES = 28
DISCARD_PORT = 9  # RFC 863
STP_ON, STP_OFF = "link set br0 type bridge stp_state 1", "link set br0 type bridge stp_state 0"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(guard=False) as made:
        yield made


def findings(sentinel: Sentinel) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in sentinel.json("audit")["findings"]}


def audited(sentinel: Sentinel) -> list[dict[str, Any]]:
    return [one for one in sentinel.incidents() if one["check"] == "audit"]


def has_opened(sentinel: Sentinel, count: int) -> bool:
    return len(audited(sentinel)) == count


def wait_for(sentinel: Sentinel, finding: str) -> dict[str, Any]:
    wait_until(lambda: finding in findings(sentinel), 10, finding, 0.05)
    return findings(sentinel)[finding]


def test_a_host_in_order_has_no_finding(lab: Lab) -> None:
    lab.add_guest("tapone")
    with Sentinel(lab.hypervisor.netns) as sentinel:
        sentinel.start(["tapone"])
        answer = sentinel.json("audit")
        assert answer["findings"] == []
        assert (answer["ports"], answer["uplinks"]) == (1, 1)
        said = sentinel.cli("audit")
        assert said.returncode == 0
        assert "nothing" in said.stdout
        assert sentinel.json("status")["audit"]["warning"] == 0


def test_incidents_follow_the_host_within_a_second(lab: Lab) -> None:
    host = lab.hypervisor.netns
    with Sentinel(host) as sentinel:
        sentinel.start()
        for turn in range(2):
            host.ip(STP_ON)
            began = time.monotonic()
            wait_until(partial(has_opened, sentinel, turn + 1), 10, "the incident", 0.02)
            opened_s = time.monotonic() - began
            (newest, *_) = audited(sentinel)
            assert (newest["detail"], newest["port"]) == ("host-stp", "br0")
            assert newest["closed_wall_ns"] is None
            host.ip(STP_OFF)
            began = time.monotonic()
            wait_until(lambda: audited(sentinel)[0]["closed_wall_ns"], 10, "its end", 0.02)
            closed_s = time.monotonic() - began
            print(f"opened after {opened_s:.2f} s, closed after {closed_s:.2f} s")
            assert max(opened_s, closed_s) < WITHIN_S * PATIENCE
        assert len(audited(sentinel)) == 2


def test_what_lets_bpdus_through_is_named_with_the_line_to_change(lab: Lab) -> None:
    host = lab.hypervisor.netns
    with Sentinel(host) as sentinel:
        sentinel.start()
        host.ip("link set br0 type bridge group_fwd_mask 256")
        found = wait_for(sentinel, "forwards-bpdu/br0")
        assert "01-80-C2-00-00-08" in found["what"]
        (command,) = found["commands"]
        host.ip(command.removeprefix("ip "))
        wait_until(lambda: not findings(sentinel), 10, "the repair", 0.05)


def test_members_of_different_mtus(lab: Lab) -> None:
    host = lab.hypervisor.netns
    lab.add_guest("tapone")
    with Sentinel(host) as sentinel:
        sentinel.start(["tapone"])
        host.ip("link set tapone mtu 9000")
        found = wait_for(sentinel, "bridge-mtu/br0")
        assert "9,000" in found["what"] or "9000" in found["what"]
        host.ip("link set tapone mtu 1500")
        wait_until(lambda: not findings(sentinel), 10, "the repair", 0.05)


def test_a_restart_neither_doubles_nor_ends_an_incident(lab: Lab) -> None:
    host = lab.hypervisor.netns
    with Sentinel(host) as sentinel:
        sentinel.start()
        host.ip(STP_ON)
        wait_until(lambda: audited(sentinel), 10, "the incident", 0.05)
        (before,) = audited(sentinel)
        for end in (sentinel.kill, sentinel.stop):
            end()
            sentinel.start()
            wait_for(sentinel, "host-stp/br0")
            (after,) = audited(sentinel)
            assert (after["id"], after["closed_wall_ns"]) == (before["id"], None)
        host.ip(STP_OFF)
        wait_until(lambda: audited(sentinel)[0]["closed_wall_ns"], 10, "its end", 0.05)
        assert len(audited(sentinel)) == 1


def test_an_accepted_finding_is_listed_and_opens_nothing(lab: Lab) -> None:
    host = lab.hypervisor.netns
    host.ip(STP_ON)
    with Sentinel(host, {"audit": {"accepted": ["host-stp/*"]}}) as sentinel:
        sentinel.start()
        found = wait_for(sentinel, "host-stp/br0")
        assert found["accepted"]
        assert audited(sentinel) == []
        assert sentinel.json("status")["audit"]["accepted"] == 1


def test_a_guest_with_super_frames_on_its_path_raises_nothing(lab: Lab) -> None:
    guest = lab.add_guest("tapone", offload=True)
    with Sentinel(lab.hypervisor.netns) as sentinel:
        sentinel.start(["tapone"])
        with Load(guest, lab.outside, bytes_per_s=1 << 30) as load:
            wait_until(lambda: load.received_bytes > 8 << 20, 30, "8 MiB")
        counters = sentinel.port("tapone")["counters"]["from_guest"]
        assert counters["bytes"] > 3 * 1500 * counters["frames"], "no super-frames were sent"
        assert counters["oversized"] == 0
        assert findings(sentinel) == {}
        assert sentinel.incidents() == []


@pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))
@pytest.mark.parametrize(
    ("filtered", "symbol"), [("0", "br_dev_queue_push_xmit"), ("1", "br_nf_dev_queue_xmit")]
)
def test_a_guest_with_jumbo_frames_is_told_with_the_bridge_that_drops_them(
    lab: Lab, filtered: str, symbol: str
) -> None:
    guest = lab.add_guest("tapone")
    with lab.hypervisor.netns.enter():
        if BRIDGE_FILTER.exists():
            BRIDGE_FILTER.write_text(filtered)
        elif filtered == "1":
            pytest.skip("this kernel has no br_netfilter")
    guest.netns.ip("link set eth0 mtu 9000")
    lab.outside.netns.ip("link set eth0 mtu 9000")
    with Sentinel(lab.hypervisor.netns) as sentinel:
        sentinel.start(["tapone"])
        assert guest.ping(lab.outside, count=1).received == 1
        with guest.netns.enter():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            for _ in range(FULL_DATAGRAMS):
                sender.sendto(bytes(9000 - IP_AND_UDP_BYTES), (lab.outside.address, DISCARD_PORT))
        name = "guest-oversized/tapone"
        wait_until(lambda: "does not forward" in str(findings(sentinel).get(name)), 10, name, 0.05)
        found = findings(sentinel)[name]
        assert found["severity"] == "critical"
        assert "9,000 bytes where its path carries 1,500" in found["what"]
        assert "Bridge br0 does not forward to uplink0" in found["what"]
        losses = sentinel.json("audit")["losses"]
        (lost,) = [one for one in losses if one["from"] == "tapone" and one["at"] == "uplink0"]
        assert (lost["frames"], lost["symbol"]) == (
            FULL_DATAGRAMS,
            symbol,
        )

        def places() -> set[str]:
            of_size = [one for one in sentinel.incidents("tapone") if one["check"] == "size"]
            return {moment["place"] for one in of_size for moment in one["evidence"]}

        wait_until(lambda: "uplink0" in places(), 10, "the loss in the evidence", 0.05)
        assert audited(sentinel) == []


def test_losses_are_not_traced_where_that_is_asked_for(lab: Lab) -> None:
    lab.add_guest("tapone")
    with Sentinel(lab.hypervisor.netns, {"kernel": {"drops": "off"}}) as sentinel:
        sentinel.start(["tapone"])
        answer = sentinel.json("audit")
        assert answer["drops"] == {"state": "off", "why": 'kernel.drops is "off"'}
        assert 'kernel.drops is "off"' in sentinel.cli("audit").stdout


def test_show_draws_the_path_with_what_was_counted(lab: Lab) -> None:
    tap = lab.add_tap("tapone")
    with Sentinel(lab.hypervisor.netns) as sentinel:
        sentinel.start(["tapone"])
        for _ in range(5):
            tap.write(ethernet(BROADCAST, GUEST_MAC, bytes(60), tags=[(TPID_C, 20, 0)]))
        path = sentinel.json("show", "tapone")["path"]
        tree = path["tree"]
        assert (path["mtu_bytes"], path["carries_bytes"]) == (1500, 1500)
        assert (tree["name"], tree["kind"]) == ("tapone", "tap")
        (bridge,) = tree["below"]
        (uplink,) = bridge["below"]
        assert (bridge["name"], uplink["name"]) == ("br0", "uplink0")
        assert uplink["counters"]["to_wire"]["frames"] >= 5
        drawn = sentinel.cli("show", "tapone").stdout
        assert "br0 (bridge)" in drawn
        assert "uplink0" in drawn
