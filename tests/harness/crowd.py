# SPDX-License-Identifier: Apache-2.0
"""A host with very many taps."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.daemon import Sentinel
from tests.harness.namespaces import Namespace
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until


@contextmanager
def crowd_of_taps(netns: Namespace, count: int, bridge: str) -> Iterator[None]:
    """tap0, tap1, … on a bridge, up; each holds a descriptor of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * count)), hard))
    taps = [Tap(f"tap{number}", netns) for number in range(count)]
    try:
        netns.ip(*(f"link set {tap.name} master {bridge} up" for tap in taps))
        yield
    finally:
        for tap in taps:
            tap.close()


def wait_for_crowd(sentinel: Sentinel, count: int) -> None:
    """Until so many ports are watched."""
    wait_until(lambda: sentinel.json("status")["guard"]["watched"] == count, 240, "all ports", 0.2)
