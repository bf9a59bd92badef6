# SPDX-License-Identifier: Apache-2.0
"""How far the broker has acknowledged, kept through any end of the publisher.

A file of two slots that are overwritten in turn, in place: it costs one write() for
each advance, a full disk allows it, and a slot that a power failure tore is known by
its checksum while the other holds. fsync is the caller's, at an interval: after a
power failure what was acknowledged since is published again, under the same names.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import Final

SLOT_BYTES: Final = 512
MOST_NAMES: Final = 8
"""Openings of the journal for which the last entry is kept."""

_HEAD: Final = "tapsentinel cursor 1 "
_SLOT: Final = re.compile(rb"tapsentinel cursor 1 ([0-9a-f]{8}) ([0-9]{1,20}) ([0-9a-f -]*)\n *")
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9]{1,19}")


def advanced(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The names to keep once `name` is acknowledged: the latest of each opening, latest first."""
    epoch = name.partition("-")[0]
    others = [one for one in names if one.partition("-")[0] != epoch]
    return (name, *others)[:MOST_NAMES]


def slot_bytes(generation: int, names: tuple[str, ...]) -> bytes:
    """A slot."""
    content = f"{generation} {' '.join(names)}"
    text = f"{_HEAD}{zlib.crc32(content.encode()):08x} {content}\n"
    return text.encode().ljust(SLOT_BYTES)


def read_slot(raw: bytes) -> tuple[int, tuple[str, ...]] | None:
    """Generation and names in a slot; None if it is empty, torn or something else."""
    found = _SLOT.fullmatch(raw)
    if found is None:
        return None
    content = found[2] + b" " + found[3]
    names = tuple(found[3].decode().split())
    if zlib.crc32(content) != int(found[1], 16) or not all(map(_NAME.fullmatch, names)):
        return None
    return int(found[2]), names


class CursorFile:
    """The cursor on disk. `problem` says why it is not kept; None: it is."""

    def __init__(self, path: str) -> None:
        """Open or make it. Raises OSError: without a cursor nothing may be published."""
        self.problem: str | None = None
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        raw = os.pread(self._file, 2 * SLOT_BYTES, 0)
        slots = [read_slot(raw[:SLOT_BYTES]), read_slot(raw[SLOT_BYTES:])]
        self.was_damaged = bool(raw.strip()) and not any(slots)
        """Whether there was something, and nothing of it can be read."""
        found = max((slot for slot in slots if slot is not None), default=(0, ()))
        self._generation, self.names = found
        if len(raw) < 2 * SLOT_BYTES:
            # Room for both, while there is some: from now on nothing is allocated.
            os.pwrite(self._file, raw.ljust(2 * SLOT_BYTES), 0)
            os.fsync(self._file)

    def advance(self, name: str) -> None:
        """Keep that this entry, and all before it, are acknowledged. Never raises."""
        self.names = advanced(self.names, name)
        self._generation += 1
        place = self._generation % 2 * SLOT_BYTES
        try:
            os.pwrite(self._file, slot_bytes(self._generation, self.names), place)
            self.problem = None
        except OSError as error:
            self.problem = f"{self._path} cannot be written ({error.strerror})"

    def sync(self) -> None:
        """Have the disk take it. Never raises."""
        try:
            os.fsync(self._file)
        except OSError as error:
            self.problem = f"{self._path} does not reach the disk ({error.strerror})"

    def close(self) -> None:
        """Have the disk take it, and let it go."""
        self.sync()
        os.close(self._file)
