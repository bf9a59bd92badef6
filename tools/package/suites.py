# SPDX-License-Identifier: Apache-2.0
"""The releases that get a package, and the Python each of them has."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
OUTPUT = CHECKOUT / "build" / "packages"


class PackageError(Exception):
    """A package cannot be built; the message says why and what to do."""


@dataclass(frozen=True)
class Suite:
    """A Debian release."""

    name: str
    release: int
    python: tuple[int, int]

    @property
    def revision(self) -> str:
        """Of the package's version: a newer release's is the newer one."""
        return f"{os.environ.get('REVISION', '1')}~deb{self.release}u1"


SUITES = {
    suite.name: suite for suite in (Suite("bookworm", 12, (3, 11)), Suite("trixie", 13, (3, 13)))
}


def suite_named(name: str) -> Suite:
    """Raises PackageError naming those there are."""
    try:
        return SUITES[name]
    except KeyError:
        raise PackageError(f"no package for {name!r}: choose from {', '.join(SUITES)}") from None


def run(*command: str | Path, timeout_s: float = 1200, **given: object) -> str:
    """What a command says; raises PackageError with its last lines if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, check=False, text=True, timeout=timeout_s,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given,  # type: ignore[call-overload]
        )  # fmt: skip
    except FileNotFoundError as missing:
        raise PackageError(f"{words[0]} is not installed: {missing}") from missing
    except subprocess.TimeoutExpired as late:
        raise PackageError(f"{words[0]} was not done after {timeout_s:.0f} s") from late
    said: str = done.stdout
    if done.returncode:
        last = "\n".join(said.splitlines()[-40:])
        raise PackageError(f"{' '.join(words)} ended with {done.returncode}:\n{last}")
    return said
