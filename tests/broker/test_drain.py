# SPDX-License-Identifier: Apache-2.0
"""A log that has waited for its broker is told in seconds, not minutes."""

from __future__ import annotations

import pytest

from tests.harness.drain import drain

EVENTS = 100_000
MOST_S = 60
MOST_AGAINST_BARE = 2.0
"""The bare client reads no journal, makes no envelope and keeps no cursor."""


@pytest.mark.slow
@pytest.mark.alone
def test_a_hundred_thousand_events_take_seconds() -> None:
    for tries_left in (2, 1, 0):
        drained = drain(EVENTS)
        ours = drained.publisher
        print(
            f"{ours.events} events in {ours.seconds:.1f} s, {drained.against_bare:.2f} times a "
            f"bare client's; CPU {ours.cpu_per_event_us:.0f} us an event, its "
            f"{drained.bare.cpu_per_event_us:.0f} us"
        )
        if drained.against_bare < MOST_AGAINST_BARE or not tries_left:
            break
    assert ours.seconds < MOST_S
    assert drained.against_bare < MOST_AGAINST_BARE
    assert ours.cpu_per_event_us < 1.5 * drained.bare.cpu_per_event_us
