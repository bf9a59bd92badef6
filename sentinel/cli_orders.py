# SPDX-License-Identifier: Apache-2.0
"""Orders while no daemon runs: the pinned maps are told directly.

The kernel obeys at once; the next daemon journals it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from sentinel.errors import NoDaemonError
from sentinel.loader import offline


@dataclass(frozen=True, slots=True)
class Order:
    """`op` is quarantine or release; `hold_ns` None: until released."""

    op: str
    port: str
    hold_ns: int | None
    reason: str


def order_directly(order: Order, bpffs_dir: str, absent: NoDaemonError) -> dict[str, object]:
    """Carry out an order on the pins; the result has the shape of a daemon's.

    Raises NoDaemonError (the one given, and why it cannot be helped) for anybody
    but root, and what `loader.offline` raises.
    """
    if os.geteuid() != 0:
        raise NoDaemonError(f"{absent}, and without one only root can give orders to the kernel")
    uid = os.getuid()
    cut = order.op == "quarantine"
    pins = Path(bpffs_dir)
    if cut:
        done = offline.quarantine(pins, order.port, order.hold_ns, order.reason, uid)
    else:
        done = offline.release(pins, order.port, order.reason, uid)
    return {
        "port": done.port,
        "ifindex": done.ifindex,
        "changed": done.changed,
        "state": "quarantined" if cut else "watched",
        "until_wall_ns": time.time_ns() + order.hold_ns if cut and order.hold_ns else None,
        "journaled": False,
        "daemon": False,
    }
