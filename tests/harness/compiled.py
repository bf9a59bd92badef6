# SPDX-License-Identifier: Apache-2.0
"""What BCC compiled in one test, for the next: a daemon of a test has a state of its own."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

COMPILED = Path(__file__).parents[2] / "build" / "compiled"


def lend_compiled(folder: Path) -> None:
    """Copies what is kept into the folder of a daemon that has not started yet."""
    _copy_new(COMPILED, folder)


def collect_compiled(folder: Path) -> None:
    """Keeps what a daemon compiled."""
    _copy_new(folder, COMPILED)


def _copy_new(source: Path, target: Path) -> None:
    found = sorted(source.glob("*.json"))
    # Some tests put a file where a daemon wants its state.
    if not found or target.parent.is_file():
        return
    for folder in (target.parent, target):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in found:
        if not (target / path.name).exists():
            fresh = target / f".{secrets.token_hex(8)}"
            try:
                shutil.copy2(path, fresh)
            except FileNotFoundError:  # tests beside this one keep only the newest
                continue
            fresh.rename(target / path.name)
