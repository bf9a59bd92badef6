# SPDX-License-Identifier: Apache-2.0
"""A host that has only what the package depends on: a root of a release, seen copy-on-write.

It has its own mounts, bpffs, processes and network, without any way out; all of it goes
with its first process. systemd is installed and does not run: what it does with the units
is tested in virtual machines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.harness.closing import Closing

# $1: the release's root, not written to; $2: an empty folder.
_BEGIN = r"""
mount -t tmpfs none "$2"
cd "$2"
mkdir upper work root
mount -t overlay none -o "lowerdir=$1,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount -t bpf bpf root/sys/fs/bpf
mount -t tmpfs tmpfs root/run
mount -t devtmpfs dev root/dev 2>/dev/null || mount --rbind /dev root/dev
ip link set lo up
echo ready
exec sleep infinity
"""
_FOREVER_S = 120


class Host(Closing):
    """Raises subprocess.CalledProcessError where it cannot be made."""

    def __init__(self, root: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ts-host-")
        self._top = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
             "sh", "-euc", _BEGIN, "sh", str(root), self._folder.name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self._top.stdout is not None
        said = self._top.stdout.readline()
        if said != "ready\n":
            said += self._top.stdout.read()
            self.close()
            raise subprocess.CalledProcessError(1, "unshare", said)
        children = Path(f"/proc/{self._top.pid}/task/{self._top.pid}/children")
        self._first = int(children.read_text().split()[0])
        self._inside = [
            *("nsenter", f"--target={self._first}", "--mount", "--net", "--pid"),
            *("chroot", f"{self._folder.name}/root", "/usr/bin/env", "-i", "LC_ALL=C.UTF-8"),
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        ]

    @property
    def files(self) -> Path:
        """Its root, as this machine can reach it."""
        return Path(f"/proc/{self._first}/root{self._folder.name}/root")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        return subprocess.run(
            [*self._inside, *command],
            check=False, text=True, capture_output=True, timeout=_FOREVER_S,
        )  # fmt: skip

    def do(self, *command: str) -> str:
        """What a command writes; an AssertionError if it fails."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A process that goes on; it ends with the host."""
        return subprocess.Popen(
            [*self._inside, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def add_tap(self, name: str) -> None:
        """With this machine's ip: the release's root needs none."""
        subprocess.run(
            ["nsenter", f"--target={self._first}", "--net", "ip", "tuntap", "add", name,
             "mode", "tap"], check=True,
        )  # fmt: skip

    def install(self, package: Path) -> str:
        """By dpkg alone, as from a medium."""
        target = self.files / "tmp" / package.name
        target.write_bytes(package.read_bytes())
        try:
            return self.do("dpkg", "-i", f"/tmp/{package.name}")
        finally:
            target.unlink()

    def every_file(self) -> set[str]:
        """But those of dpkg itself, which remembers."""
        found = self.do("find", "/", "-xdev", "-not", "-path", "/var/lib/dpkg/*").split("\n")
        kept = ("/var/log/", "/var/cache/", "/tmp/")
        return {path for path in found if not path.startswith(kept)}

    def everybody(self) -> set[str]:
        """Users and groups."""
        return set(self.do("getent", "passwd").split() + self.do("getent", "group").split())

    def close(self) -> None:
        """Every process of it is killed by the kernel with the first."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._top.pid, signal.SIGTERM)
        try:
            self._top.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._top.kill()
            self._top.wait()
        self._folder.cleanup()
