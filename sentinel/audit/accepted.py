# SPDX-License-Identifier: Apache-2.0
"""Findings that are known and accepted."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def is_accepted(finding_id: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern of [audit] accepted means this finding: listed, but no incident."""
    return any(finding_id == one or fnmatchcase(finding_id, one) for one in patterns)
