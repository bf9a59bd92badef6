# SPDX-License-Identifier: Apache-2.0
"""Which of our topics may be retained at the broker: a list on disk, for the next publisher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

LARGEST_BYTES: Final = 16 << 20


class RetainedList:
    """A file of topics that begin with `before`; others in it are none of ours."""

    def __init__(self, path: Path, before: str) -> None:
        self.problem = ""
        """Why the list is not kept; empty: it is."""
        self._path = path
        self._before = before

    def read(self) -> list[str]:
        """What was written last; nothing of a file that is no such list."""
        try:
            with self._path.open("rb") as file:
                found = orjson.loads(file.read(LARGEST_BYTES))
        except (OSError, orjson.JSONDecodeError):
            return []
        if not isinstance(found, list):
            return []
        return [one for one in found if isinstance(one, str) and one.startswith(self._before)]

    def write(self, topics: Sequence[str]) -> None:
        """Keep a list; what goes wrong is told in `problem`."""
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(orjson.dumps(topics))
            new.replace(self._path)
        except OSError as error:
            self.problem = f"{self._path} cannot be written ({error.strerror})"
        else:
            self.problem = ""
