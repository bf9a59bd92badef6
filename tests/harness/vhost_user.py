# SPDX-License-Identifier: Apache-2.0
"""The switch's end of a vhost-user socket, as far as a VMM needs it to start.

It offers no features, and so is asked for little (QEMU's documentation of the
vhost-user protocol, "Message Specification").
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HEADER: Final = struct.Struct("=III")
GET_FEATURES: Final = 1
VERSION: Final = 1
REPLY: Final = 1 << 2


class VhostUserBackend:
    """Listens on a socket and answers one VMM."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in (self._listener, self._client):
            if one is not None:
                # Closing alone would wake nobody who waits.
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            self._client, _ = self._listener.accept()
            while True:
                request, _, size_bytes = HEADER.unpack(self._read(HEADER.size))
                self._read(size_bytes)
                if request == GET_FEATURES:
                    header = HEADER.pack(request, VERSION | REPLY, 8)
                    self._client.sendall(header + struct.pack("=Q", 0))
        except (OSError, EOFError):
            return

    def _read(self, size_bytes: int) -> bytes:
        data = b""
        while len(data) < size_bytes:
            assert self._client is not None
            part = self._client.recv(size_bytes - len(data))
            if not part:
                raise EOFError
            data += part
        return data
