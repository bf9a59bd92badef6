# SPDX-License-Identifier: Apache-2.0
"""Everything we ask of rtnetlink, with the parts of pyroute2 that are loaded at the start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="netlink's buffer size needs root")

ROOT = Path(__file__).parents[2]
ASK_ALL = """
import asyncio, sys
from sentinel.netlink import LinkFollower
from sentinel.netlink_counters import link_counters
from sentinel.queues import Queues

async def ask():
    told = []
    follower = LinkFollower(told.extend, told.append, told.append)
    await follower.start()
    await follower._tell_virtual_functions()
    lo = next(link.ifindex for link in told if link.name == "lo")
    queues = Queues()
    assert await queues.read(lo) is not None
    queues.close()
    assert lo in await link_counters([lo])
    await follower.stop()

before = set(sys.modules)
asyncio.run(ask())
print(*(name for name in set(sys.modules) - before if name.startswith("pyroute2")))
"""


def test_no_request_loads_more_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
