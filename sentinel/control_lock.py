# SPDX-License-Identifier: Apache-2.0
"""One daemon per run directory: a lock beside the socket, and the socket's place."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from sentinel.control_peer import listener_pid
from sentinel.errors import ControlError, PinsBusyError

_SUN_PATH_BYTES = 107


class ControlSocket:
    """A listening UNIX socket that everybody may connect to, and the lock that guards it.

    The lock (`<socket>.lock`, readable by its owner alone) says that a daemon
    lives, so that a socket file left behind by one that was killed is known for
    what it is and replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock_fd = -1
        self._inode = (0, 0)

    def listen(self, backlog: int) -> socket.socket:
        """A non-blocking listening socket; the run directory is made if there is none.

        Raises PinsBusyError if another daemon lives there, ControlError if the
        place is not fit for a socket.
        """
        if len(os.fsencode(self.path)) > _SUN_PATH_BYTES:
            raise ControlError(
                f"{self.path}: longer than the {_SUN_PATH_BYTES} bytes that a socket's path "
                "may have: set a shorter paths.run_dir"
            )
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock()
            try:
                return self._bind(backlog)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise ControlError(
                f"{error.filename or self.path}: {error.strerror}: no control socket can be made "
                "there; check paths.run_dir and who may write to it"
            ) from error

    def close(self) -> None:
        """Take the socket file away, if it is still ours, and end the lock. Idempotent."""
        if self._lock_fd < 0:
            return
        if _inode_of(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def _bind(self, backlog: int) -> socket.socket:
        found = _mode_of(self.path)
        if found is not None:
            if not stat.S_ISSOCK(found):
                raise ControlError(
                    f"{self.path} exists and is not a socket: "
                    "move it away or set another paths.run_dir"
                )
            self.path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(self.path))
            # Everybody may knock: credentials decide, so that the refused are known.
            self.path.chmod(0o666)
            listening.listen(backlog)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
        self._inode = _inode_of(self.path) or (0, 0)
        return listening

    def _lock(self) -> None:
        while True:
            descriptor = os.open(
                self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise PinsBusyError(self._busy()) from None
            # Whoever held it may have unlinked it between our open and our lock.
            held = os.fstat(descriptor)
            if _inode_of(self._lock_path) == (held.st_dev, held.st_ino):
                self._lock_fd = descriptor
                return
            os.close(descriptor)

    def _busy(self) -> str:
        pid = listener_pid(str(self.path))
        who = f"another daemon (pid {pid})" if pid else "another daemon"
        return (
            f"{who} already runs with {self.path.parent}: stop it first, "
            "or give this one paths of its own"
        )


def _mode_of(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _inode_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
