# SPDX-License-Identifier: Apache-2.0
"""Of pyroute2 only what is used, and all of it for whoever asks for more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNUSED = "pyroute2.ndb"


def printed(code: str) -> list[str]:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_daemon_loads_the_parts_it_uses() -> None:
    loaded = printed("import sentinel.daemon, sys; print(*sys.modules)")
    assert "pyroute2.iproute.linux" in loaded
    assert UNUSED not in loaded


def test_who_asks_for_more_gets_the_whole_with_the_same_classes() -> None:
    code = f"""
import sys
from sentinel.netlink_library import AsyncIPRoute, nlmsg
import pyroute2, pyroute2.netlink.rtnl
hasattr(pyroute2, "__wrapped__")
print("{UNUSED}" in sys.modules)
from pyroute2 import NDB, AsyncIPRoute as same
print("{UNUSED}" in sys.modules, same is AsyncIPRoute, pyroute2.netlink.nlmsg is nlmsg)
print(pyroute2.ndb.main.NDB is NDB, sys.modules["pyroute2"].NDB is NDB)
print(hasattr(pyroute2, "no_such_name"))
"""
    assert printed(code) == ["False", "True", "True", "True", "True", "True", "False"]


def test_a_whole_that_is_there_is_left_as_it_is() -> None:
    code = """
import pyroute2
whole = pyroute2.AsyncIPRoute
from sentinel.netlink_library import AsyncIPRoute
import sys
print(sys.modules["pyroute2"] is pyroute2, AsyncIPRoute is whole)
"""
    assert printed(code) == ["True", "True"]
