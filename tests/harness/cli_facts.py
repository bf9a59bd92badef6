# SPDX-License-Identifier: Apache-2.0
"""What the tests of an operator's texts have in common."""

from __future__ import annotations

from sentinel.cli_text import Style
from tests.harness.canned_control import NOON_NS

PLAIN = Style(False)
SECOND_NS = 1_000_000_000
EVIL = "web\x1b]0;gotcha\x07\x9b2J\u202e\n1"
CUT = {
    "cause": "bpdu",
    "reason": "first BPDU",
    "uid": None,
    "since_wall_ns": NOON_NS,
    "hold_ns": 300 * SECOND_NS,
    "until_wall_ns": NOON_NS + 300 * SECOND_NS,
    "relapses": 0,
}


def text(lines: list[str]) -> str:
    return "\n".join(lines)
