# SPDX-License-Identifier: Apache-2.0
"""Story 1 with real parts: a tenant's VLAN on the data centre's own, and the audit's word on it.

Boots a stock kernel in qemu (8021q, bonding, two NICs wired to a switch's) and plays the
story there, with the real daemon and its commands as an operator types them. Some
minutes; exit status 1 if it does not go as told.

Usage: python tools/vm/play_story_1.py [LANE]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.harness.daemon import Sentinel
from tests.harness.double_vlan import BOND, DATA_CENTRE_VLAN, SWITCH, TAP, TENANT_VLAN, DoubleVlan
from tests.harness.double_vlan_talk import Session, Shell
from tests.harness.waiting import wait_until
from tools.vm.fetch_kernel import fetch_kernel
from tools.vm.guest import GuestOrder, run_in_guest
from tools.vm.lanes import LaneError, lane_named

LANE = "6.1"
INSIDE = "--inside"
TIMEOUTS = 4
SECONDS_AT_MOST = 600.0


def boot(lane: str) -> int:
    """Play it in a guest with this lane's kernel; its exit status."""
    command = [".venv/bin/python", str(Path(__file__).resolve()), INSIDE]
    order = GuestOrder(command, timeout_s=SECONDS_AT_MOST, nic_pairs=2)
    try:
        run = run_in_guest(fetch_kernel(lane_named(lane)), order, sys.stdout.buffer)
    except LaneError as error:
        print(error, file=sys.stderr)
        return 1
    if run.booted_s is None:
        print(run.console_tail, file=sys.stderr)
    return run.status


def play() -> int:
    """Inside the guest."""
    print(f"# kernel {os.uname().release}", flush=True)
    with (
        DoubleVlan() as scene,
        Shell(scene.guest) as shell,
        Sentinel(scene.hypervisor) as sentinel,
    ):
        sentinel.start([TAP, BOND])
        show(sentinel, "audit")
        print(f"# vlan_interface={DATA_CENTRE_VLAN}: the tenant's VLAN is made on the wrong device")
        scene.make_the_mistake()
        run(scene, "ip -br link show type vlan")
        with Session(scene.outside, scene.guest) as session:
            session.ask("ls")
            wait_until(session.answered, 20, "ls")
            told(f"over TCP, `ls`: {len(session.received):,} bytes, all of it")
            session.ask("ps aux")
            wait_until(lambda: session.answered() or shell.timeouts() >= TIMEOUTS, 20, "a stall")
            told(f"`ps aux`: {len(session.received):,} bytes, then nothing more")
            with Session(scene.outside, scene.guest) as another:
                another.ask("ls")
                wait_until(another.answered, 20, "ls by a new connection")
            told("`ls` by a new connection: all of it")
            wait_until(lambda: evidence(sentinel) > 0, 20, "frames that show it", 0.1)
            show(sentinel, "audit")
            show(sentinel, "show", TAP)
            found = sentinel.json("audit")["findings"]
            commands = next(one for one in found if one["device"] == TENANT_VLAN)["commands"]
            told("the audit's commands, and the same on the switch's side")
            scene.attach_outside(SWITCH)
            scene.hypervisor.run(["sh", "-e", "-c", "\n".join(commands)])
            wait_until(session.answered, 60, "the very same ps aux to go on")
            told(f"the same `ps aux` goes on: {len(session.received):,} bytes, all of it")
        wait_until(lambda: sentinel.incidents()[0]["closed_wall_ns"], 10, "the incident to close")
        show(sentinel, "incidents", "-v")
        show(sentinel, "audit")
    return 0


def evidence(sentinel: Sentinel) -> int:
    """Frames that show the finding."""
    return max((int(one["frames"]) for one in sentinel.json("audit")["findings"]), default=0)


def show(sentinel: Sentinel, *words: str) -> None:
    """A command as an operator types it, and what it prints."""
    done = sentinel.cli(*words)
    print(f"\n$ tapsentinel {' '.join(words)}", done.stdout + done.stderr, sep="\n", flush=True)


def run(scene: DoubleVlan, line: str) -> None:
    """A command of the host's own."""
    print(f"\n$ {line}", scene.hypervisor.run(line.split()).stdout, sep="\n", flush=True)


def told(text: str) -> None:
    """What was seen."""
    print(f"# {text}", flush=True)


if __name__ == "__main__":
    own = sys.argv[1:]
    sys.exit(play() if own == [INSIDE] else boot(own[0] if own else LANE))
