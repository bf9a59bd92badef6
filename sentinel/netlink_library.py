# SPDX-License-Identifier: Apache-2.0
"""What we use of pyroute2, without the rest of it.

Its package imports all it has: an object store, ipset, conntrack, 9p and more, 4 MB of
memory. So the package stands in its place unexecuted while the parts that we use are
imported. It is executed, in the same place, when somebody asks it for a name of its own:
who imports pyroute2 elsewhere in the process gets all of it, with these very classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sentinel.postponed import postpone


@contextmanager
def parts_alone() -> Iterator[None]:
    """Have `from pyroute2.part import name` import that part alone."""
    be_there_when_asked = postpone("pyroute2")
    try:
        yield
    finally:
        be_there_when_asked()


with parts_alone():
    from pyroute2.iproute.linux import AsyncIPRoute
    from pyroute2.netlink import NLM_F_DUMP_INTR, nlmsg
    from pyroute2.netlink.exceptions import NetlinkDecodeError, NetlinkError
    from pyroute2.netlink.rtnl import (
        RTM_DELLINK,
        RTM_NEWLINK,
        RTM_NEWQDISC,
        RTM_NEWSTATS,
        RTMGRP_LINK,
        TC_H_ROOT,
    )

__all__ = (
    "NLM_F_DUMP_INTR",
    "RTMGRP_LINK",
    "RTM_DELLINK",
    "RTM_NEWLINK",
    "RTM_NEWQDISC",
    "RTM_NEWSTATS",
    "TC_H_ROOT",
    "AsyncIPRoute",
    "NetlinkDecodeError",
    "NetlinkError",
    "nlmsg",
)
