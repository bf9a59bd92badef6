# SPDX-License-Identifier: Apache-2.0
"""Where the guard's maps, programs and links are pinned, and who may write there.

    <bpffs_dir>/
        v<abi>/maps/<map>           one set per version of the contract
        v<abi>/progs/<program>
        links/<ifindex>-<in|out>    outlive versions: updated in place
        clsact/<ifindex>            a mark: we made that device's qdisc

The folder itself is the lock: one daemon holds it, whatever its configuration
says otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from sentinel import abi
from sentinel.errors import KernelError, PinsBusyError
from sentinel.loader._libbpf import lib
from sentinel.loader.syscall import check

BPFFS_MAGIC = 0xCAFE4A11  # linux/magic.h
SYSTEM_BPFFS = Path("/sys/fs/bpf")


class Pins:
    """Paths under one bpffs folder, and the lock on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links = root / "links"
        self.clsact = root / "clsact"
        self._lock_fd: int | None = None

    @property
    def version(self) -> Path:
        """The folder of this version's maps and programs."""
        return self.root / f"v{abi.TAP_ABI_VERSION}"

    def map(self, name: str) -> Path:
        """Where this version's map `name` is pinned."""
        return self.version / "maps" / name

    def program(self, name: str) -> Path:
        """Where this version's program `name` is pinned."""
        return self.version / "progs" / name

    def link(self, ifindex: int, side: str) -> Path:
        """Where the tcx link of a device's side (`in` or `out`) is pinned."""
        return self.links / f"{ifindex}-{side}"

    def prepare(self) -> None:
        """Makes the folders, mounting a bpffs where none is. Raises KernelError."""
        _ensure_bpffs(self.root)
        for folder in (self.version / "maps", self.version / "progs", self.links, self.clsact):
            folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> None:
        """Takes the folder for this process. Raises PinsBusyError if another has it."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            os.close(fd)
            raise PinsBusyError(
                f"another tapsentinel daemon holds the pins in {self.root}: "
                "stop it, or give this one another paths.bpffs_dir"
            ) from busy
        self._lock_fd = fd

    def unlock(self) -> None:
        """Lets another process take the folder."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def devices(self) -> set[int]:
        """The ifindexes that have a pinned link or a mark; some may be gone."""
        pinned = {int(path.name.split("-")[0]) for path in self.links.iterdir()}
        return pinned | {int(path.name) for path in self.clsact.iterdir()}

    def other_versions(self) -> list[Path]:
        """Folders of maps that another version of the contract left."""
        found = [path for path in self.root.glob("v[0-9]*") if path != self.version]
        return sorted(path for path in found if path.is_dir())

    def remove_tree(self, folder: Path) -> None:
        """Unpins all below a folder, and the folder."""
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def is_bpffs(path: Path) -> bool:
    """Whether `path` exists and lies on a bpffs."""
    try:
        return _filesystem_magic(path) == BPFFS_MAGIC
    except KernelError:
        return False


def _filesystem_magic(path: Path) -> int:
    return check(lib.ts_filesystem_magic(os.fsencode(path)), f"ask for the file system of {path}")


def _ensure_bpffs(root: Path) -> None:
    """The pins' folder on a bpffs; the system's place for one is mounted whole."""
    if root.is_relative_to(SYSTEM_BPFFS) and not is_bpffs(SYSTEM_BPFFS):
        _mount(SYSTEM_BPFFS)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as refused:
        raise KernelError(
            f"cannot make {root} for the pins: {refused.strerror}; "
            "check paths.bpffs_dir and that the daemon runs as root",
            refused.errno or 0,
        ) from refused
    if not is_bpffs(root):
        _mount(root)


def _mount(path: Path) -> None:
    check(lib.ts_mount_bpffs(os.fsencode(path)), f"mount a bpffs at {path}")
