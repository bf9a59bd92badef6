# SPDX-License-Identifier: Apache-2.0
"""A machine is told what to do through a virtio serial port, and answers there.

A line is "NUMBER BASE64-OF-COMMAND"; the answer is "NUMBER STATUS BASE64-OF-OUTPUT", with
number 0 after each boot. The machine's side: real_guest_init.sh, tools/vm/root_orders.sh.
"""

from __future__ import annotations

import base64
import socket
import time

from tests.harness.closing import Closing


class SerialError(Exception):
    """No answer in time, the machine's end, or an answer to something else."""


class SerialOrders(Closing):
    """Our end. qemu gets `arguments`, the descriptor `their_fd`, and then `is_handed_over`."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._received = b""
        self._number = 0

    def close(self) -> None:
        """Tell nothing any more."""
        self._ours.close()
        self._theirs.close()

    @property
    def their_fd(self) -> int:
        """For qemu to inherit."""
        return self._theirs.fileno()

    @property
    def arguments(self) -> list[str]:
        """qemu's."""
        return [
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=orders,fd={self.their_fd}"),
            *("-device", "virtserialport,chardev=orders,name=guest.orders"),
        ]

    def is_handed_over(self) -> None:
        """qemu has its descriptor: its end is the machine's end from now on."""
        self._theirs.close()

    def wait_up(self, timeout_s: float) -> tuple[int, str]:
        """Wait for a boot's end: (status, the kernel's release). Raises SerialError."""
        number, status, told = self._answer(timeout_s)
        if number != 0:
            raise SerialError(f"it answered order {number} instead of starting")
        self._number = 0
        return status, told.strip()

    def ask(self, command: str, timeout_s: float) -> tuple[int, str]:
        """Run a shell command: (exit status, both streams' text). Raises SerialError.

        After one that took too long nothing more can be asked.
        """
        self._number += 1
        encoded = base64.b64encode(command.encode()).decode()
        self._ours.settimeout(timeout_s)
        self._ours.sendall(f"{self._number} {encoded}\n".encode())
        number, status, output = self._answer(timeout_s)
        if number != self._number:
            raise SerialError(f"it answered order {number}, not {self._number}: started anew?")
        return status, output

    def _answer(self, timeout_s: float) -> tuple[int, int, str]:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            self._ours.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                part = self._ours.recv(65536)
            except TimeoutError:
                raise SerialError(f"no answer within {timeout_s:.0f} s") from None
            if not part:
                raise SerialError("it ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        number, status, *encoded = line.split()
        output = base64.b64decode(encoded[0] if encoded else b"")
        return int(number), int(status), output.decode(errors="replace")
