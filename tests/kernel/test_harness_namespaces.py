# SPDX-License-Identifier: Apache-2.0
"""Namespaces go with their maker, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.namespaces import Namespace, leftovers, sweep
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")

CHECKOUT = Path(__file__).parents[2]
KILLED = """
import os, signal
from tests.harness.hypervisor import Lab
lab = Lab()
guest = lab.add_guest("tapkilled")
child = guest.netns.popen(["sleep", "600"], stdout=None, stderr=None)
print(child.pid, guest._relay.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_runs_namespaces_are_swept() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as run:
        assert run.stdout is not None
        child, relay = map(int, run.stdout.readline().split())
        assert run.wait(10) == -signal.SIGKILL
        # Another test's sweep may be first; what counts is that they are gone.
        sweep()
    wait_until(lambda: leftovers(run.pid) == [], 5, "the namespaces to go")
    wait_until(lambda: not alive(child) and not alive(relay), 5, "the processes to go")


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_live_runs_namespaces_are_not_swept() -> None:
    with Namespace() as netns:
        sweep()
        assert netns.name in leftovers(os.getpid())
    assert netns.name not in leftovers()


def test_a_thread_enters_and_comes_back() -> None:
    home = Path("/proc/thread-self/ns/net").readlink()
    with Namespace() as netns:
        netns.ip("link add name br7 type bridge")
        with netns.enter():
            assert Path("/proc/thread-self/ns/net").readlink() != home
            assert "br7" in Path("/proc/thread-self/net/dev").read_text()
        assert Path("/proc/thread-self/ns/net").readlink() == home
        assert set(netns.links()) == {"lo", "br7"}


def test_a_refused_command_says_what_and_why() -> None:
    with Namespace() as netns:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            netns.ip("link set nosuch up")
        assert "nosuch" in caught.value.stderr


def test_commands_inside_see_the_same_sys() -> None:
    with Namespace() as netns:
        inside = netns.run(["stat", "-f", "-c", "%i %T", "/sys"]).stdout
        assert inside == subprocess.check_output(["stat", "-f", "-c", "%i %T", "/sys"], text=True)
