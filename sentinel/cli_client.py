# SPDX-License-Identifier: Apache-2.0
"""The blocking end of the control socket, as the command uses it."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

from sentinel import envelope
from sentinel.errors import ControlError, NoDaemonError, RefusedError

ANSWER_TIMEOUT_S = 5.0
_CHUNK_BYTES = 256 * 1024


class Client:
    """One connection to the daemon.

    Raises NoDaemonError if nobody listens at the path or does not answer in time,
    RefusedError if the socket may not be opened.
    """

    def __init__(self, path: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._unread = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A non-blocking connect() fails at once where the daemon's backlog is full.
        limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            self.close()
            raise NoDaemonError(f"no daemon answers at {path}") from None
        except BlockingIOError:
            self.close()
            raise self._silent() from None
        except PermissionError:
            self.close()
            raise RefusedError(f"{path}: you may not reach this socket") from None
        except OSError as error:
            self.close()
            raise ControlError(f"{path}: {error.strerror or error}") from None
        self._socket.settimeout(timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. Idempotent."""
        self._socket.close()

    def ask(self, op: str, **members: object) -> bytes:
        """The JSON of the answer's result; members that are None are left out.

        Raises what `envelope.unwrap` raises, and NoDaemonError if the daemon goes
        away or stays silent.
        """
        request = {"op": op, **{name: m for name, m in members.items() if m is not None}}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            raise self._silent() from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it hung up
        line = self._read_line()
        if not line:
            raise NoDaemonError(f"the daemon at {self._path} went away before it answered")
        return envelope.unwrap(line)

    def watch(self, after: int | None) -> Iterator[bytes]:
        """The JSON of one event after the other, for as long as the daemon runs.

        Raises as `ask` does; ends when the daemon ends the connection.
        """
        self.ask("watch", after=after)
        self._socket.settimeout(None)
        while line := self._read_line():
            if line.startswith(b'{"ok":false,'):
                envelope.unwrap(line)
            yield line.removesuffix(b"\n")

    def _read_line(self) -> bytes:
        """A line with its newline; empty at the end of the connection."""
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if searched > envelope.MAX_ANSWER_BYTES:
                raise ControlError(f"{self._path}: an answer without an end")
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise self._silent() from None
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                return b""
            self._unread += chunk
        line = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        return line

    def _silent(self) -> NoDaemonError:
        return NoDaemonError(
            f"the daemon at {self._path} has not answered for {self._timeout_s:g} s "
            "(is it stopped, or hanging?)"
        )
