# SPDX-License-Identifier: Apache-2.0
"""`ls` and `ps aux` over TCP: an answer that fits a small frame, and one of full-size segments."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.harness.closing import Closing
from tests.harness.hosts import Host

PORT = 22
ANSWERS = {"ls": 300 * b"bin\n", "ps aux": 4096 * b"root 1 0.0 init [quiet splash]\n\n"}
TCP_INFO_BYTES = 104
# struct tcp_info of linux/tcp.h: tcpi_retransmits, timeouts in a row.
RETRANSMITS = 2


class Shell(Closing):
    """Answers in a host as a shell behind sshd would; a thread for each connection."""

    def __init__(self, host: Host) -> None:
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        with host.netns.enter():
            self._listening = socket.create_server((host.address, PORT))
        self._start(self._accept)

    def timeouts(self) -> int:
        """How often in a row the worst connection has sent the same again, unheard."""
        worst = 0
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    info = connection.getsockopt(
                        socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES
                    )
                    worst = max(worst, info[RETRANSMITS])
        return worst

    def close(self) -> None:
        """Hang up; may be called again."""
        with self._lock:
            for one in (self._listening, *self._connections):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
            self._start(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("r") as lines:
            for line in lines:
                connection.sendall(ANSWERS[line.strip()])

    def _start(self, job: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=job, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


class Session(Closing):
    """One connection to a Shell. Raises OSError if it is not there."""

    def __init__(self, source: Host, target: Host, timeout_s: float = 20) -> None:
        with source.netns.enter():
            self._socket = socket.create_connection((target.address, PORT), timeout_s)
        self._socket.setblocking(False)
        self._wanted = b""
        self.received = b""

    def ask(self, command: str) -> None:
        """Type one command of ANSWERS; what came of the last one is forgotten."""
        self._wanted, self.received = ANSWERS[command], b""
        self._socket.send(f"{command}\n".encode())

    def answered(self) -> bool:
        """Whether all of the answer is here by now. Raises ValueError if it is another."""
        with contextlib.suppress(BlockingIOError):
            while part := self._socket.recv(65536):
                self.received += part
        if not self._wanted.startswith(self.received):
            raise ValueError("the answer is not what was sent")
        return self.received == self._wanted

    def close(self) -> None:
        """Hang up; may be called again."""
        self._socket.close()
