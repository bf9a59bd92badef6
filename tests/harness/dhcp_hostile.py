# SPDX-License-Identifier: Apache-2.0
"""DHCP clients as no program plays them: one that asks in vain, one that floods."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Sequence

from tests.harness.blast import blast
from tests.harness.closing import Closing
from tests.harness.dhcp import DhcpType, dhcp, option
from tests.harness.frames import mac_text
from tests.harness.taps import Tap

OPTION_REQUESTED = 50
CLIENT_TYPES = (
    DhcpType.DISCOVER, DhcpType.REQUEST, DhcpType.DECLINE, DhcpType.RELEASE, DhcpType.INFORM,
)  # fmt: skip
BURSTS_PER_S = 10


def hostile_messages(mac: str, dst_mac: str, clients: int) -> list[bytes]:
    """Messages of every type that a client may send, by as many clients behind one port.

    Each has a hardware address and an xid of its own.
    """
    return [
        dhcp(
            CLIENT_TYPES[number % len(CLIENT_TYPES)],
            src_mac=mac,
            dst_mac=dst_mac,
            client_mac=mac_text(b"\x02" + number.to_bytes(4) + b"\x01"),
            xid=0x5000_0000 + number,
        )
        for number in range(clients)
    ]


def init_reboot(mac: str, address: str, xid: int) -> bytes:
    """A REQUEST of a client that wants its old address back (RFC 2131 § 4.3.2, INIT-REBOOT)."""
    return dhcp(
        DhcpType.REQUEST,
        src_mac=mac,
        xid=xid,
        after=option(OPTION_REQUESTED, socket.inet_aton(address)),
    )


class Asking(Closing):
    """A client that asks for the same foreign address each interval, whatever it is told."""

    def __init__(self, tap: Tap, mac: str, address: str, every_s: float = 0.3) -> None:
        self.asked = 0
        self._ending = threading.Event()
        self._xid = int.from_bytes(os.urandom(3))
        self._send = (tap, mac, address, every_s)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more; may be called again."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        tap, mac, address, every_s = self._send
        while not self._ending.wait(every_s):
            tap.write(init_reboot(mac, address, self._xid + self.asked))
            self.asked += 1


class PacedFlood(Closing):
    """Messages from one guest at an even rate, until `stop`: bursts, ten a second.

    Each burst takes the next of `batches`; `sent` counts by index of the frame in it.
    """

    def __init__(self, tap: Tap, batches: Sequence[Sequence[bytes]], per_s: int) -> None:
        self.sent = [[0] * len(batch) for batch in batches]
        self.problem: BaseException | None = None
        self.late = 0
        self._ending = threading.Event()
        self._flood = (tap, batches, per_s // BURSTS_PER_S)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """Messages that the tap accepted so far."""
        return sum(map(sum, self.sent))

    def stop(self) -> int:
        """End it; how many were sent. Raises what went wrong meanwhile."""
        self.close()
        if self.problem is not None:
            raise self.problem
        return self.total

    def close(self) -> None:
        """End it; may be called again."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        tap, batches, burst = self._flood
        due = time.monotonic()
        try:
            for turn in itertools.count():
                index = turn % len(batches)
                for at, count in enumerate(blast(tap, batches[index], burst).per_frame):
                    self.sent[index][at] += count
                due += 1 / BURSTS_PER_S
                self.late += time.monotonic() > due
                if self._ending.wait(max(0.0, due - time.monotonic())):
                    return
        except BaseException as problem:
            self.problem = problem
