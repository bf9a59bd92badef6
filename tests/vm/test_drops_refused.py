# SPDX-License-Identifier: Apache-2.0
"""Where the kernel cannot say what it throws away, the guard is as good without."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sentinel.errors import KernelError
from sentinel.loader import objects
from sentinel.loader.drops import DropTrace, describe_obstacle
from tests.harness.blast import blast
from tests.harness.frames import BROADCAST, GUEST_MAC, ethernet
from tests.harness.guarded_tap import GuardedTap
from tests.harness.programs import loader_under_test, objects_under_test
from tests.harness.waiting import wait_until

FOLDER = objects_under_test() or objects.OBJECTS_FOLDER
OBSTACLE = describe_obstacle(loader_under_test(), FOLDER) if os.geteuid() == 0 else None
ORDINARY = ethernet(BROADCAST, GUEST_MAC, bytes(86), 0x88B5)

pytestmark = pytest.mark.skipif(
    OBSTACLE is None, reason="this kernel can (or nobody may ask it): the lane 5.10 cannot"
)


@pytest.fixture
def tap() -> Iterator[GuardedTap]:
    with GuardedTap() as guarded:
        yield guarded


def test_the_guard_is_as_good_without(tap: GuardedTap) -> None:
    trace = DropTrace(tap.guard, FOLDER)
    with pytest.raises(KernelError) as refused:
        trace.start()
    assert str(refused.value) == OBSTACLE
    assert trace.read() == []
    assert (trace.unlisted(), trace.missed()) == (0, 0)
    assert tap.tap is not None
    sent = blast(tap.tap, [ORDINARY], 100).frames
    wait_until(lambda: tap.counts()[0]["frames"] == sent, 5, "the guard to count")
