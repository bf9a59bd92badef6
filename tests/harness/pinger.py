# SPDX-License-Identifier: Apache-2.0
"""Pings from inside a namespace, each one accounted for."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass

from tests.harness.closing import Closing
from tests.harness.namespaces import Namespace
from tests.harness.packets import PROTO_ICMP, icmp_echo

IPV4_HEADER_BYTES = 20
ECHO_REPLY = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Echo requests whose time to be answered is over, or that were answered."""

    sent: int
    received: int

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.sent - self.received

    @property
    def loss_percent(self) -> float:
        """0 to 100; 0 when nothing was sent."""
        return 100.0 * self.lost / self.sent if self.sent else 0.0


@dataclass(slots=True)
class Echo:
    """One request; times are CLOCK_MONOTONIC."""

    sequence: int
    sent_at_ns: int
    answered_at_ns: int | None = None


class Pinger(Closing):
    """Sends an echo request each interval from a thread, until `stop()`.

    A request that the stack refuses (no route, no ARP answer) counts as lost.
    """

    def __init__(
        self,
        netns: Namespace,
        dst: str,
        *,
        interval_s: float = 0.1,
        timeout_s: float = 1.0,
        count: int = 0,
    ) -> None:
        self.dst = dst
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self._count = count
        self._echoes: list[Echo] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        with netns.enter():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTO_ICMP)
        self._socket.setblocking(False)
        self._identifier = int.from_bytes(os.urandom(2))
        self._thread = threading.Thread(target=self._run, name=f"ping {dst}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop without waiting for answers; may be called again."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def stop(self) -> Tally:
        """Send no more, wait for what is under way, and sum up."""
        self._stopping.set()
        self._thread.join()
        while (rest_s := self._patience_left_s()) > 0:
            self._receive(rest_s)
        self._socket.close()
        return self.tally(settled=False)

    def wait(self) -> Tally:
        """Wait until `count` requests went out, then as `stop()`."""
        self._thread.join()
        return self.stop()

    def echoes(self) -> list[Echo]:
        """A copy of every request so far."""
        with self._lock:
            return [Echo(e.sequence, e.sent_at_ns, e.answered_at_ns) for e in self._echoes]

    def tally(
        self, since_ns: int = 0, until_ns: int | None = None, *, settled: bool = True
    ) -> Tally:
        """Sum up requests sent in a span (CLOCK_MONOTONIC).

        With `settled`, those that may still be answered are left out.
        """
        patience_ns = int(self.timeout_s * 1e9) if settled else 0
        now_ns = time.monotonic_ns()
        chosen = [
            echo
            for echo in self.echoes()
            if since_ns <= echo.sent_at_ns <= (until_ns or now_ns)
            and (echo.answered_at_ns is not None or now_ns - echo.sent_at_ns >= patience_ns)
        ]
        return Tally(len(chosen), sum(echo.answered_at_ns is not None for echo in chosen))

    def _patience_left_s(self) -> float:
        """How long the youngest unanswered request may still be answered; 0 without one."""
        with self._lock:
            open_since = [e.sent_at_ns for e in self._echoes if e.answered_at_ns is None]
        if not open_since:
            return 0.0
        return self.timeout_s - (time.monotonic_ns() - max(open_since)) / 1e9

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            if self._count and len(self._echoes) >= self._count:
                return
            self._send()
            due += self.interval_s
            while (rest_s := due - time.monotonic()) > 0 and not self._stopping.is_set():
                self._receive(min(rest_s, 0.05))

    def _send(self) -> None:
        sequence = len(self._echoes) & 0xFFFF
        with self._lock:
            self._echoes.append(Echo(sequence, time.monotonic_ns()))
        message = icmp_echo(self._identifier, sequence, struct.pack("=Q", time.monotonic_ns()))
        # EHOSTUNREACH, ENETDOWN and the like: the request stays unanswered.
        with contextlib.suppress(OSError):
            self._socket.sendto(message, (self.dst, 0))

    def _receive(self, timeout_s: float) -> None:
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return
        try:
            packet = self._socket.recv(2048)
        except OSError:
            return
        kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, IPV4_HEADER_BYTES)
        if kind != ECHO_REPLY or identifier != self._identifier:
            return
        with self._lock:
            # The latest request with this sequence number: it wraps after 65,536.
            for echo in reversed(self._echoes):
                if echo.sequence == sequence:
                    echo.answered_at_ns = echo.answered_at_ns or time.monotonic_ns()
                    return
