# SPDX-License-Identifier: Apache-2.0
"""Reads a configuration's file for a process that runs already: nothing about it may hang one."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from sentinel.config import Config, parse_config
from sentinel.errors import ConfigError

LARGEST_FILE_BYTES: Final = 1 << 20


def read_config_file(path: Path) -> Config:
    """The configuration in a file, checked as a whole. Raises ConfigError."""
    name = str(path)
    try:
        # A pipe that nobody writes to must not hold whoever opens it.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(name, "", "is no regular file; put the configuration there")
            raw = _read(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise ConfigError(
            name, "", "does not exist; put it back (an empty file means the defaults)"
        ) from None
    except OSError as error:
        raise ConfigError(name, "", f"cannot be read ({error.strerror})") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise ConfigError(name, "", "is larger than 1 MiB, so it is no configuration")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(name, "", f"byte {error.start} is not UTF-8: save it as such") from None
    return parse_config(text, name)


def _read(fd: int) -> bytes:
    pieces = b""
    while len(pieces) <= LARGEST_FILE_BYTES and (more := os.read(fd, LARGEST_FILE_BYTES + 1)):
        pieces += more
    return pieces
