# SPDX-License-Identifier: Apache-2.0
"""A system program in a network and a mount namespace of its own, with private folders.

What it writes below the folders named private, and to /etc/resolv.conf, is seen
by nobody else and is gone with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.harness.closing import Closing
from tests.harness.namespaces import Namespace
from tests.harness.waiting import wait_until

# $1: the folder; $2: private folders, one a word; then the program and its arguments.
IN_PRIVATE = """
set -e
mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
for place in $2; do
	[ -d "$place" ] && mount -t tmpfs none "$place"
done
shift 2
exec "$@"
"""


class Sealed(Closing):
    """One program, started and ended as often as one likes; its folder stays until `close`.

    Where a profile of AppArmor confines a program by its path, the `copied` one
    is free of it.
    """

    def __init__(
        self, netns: Namespace, program: str, *, private: Sequence[str] = (), copied: bool = False
    ) -> None:
        self.netns = netns
        self.name = program
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if found is None:
            raise FileNotFoundError(f"{program} is not installed: see tools/packages-test.txt")
        self.directory = Path(tempfile.mkdtemp(prefix=f"ts-{os.getpid()}-{program}-"))
        self.program = Path(shutil.copy2(found, self.directory)) if copied else Path(found)
        (self.directory / "resolv.conf").write_text("")
        self._log = self.directory / "log"
        self._private = " ".join(private)
        self._process: subprocess.Popen[str] | None = None
        # Held open: a number of a namespace that is gone is soon another's.
        self._mounts: int | None = None

    def arguments(self) -> Sequence[str | Path]:
        """What the program is started with."""
        return ()

    @property
    def running(self) -> bool:
        """Whether it still runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """What it ended with, negative for a signal; None as long as it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start it, or go on with the folder as it is after `kill`. Raises RuntimeError."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self.kill()  # whatever is left of the one before
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_PRIVATE, "sh"]
        with self._log.open("a") as log:
            self._process = self.netns.popen(
                [*command, self.directory, self._private, self.program, *self.arguments()],
                stdout=log,
                stderr=log,
            )
        wait_until(self._exec_done, 10, f"{self.name} to start")

    def kill(self) -> None:
        """End it and what it forked, without a farewell (SIGKILL); may be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._mounts is not None:
            wait_until(self._forked_are_gone, 60, f"what {self.name} forked to end")
            os.close(self._mounts)
            self._mounts = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it and whatever it forked (SIGSTOP)."""

        def stopped() -> bool:
            pids = self._pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            return all(_state(pid) in "TZX" for pid in pids)

        wait_until(stopped, 5, f"{self.name} to stop")

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def log(self) -> str:
        """What it wrote to stdout and stderr."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End it and remove its folder; may be called again."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _forked_are_gone(self) -> bool:
        pids = self._pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    def _exec_done(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError):
            if Path(f"/proc/{self._process.pid}/exe").resolve() == self.program.resolve():
                self._mounts = os.open(f"/proc/{self._process.pid}/ns/mnt", os.O_RDONLY)
                return True
        return False

    def _pids(self) -> list[int]:
        """Every process that lives in its mount namespace."""
        if self._mounts is None:
            return []
        ours = os.fstat(self._mounts).st_ino
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if (entry / "ns" / "mnt").stat().st_ino == ours:
                        found.append(int(entry.name))
        return found


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
