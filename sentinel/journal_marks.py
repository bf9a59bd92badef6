# SPDX-License-Identifier: Apache-2.0
"""A small file beside the journal that remembers which numbers were given out.

The database alone cannot: it may be damaged, gone, or never have been reached.
Two uses: a number is never given twice, and entries that were acknowledged but
are missing at the next start are noticed. It is overwritten in place, which a full
disk allows, and a lock on it keeps a second writer out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from dataclasses import dataclass
from typing import Final

from sentinel.errors import JournalError

SYNC_EVERY: Final = 1024
"""Numbers between two fsyncs: after a power failure the file may be this far behind."""

_FORM: Final = "tapsentinel marks 1\ngiven {:020d}\nkept {:020d}\nincident {:020d}\n"
_PATTERN: Final = re.compile(
    rb"tapsentinel marks 1\ngiven ([0-9]{20})\nkept ([0-9]{20})\nincident ([0-9]{20})\n"
)
_SIZE_BYTES: Final = len(_FORM.format(0, 0, 0))
_LARGEST: Final = 1 << 62


@dataclass(slots=True)
class Numbers:
    """What was given out."""

    given: int = 0
    """Highest event number handed to anybody."""
    kept: int = 0
    """Highest event number known to be on the disk."""
    incident: int = 0
    """Highest incident number."""


class Marks:
    """The file; where it cannot be written, the numbers live in memory alone."""

    def __init__(self, path: str) -> None:
        """Open and lock. Raises JournalError if another process has the journal."""
        self._path = path
        self._file: int | None = None
        self._synced = 0
        self.numbers = Numbers()
        self.were_there = False
        """Whether readable numbers were found."""
        self.were_damaged = False
        """Whether something else was found."""
        self._open()

    def write(self, sync: bool = False) -> None:
        """Put the numbers down; `sync` waits for the disk.

        Never raises OSError; JournalError if the file could be opened only now
        and another process had got there first.
        """
        numbers = self.numbers
        if self._file is None:
            with contextlib.suppress(OSError):
                self._open()
        if self._file is None:
            return
        text = _FORM.format(numbers.given, numbers.kept, numbers.incident).encode()
        given = numbers.given + numbers.incident
        try:
            os.pwrite(self._file, text, 0)
            if sync or given - self._synced >= SYNC_EVERY:
                os.fsync(self._file)
                self._synced = given
        except OSError:
            # A remount or a dead disk: the numbers in memory go on.
            return

    def close(self) -> None:
        """Put the numbers down and let the journal go."""
        self.write(sync=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        found = self._try(os.O_RDWR | os.O_CREAT)
        if found is None:
            found = self._try(os.O_RDONLY)
            if found is None:
                return
            self._read(found)
            os.close(found)
            return
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(found)
            raise JournalError(
                f"{self._path.removesuffix('.marks')}: another process writes this journal; "
                "stop it, or give this one a paths.state_dir of its own"
            ) from None
        self._file = found
        self._read(found)

    def _try(self, flags: int) -> int | None:
        try:
            return os.open(self._path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None

    def _read(self, file: int) -> None:
        try:
            content = os.pread(file, _SIZE_BYTES + 1, 0)
        except OSError:
            return
        found = _PATTERN.fullmatch(content)
        numbers = [] if found is None else [int(number) for number in found.groups()]
        if not numbers or numbers[1] > numbers[0] or max(numbers) > _LARGEST:
            self.were_damaged = bool(content)
            return
        given, kept, incident = numbers
        known = self.numbers
        known.given = max(given, known.given)
        known.kept = max(kept, known.kept)
        known.incident = max(incident, known.incident)
        self.were_there = True
        self._synced = given + incident
