# SPDX-License-Identifier: Apache-2.0
"""A network namespace without a name: it goes with the process, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Enclosure:
    """Made empty, but for a loopback that is down. Raises OSError without the right."""

    def __init__(self) -> None:
        home = _here()
        try:
            _checked(_libc.unshare(CLONE_NEWNET), "unshare")
            self._fd = _here()
            _checked(_libc.setns(home, CLONE_NEWNET), "setns")
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go of it; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Move the calling thread inside and back."""
        home = _here()
        try:
            _checked(_libc.setns(self._fd, CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _checked(_libc.setns(home, CLONE_NEWNET), "setns")
        finally:
            os.close(home)

    def ip(self, *lines: str) -> None:
        """Run `ip` commands inside. Raises subprocess.CalledProcessError."""
        subprocess.run(
            ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._fd}", "ip", "-batch", "-"],
            input="\n".join(lines) + "\n", text=True, check=True, capture_output=True,
        )  # fmt: skip


def _here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _checked(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
