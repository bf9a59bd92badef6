# SPDX-License-Identifier: Apache-2.0
"""Story 1 with real 8021q, bonding and NICs: `ls` answers, `ps aux` hangs, the audit says why."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.daemon import Sentinel
from tests.harness.double_vlan import (
    BOND,
    BRIDGE,
    DATA_CENTRE_VID,
    DATA_CENTRE_VLAN,
    ENVELOPE_PAIRS,
    PAIRS,
    SWITCH,
    TAP,
    TENANT_VID,
    TENANT_VLAN,
    DoubleVlan,
)
from tests.harness.double_vlan_talk import Session, Shell
from tests.harness.waiting import PATIENCE, wait_until
from tools.vm.nics import nics_here

pytestmark = pytest.mark.skipif(
    "TAPSENTINEL_LANE" not in os.environ,
    reason="needs 8021q, bonding and NICs wired back to back; run it by tools/vm/run_lanes.py",
)

ETH_P_ALL = 0x0003
TPID_C = 0x8100
EXPERIMENT = b"\x88\xb5"  # IEEE 802, for local experiments
FIRST = 9
STALLED_AFTER = 4
CLOSES_WITHIN_NS = 1_000_000_000
TWO_TAGS_CARRY, ONE_TAG_CARRIES = 1496, 1500


@contextlib.contextmanager
def cable(pair: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Sockets at both ends: the first sends frames larger than it should, the second listens."""
    names = [nics_here()[pair, end] for end in (0, 1)]
    with contextlib.ExitStack() as stack:
        ends = []
        for name in names:
            subprocess.run(["ip", *f"link set {name} mtu 1600 promisc on up".split()], check=True)
            undo = f"link set {name} mtu 1500 promisc off down"
            stack.callback(subprocess.run, ["ip", *undo.split()], check=True)
            end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            ends.append(stack.enter_context(end))
            ends[-1].bind((name, ETH_P_ALL))
            ends[-1].settimeout(0.2)
        yield ends[0], ends[1]


def frame(tags: int, packet_bytes: int, mark: int) -> bytes:
    stack = b"".join(struct.pack("!HH", TPID_C, vid) for vid in range(20, 20 + tags))
    packet = struct.pack("!I", mark).ljust(packet_bytes, b"\0")
    return b"\xff" * 6 + b"\x02\0\0\0\0\x01" + stack + EXPERIMENT + packet


def next_mark(receiver: socket.socket) -> int:
    """Of the next frame that was sent here; 0 if there is none."""
    with contextlib.suppress(TimeoutError):
        data = receiver.recv(65536)
        # The kernel may have taken the outer tag off.
        at = data.find(EXPERIMENT, 12, 22)
        if at >= 0:
            (mark,) = struct.unpack_from("!I", data, at + 2)
            return int(mark)
    return 0


@pytest.mark.parametrize(
    ("pair", "two_tags_pass"), [(PAIRS[0], False), (PAIRS[1], False), (ENVELOPE_PAIRS[0], True)]
)
def test_1500_bytes_pass_a_nic_with_one_tag_and_an_envelope_nic_with_two(
    pair: int, two_tags_pass: bool
) -> None:
    sent = {
        "untagged": frame(0, 1500, 1),
        "one tag": frame(1, 1500, 2),
        "two tags": frame(2, 1500, 3),
        "two tags in the space of one": frame(2, 1496, 4),
        "the last": frame(0, 46, 5),
    }
    assert [len(data) for data in sent.values()] == [1514, 1518, 1522, 1518, 60]
    with cable(pair) as (sender, receiver):

        def is_up() -> bool:
            sender.send(frame(0, 46, FIRST))
            return next_mark(receiver) == FIRST

        wait_until(is_up, 10, "the cable to be up")
        for data in sent.values():
            sender.send(data)
        came: set[int] = set()
        while 5 not in came:
            came.add(wait_until(lambda: next_mark(receiver), 5, f"the last, after {came}"))
    assert came - {FIRST} == ({1, 2, 3, 4, 5} if two_tags_pass else {1, 2, 4, 5})


def stall(scene: DoubleVlan, shell: Shell, session: Session) -> None:
    """`ls` answers, `ps aux` hangs, another `ls` by a new connection answers."""
    session.ask("ls")
    wait_until(session.answered, 20, "ls")
    session.ask("ps aux")
    wait_until(lambda: session.answered() or shell.timeouts() >= STALLED_AFTER, 20, "a stall")
    assert session.received == b""
    with Session(scene.outside, scene.guest) as another:
        another.ask("ls")
        wait_until(another.answered, 20, "ls by a new connection")


def transfer(scene: DoubleVlan) -> None:
    with Session(scene.outside, scene.guest) as session:
        session.ask("ps aux")
        wait_until(session.answered, 20, "ps aux")


def test_a_guest_with_segmentation_offload_hangs_likewise() -> None:
    with DoubleVlan(offload=True) as scene, Shell(scene.guest) as shell:
        transfer(scene)
        scene.make_the_mistake()
        with Session(scene.outside, scene.guest) as session:
            stall(scene, shell, session)
            scene.attach_outside(SWITCH)
            scene.attach_host(BOND)
            wait_until(session.answered, 60, "the very same ps aux to go on")


def way(tree: dict[str, Any]) -> list[tuple[str, int]]:
    """Names and what they carry, from the tap to the first of what is below at each step."""
    steps = [(tree["name"], tree["carries_bytes"])]
    return steps + (way(tree["below"][0]) if tree["below"] else [])


def test_the_audit_names_the_four_bytes_and_its_repair_ends_them() -> None:
    with (
        DoubleVlan() as scene,
        Shell(scene.guest) as shell,
        Sentinel(scene.hypervisor) as sentinel,
    ):
        sentinel.start([TAP, BOND])
        transfer(scene)
        assert sentinel.json("audit")["findings"] == []
        path = sentinel.json("show", TAP)["path"]
        assert [name for name, _ in way(path["tree"])] == [TAP, BRIDGE, TENANT_VLAN, BOND, "eth0"]
        assert (path["mtu_bytes"], path["carries_bytes"]) == (1500, ONE_TAG_CARRIES)

        scene.make_the_mistake()
        with Session(scene.outside, scene.guest) as session:
            stall(scene, shell, session)
            document = wait_until(lambda: critical(sentinel), 20, "frames that show it", 0.1)
            (finding,) = document["findings"]
            assert_named(finding, document["pairs"])
            (incident,) = sentinel.incidents()
            assert (incident["check"], incident["detail"]) == ("audit", "vlan-on-vlan")
            assert (incident["port"], incident["closed_wall_ns"]) == (TENANT_VLAN, None)
            path = sentinel.json("show", TAP)["path"]
            names = [TAP, BRIDGE, TENANT_VLAN, DATA_CENTRE_VLAN, BOND, "eth0"]
            assert [name for name, _ in way(path["tree"])] == names
            assert (path["mtu_bytes"], path["carries_bytes"]) == (1500, TWO_TAGS_CARRY)
            shown = sentinel.cli("show", TAP).stdout
            assert all(name in shown for name in (*names, "eth1"))

            scene.attach_outside(SWITCH)
            repaired_ns = time.time_ns()
            scene.hypervisor.run(["sh", "-e", "-c", "\n".join(finding["commands"])])
            wait_until(session.answered, 60, "the very same ps aux to go on")
        transfer(scene)
        over = wait_until(lambda: closed(sentinel), 10, "the incident to close", 0.1)
        assert [one["id"] for one in over] == [incident["id"]]
        assert over[0]["closed_wall_ns"] - repaired_ns < CLOSES_WITHIN_NS * PATIENCE
        assert sentinel.json("audit")["findings"] == []
        summaries = {one["detail"]: one["summary"] for one in sentinel.incidents()}
        assert list(summaries) == ["vlan-on-vlan"], summaries


def critical(sentinel: Sentinel) -> dict[str, Any]:
    """The audit's document once frames show that it hurts; empty before."""
    document: dict[str, Any] = sentinel.json("audit")
    return document if "critical" in [one["severity"] for one in document["findings"]] else {}


def closed(sentinel: Sentinel) -> list[dict[str, Any]]:
    return [one for one in sentinel.incidents() if one["closed_wall_ns"] is not None]


def assert_named(finding: dict[str, Any], pairs: list[dict[str, Any]]) -> None:
    assert (finding["id"], finding["device"]) == (f"vlan-on-vlan/{TENANT_VLAN}", TENANT_VLAN)
    assert f"{TENANT_VLAN} is stacked on {DATA_CENTRE_VLAN}" in finding["what"]
    assert f"({TENANT_VLAN}@{DATA_CENTRE_VLAN} → {BOND})" in finding["what"]
    assert "exactly 4 bytes" in finding["what"]
    assert finding["repair"] == f"Attach {TENANT_VLAN} to {BOND}."
    assert finding["frames"] > 0
    (pair,) = (
        one
        for one in pairs
        if (one["device"], one["direction"], one["oversized"] > 0) == (BOND, "to_wire", True)
    )
    assert (pair["outer"]["vid"], pair["inner"]["vid"]) == (DATA_CENTRE_VID, TENANT_VID)
    assert pair["excess"]["1-4"] == pair["oversized"]
    assert pair["smallest_excess_bytes"] == pair["largest_excess_bytes"] == 4


def test_a_service_tag_that_is_meant_to_be_there_raises_nothing() -> None:
    with (
        DoubleVlan(ENVELOPE_PAIRS, service_tag=True) as scene,
        Shell(scene.guest),
        Sentinel(scene.hypervisor) as sentinel,
    ):
        sentinel.start([TAP, BOND])
        transfer(scene)
        document = sentinel.json("audit")
        assert document["findings"] == []
        # Both tags were seen on full-size frames.
        largest = max(
            one["largest_wire_bytes"]
            for one in document["pairs"]
            if one["inner"] and one["direction"] == "to_wire"
        )
        assert largest >= ONE_TAG_CARRIES
        uplink = sentinel.port(BOND)["counters"]["to_wire"]
        assert uplink["vlan_nested"] > 0
        # A counter says how large frames were, whoever meant them to be.
        assert uplink["oversized"] == uplink["oversized_by_tags"]
        assert sentinel.json("show", TAP)["path"]["carries_bytes"] == ONE_TAG_CARRIES
        assert sentinel.incidents() == []
