# SPDX-License-Identifier: Apache-2.0
"""An incident's time line: in order, bounded, its beginning and its latest part kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sentinel.event import Moment

MOST_MOMENTS: Final = 32
LONGEST_MOMENT_CHARS: Final = 160
LONGEST_PLACE_CHARS: Final = 64
LEFT_OUT: Final = "what followed here is not kept"
"""The text of the moment that stands for those between the beginning and the latest."""


def add_moment(evidence: tuple[Moment, ...], moment: Moment) -> tuple[Moment, ...]:
    """The time line with one moment more, at the place that its time gives it."""
    at = len(evidence)
    while at and evidence[at - 1].time_ns > moment.time_ns:
        at -= 1
    return bounded((*evidence[:at], moment, *evidence[at:]))


def bounded(evidence: Sequence[Moment], most: int = MOST_MOMENTS) -> tuple[Moment, ...]:
    """At most so many moments (two or more), texts cut at LONGEST_MOMENT_CHARS.

    If there are more, the oldest and the newest stay, and one that says LEFT_OUT
    stands between them.
    """
    if len(evidence) > most:
        kept_first = most // 2
        gap = replace(evidence[kept_first - 1], text=LEFT_OUT)
        newest = evidence[len(evidence) - (most - kept_first) :]
        evidence = (*evidence[: kept_first - 1], gap, *newest)
    return tuple(_clipped(moment) for moment in evidence)


def _clipped(moment: Moment) -> Moment:
    if len(moment.text) <= LONGEST_MOMENT_CHARS and len(moment.place) <= LONGEST_PLACE_CHARS:
        return moment
    return replace(
        moment,
        place=moment.place[:LONGEST_PLACE_CHARS],
        text=_cut(moment.text),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_MOMENT_CHARS else text[: LONGEST_MOMENT_CHARS - 1] + "…"
