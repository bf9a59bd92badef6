# SPDX-License-Identifier: Apache-2.0
"""How the journal does, as `status` tells it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """How the journal does. `problem` None: nothing for an operator to look at."""

    ok: bool
    problem: str | None
    path: str
    entries: int
    size_bytes: int
    """Of the database and its log."""
    pending: int
    """Rows that wait in memory for the disk."""
    lost: int
    """Rows that found no room to wait, since the start."""
    last_seq: int
    writing: bool
    """Whether entries reach the disk."""

    def to_dict(self) -> dict[str, Any]:
        """The status as a JSON object."""
        return asdict(self)
