# SPDX-License-Identifier: Apache-2.0
"""One noisy guest: the counters stay exact, the journal stays small."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.harness.daemon import Tables
from tests.harness.guarded import (
    ALL_TAPS,
    OFFENDER,
    SIZES,
    Flooding,
    assert_wire_clean,
    events,
    guarded,
    needs_daemon,
)
from tests.harness.waiting import wait_until

pytestmark = needs_daemon


@pytest.mark.parametrize("action", ["count", "drop"])
@pytest.mark.parametrize("size", SIZES)
def test_a_noisy_guest_does_not_fill_the_journal(action: str, size: int) -> None:
    tables: Tables = {"checks.bpdu": {"action": action}}
    with guarded(tables) as scene:
        before = len(events(scene.sentinel))
        with Flooding(scene) as running:
            running.wait_for(size)
            sent = running.stop()
        seconds = sent.bad.elapsed_ns / 1e9
        if action == "drop":
            assert_wire_clean(scene, sent)
        seen = scene.counters(OFFENDER)["from_guest"]
        assert seen["frames"] == seen["bpdu"]["total"] == sent.bad.frames
        told = seen["events"]
        # A second may fall in two windows of the gate.
        assert told["told"] <= 10 * (seconds + 2)
        assert told["told"] + told["suppressed"] + told["lost"] == sent.bad.frames
        wait_until(
            lambda: scene.sentinel.incidents(OFFENDER, "bpdu")[0]["frames"] == sent.bad.frames,
            15,
            "the incident to stand for every frame",
            0.1,
        )
        new = events(scene.sentinel)[before:]
        # Opened, then told of after 1, 2, 4, ... seconds: what the guest sends, and what
        # its neighbours lose of it.
        most = 2 + (seconds + 15).__ceil__().bit_length()
        causes = Counter((one["body"].get("check"), one["port"]) for one in new)
        assert causes.keys() <= {("bpdu", OFFENDER), *(("audit", tap) for tap in ALL_TAPS)}
        assert max(causes.values()) <= most
