# SPDX-License-Identifier: Apache-2.0
"""Network namespaces that clean up after themselves, and after runs that were killed.

Commands run through `nsenter --net`, not `ip netns exec`: the latter mounts a
fresh /sys, which hides bpffs and the pins on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.harness.closing import Closing

NETNS_DIR = Path("/run/netns")
OURS = re.compile(r"ts-(?P<pid>\d+)-[0-9a-f]{6}(-\w+)?")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_swept = threading.Event()


class Namespace(Closing):
    """A named network namespace, `ts-<pid>-<random>[-<role>]`, without IPv6 of its own.

    IPv6 is off on every device made in it (no DAD, MLD or router solicitations),
    so that a counter sees the frames a test sends and no other; IPv6 frames are
    still bridged. Raises subprocess.CalledProcessError when `ip` refuses.
    """

    def __init__(self, role: str = "", ipv6: bool = False) -> None:
        if not _swept.is_set():
            _swept.set()
            sweep()
        suffix = f"-{role}" if role else ""
        self.name = f"ts-{os.getpid()}-{secrets.token_hex(3)}{suffix}"
        self.path = NETNS_DIR / self.name
        self._children: list[subprocess.Popen[str]] = []
        _call(["ip", "netns", "add", self.name])
        try:
            with self.enter():
                for scope in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text(
                        "0" if ipv6 else "1"
                    )
            self.ip("link set lo up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what runs in the namespace and remove it; may be called again."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._children.clear()
        _remove(self.name)

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """Return the argv that runs `argv` inside, in the caller's mount namespace."""
        return ["nsenter", f"--net={self.path}", "--", *map(str, argv)]

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        check: bool = True,
        timeout_s: float = 30,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end with stdout and stderr kept.

        Raises subprocess.CalledProcessError (if `check`) or TimeoutExpired.
        """
        return _call(self.command(argv), check=check, timeout_s=timeout_s, stdin=stdin)

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: int | IO[str] | None = subprocess.DEVNULL,
        stdout: int | IO[str] | None = subprocess.PIPE,
        stderr: int | IO[str] | None = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a process inside; it is killed when the namespace closes.

        nsenter execs, so the process's pid is the program's own.
        """
        child = subprocess.Popen(
            self.command(argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env=env,
            text=True,
        )
        self._children.append(child)
        return child

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Move the calling thread inside and back; sockets and taps opened there stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def ip(self, *lines: str) -> None:
        """Run `ip` commands inside, all in one process; the first failure ends them.

        Raises subprocess.CalledProcessError, whose stderr names the line.
        """
        _call(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def bridge(self, *lines: str) -> None:
        """Run `bridge` commands inside, like `ip`."""
        _call(["bridge", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def links(self) -> list[str]:
        """Names of the devices inside."""
        with self.enter():
            return [line.split(":")[0].strip() for line in _net_dev_lines()]


def _net_dev_lines() -> list[str]:
    return Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]


def leftovers(pid: int | None = None) -> list[str]:
    """Namespaces of this lab's naming; of one process if `pid` is given."""
    found = []
    for entry in sorted(NETNS_DIR.iterdir()) if NETNS_DIR.is_dir() else []:
        match = OURS.fullmatch(entry.name)
        if match and (pid is None or int(match["pid"]) == pid):
            found.append(entry.name)
    return found


def sweep() -> list[str]:
    """Remove namespaces whose maker is dead, with what still runs in them."""
    gone = []
    for name in leftovers():
        match = OURS.fullmatch(name)
        if match and not Path(f"/proc/{match['pid']}").exists():
            _remove(name)
            gone.append(name)
    return gone


def _remove(name: str) -> None:
    if not (NETNS_DIR / name).exists():
        return
    # Whatever runs in a namespace of this lab was started by it.
    inside = _call(["ip", "netns", "pids", name], check=False).stdout.split()
    for pid in map(int, inside):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _call(["ip", "netns", "delete", name], check=False)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def _call(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout_s: float = 30,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode != 0:
        problem = subprocess.CalledProcessError(
            done.returncode, argv, output=done.stdout, stderr=done.stderr
        )
        problem.add_note(f"stdin: {stdin}\nstdout: {done.stdout}\nstderr: {done.stderr}")
        raise problem
    return done
