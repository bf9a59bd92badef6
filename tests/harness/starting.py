# SPDX-License-Identifier: Apache-2.0
"""How long a daemon takes from exec until it tells READY=1, and what memory it holds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.daemon import Sentinel

MOST_WAIT_S = 120
JIFFY_S = 1 / os.sysconf("SC_CLK_TCK")
IMPORTS = (
    "import sentinel.cli; "
    "from sentinel.without_openssl import leave_out_openssl; leave_out_openssl(); "
    "import sentinel.daemon; "
    "from sentinel.notify import notify; notify('READY=1'); input()"
)


@dataclass(frozen=True, slots=True)
class Took:
    """From exec to READY=1: by the clock, and of the CPU in all threads."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in kB.

    `rss` counts every page it has mapped, those of files too, which other processes
    may share; of those `pss` counts a share. `anonymous` is what is its own.
    """

    rss: int
    pss: int
    anonymous: int

    def __str__(self) -> str:
        return (
            f"{self.rss / 1024:.1f} MB resident (Rss), {self.pss / 1024:.1f} MB by Pss, "
            f"{self.anonymous / 1024:.1f} MB anonymous"
        )


def memory_of(pid: int) -> Memory:
    """What /proc/PID/smaps_rollup says."""
    fields: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0])
    return Memory(fields["Rss"], fields["Pss"], fields["Anonymous"])


def ready_daemon(sentinel: Sentinel, **more_env: str) -> Took:
    """Start the daemon as a service manager does; returns when it is ready."""
    with sentinel.log_file.open("a") as log, _notified(sentinel) as (sock, env):
        began_s = time.monotonic()
        sentinel.process = sentinel.netns.popen(
            [sentinel.command, "daemon", "--config", sentinel.config],
            stdout=log,
            stderr=log,
            env=env | more_env,
        )
        return _wait(sock, sentinel.process, began_s)


def ready_imports(sentinel: Sentinel) -> Took:
    """The same interpreter, which only imports what the daemon does."""
    command = [sys.executable, "-c", IMPORTS]
    with _notified(sentinel) as (sock, env):
        began_s = time.monotonic()
        process = sentinel.netns.popen(command, stdin=subprocess.PIPE, env=env)
        try:
            return _wait(sock, process, began_s)
        finally:
            process.kill()
            process.wait()


def least(taken: Sequence[Took]) -> Took:
    """What it takes when nothing is in its way."""
    return Took(min(one.wall_s for one in taken), min(one.cpu_s for one in taken))


@contextmanager
def _notified(sentinel: Sentinel) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    place = sentinel.directory / "notify"
    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place))
        yield sock, {**os.environ, "NOTIFY_SOCKET": str(place)}


def _wait(sock: socket.socket, process: subprocess.Popen[str], began_s: float) -> Took:
    sock.settimeout(0.5)
    while time.monotonic() < began_s + MOST_WAIT_S:
        try:
            told = sock.recv(4096)
        except TimeoutError:
            if process.poll() is not None:
                raise RuntimeError(f"it ended with {process.returncode} before READY=1") from None
            continue
        if b"READY=1" in told:
            wall_s = time.monotonic() - began_s
            return Took(wall_s, _cpu_s(process.pid))
    raise TimeoutError(f"not ready after {MOST_WAIT_S} s")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * JIFFY_S
