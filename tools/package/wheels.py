# SPDX-License-Identifier: Apache-2.0
"""The locked wheels that a release's Python takes, each with the hash that the lock has.

Fetched by this checkout's pip, with this machine's settings; what is built later has no
network.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

from tools.package.suites import CHECKOUT, PackageError, run

RUNTIME = CHECKOUT / "requirements" / "runtime.lock"
DEVELOPMENT = CHECKOUT / "requirements" / "dev.lock"
BUILD_BACKEND = ("setuptools",)
"""What our own extension is built with: a release's own may be older than we need."""

_STANZA = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)


def stanzas(lock: Path) -> dict[str, str]:
    """The lines of a lock, by the name of the distribution that they pin."""
    return {found["name"]: found[0] for found in _STANZA.finditer(lock.read_text("utf-8"))}


def fetch_wheels(python: tuple[int, int], folder: Path) -> None:
    """Into a folder: wheels, and the locks `runtime.lock` and `backend.lock` for these.

    Raises PackageError where the lock has no wheel for this Python.
    """
    folder.mkdir(parents=True)
    (folder / "runtime.lock").write_text(RUNTIME.read_text("utf-8"), "utf-8")
    locked = stanzas(DEVELOPMENT)
    (folder / "backend.lock").write_text(
        "".join(f"{locked[name]}\n" for name in BUILD_BACKEND), "utf-8"
    )
    major, minor = python
    machine = platform.machine()
    try:
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "--only-binary=:all:", "--no-deps", "--dest", folder),
            *(
                "--implementation=cp",
                f"--abi=cp{major}{minor}",
                f"--python-version={major}.{minor}",
            ),
            *(f"--platform=manylinux_2_17_{machine}", f"--platform=manylinux2014_{machine}"),
            *("-r", folder / "runtime.lock", "-r", folder / "backend.lock"),
        )
    except PackageError as refused:
        raise PackageError(f"no locked wheels for Python {major}.{minor}: {refused}") from refused
