# SPDX-License-Identifier: Apache-2.0
"""What was compiled on this host, kept for the next start.

What lies here is loaded into the kernel, so nobody but ourselves may have written
it: the folder, every folder above it and the file are looked at each time. An entry
that is damaged, that was made by another compiler or under another name is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from sentinel.errors import KernelError
from sentinel.loader.compiled import Compiled, decode_compiled, encode_compiled

MAX_BYTES: Final = 8 << 20
MAX_ENTRIES: Final = 8
_NAME = re.compile(r"[0-9a-f]{64}\.json")
_DIGEST_BYTES = 64


class CompiledStore:
    """A folder of entries by fingerprint (64 hexadecimal digits)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, fingerprint: str) -> Compiled | None:
        """The entry, if there is a sound one. Raises KernelError where others may write."""
        try:
            folder_fd = self._open()
        except FileNotFoundError:
            return None
        try:
            text = _read(folder_fd, f"{fingerprint}.json")
        finally:
            os.close(folder_fd)
        digest, body = text[:_DIGEST_BYTES], text[_DIGEST_BYTES:]
        if digest != _digest(fingerprint, body):
            return None
        try:
            compiled = decode_compiled(body)
        except KernelError:
            return None
        # An entry that names no compiler could never be out of date.
        sound = compiled.tools and all(tool.is_unchanged() for tool in compiled.tools)
        return compiled if sound else None

    def keep(self, fingerprint: str, compiled: Compiled) -> None:
        """Writes the entry; the oldest of too many go. Raises KernelError, OSError."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder_fd = self._open()
        body = encode_compiled(compiled)
        fresh = f".{secrets.token_hex(8)}"
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder_fd)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(_digest(fingerprint, body) + body)
                os.rename(fresh, f"{fingerprint}.json", src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            except OSError:
                os.unlink(fresh, dir_fd=folder_fd)
                raise
            _prune(folder_fd)
        finally:
            os.close(folder_fd)

    def _open(self) -> int:
        """Raises FileNotFoundError; KernelError where somebody else may write."""
        real = self._folder.resolve()
        try:
            fd = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as refused:
            raise KernelError(
                f"cannot open {self._folder}, where compiled programs are kept: {refused.strerror}"
            ) from refused
        try:
            _check_ours(os.fstat(fd), real)
            for parent in real.parents:
                status = parent.stat()
                if status.st_uid not in (0, os.geteuid()):
                    raise _refused(parent)
                # In a sticky folder others may add, and not replace.
                if _others_write(status) and not status.st_mode & stat.S_ISVTX:
                    raise _refused(parent)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _read(folder_fd: int, name: str) -> bytes:
    """A file's bytes; none of one that is not there or not ours alone."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or _others_write(status):
            return b""
        return file.read(MAX_BYTES) or b""  # a pipe has None


def _prune(folder_fd: int) -> None:
    ages = []
    for name in os.listdir(folder_fd):
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            if _NAME.fullmatch(name):
                ages.append((status.st_mtime_ns, name))
    for _, name in sorted(ages)[:-MAX_ENTRIES]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder_fd)


def _digest(fingerprint: str, body: bytes) -> bytes:
    return hashlib.sha256(fingerprint.encode() + b"\n" + body).hexdigest().encode()


def _check_ours(status: os.stat_result, folder: Path) -> None:
    if status.st_uid != os.geteuid() or _others_write(status):
        raise _refused(folder)


def _others_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _refused(folder: Path) -> KernelError:
    return KernelError(
        f"{folder} can be written by others than this user, and compiled programs are to be "
        f"kept there or below: chown it to this user and chmod go-w"
    )
