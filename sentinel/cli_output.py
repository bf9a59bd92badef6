# SPDX-License-Identifier: Apache-2.0
"""What the command prints: text to stdout, complaints to stderr, nothing that is a command
to the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from sentinel.terminal import harmless, harmless_json


def out(lines: Iterable[str]) -> None:
    """Lines to stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")


def out_json(document: bytes) -> None:
    """A document to stdout."""
    sys.stdout.buffer.write(harmless_json(document) + b"\n")


def complain(message: str) -> None:
    """A line to stderr."""
    sys.stderr.write(f"tapsentinel: {harmless(message)}\n")


def terminal_columns() -> int | None:
    """How wide the terminal is; None where stdout is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None


def be_printable() -> None:
    """Names that the terminal's encoding lacks are escaped, not fatal."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
