# SPDX-License-Identifier: Apache-2.0
"""The stock kernels the guard is tried on: which Debian suites carry each lane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / "build" / "vm"


@dataclass(frozen=True)
class Lane:
    """One kernel series and where Debian publishes it.

    `archive_suites` live on the Debian archive, `security_suites` on the security
    archive. The newest package whose version starts with `version_prefix` is taken.
    """

    name: str
    version_prefix: str
    archive_suites: tuple[str, ...]
    security_suites: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return CACHE / self.name


LANES: dict[str, Lane] = {
    lane.name: lane
    for lane in (
        Lane("5.10", "5.10.", ("bullseye",), ("bullseye-security",)),
        Lane("6.1", "6.1.", ("bookworm",), ("bookworm-security",)),
        Lane("6.12", "6.12.", ("trixie", "bookworm-backports"), ("trixie-security",)),
        Lane("7", "7.", ("sid", "trixie-backports")),
    )
}


class LaneError(Exception):
    """A lane cannot be prepared or run; the message says what to do about it."""


def lane_named(name: str) -> Lane:
    """Look a lane up; raises LaneError naming the lanes there are."""
    try:
        return LANES[name]
    except KeyError:
        known = ", ".join(LANES)
        raise LaneError(f"there is no kernel lane {name!r}: choose from {known}") from None
