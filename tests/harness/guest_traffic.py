# SPDX-License-Identifier: Apache-2.0
"""What goes to and from a guest while something else is tested, and its tap's queue."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass

from tests.harness.closing import Closing
from tests.harness.frames import mac_bytes
from tests.harness.hosts import Host
from tests.harness.namespaces import Namespace

LOAD_PORT = 5001
LOAD_BYTES_PER_S = 3_000_000
TALK_TYPE = b"\x88\xb5"  # IEEE 802, for local experiments


class Load(Closing):
    """One TCP connection, from one host to another, at a bounded rate, until `close`.

    Both ends are threads of this process; a stalled connection is opened anew.
    """

    def __init__(self, source: Host, sink: Host, bytes_per_s: int = LOAD_BYTES_PER_S) -> None:
        self.received_bytes = 0
        self._ending = threading.Event()
        self._rate = bytes_per_s
        with sink.netns.enter():
            self._listening = socket.create_server(("0.0.0.0", LOAD_PORT))  # noqa: S104
        self._source = source
        self._target = (sink.address, LOAD_PORT)
        self._threads = [
            threading.Thread(target=self._receive, daemon=True),
            threading.Thread(target=self._send, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End it; may be called again."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _send(self) -> None:
        block = bytes(16384)
        while not self._ending.is_set():
            try:
                with self._source.netns.enter():
                    connection = socket.socket()
                with connection:
                    connection.settimeout(0.5)
                    connection.setsockopt(socket.SOL_SOCKET, 47, self._rate)  # SO_MAX_PACING_RATE
                    connection.connect(self._target)
                    while not self._ending.is_set():
                        with contextlib.suppress(TimeoutError):
                            connection.send(block)
            except OSError:
                self._ending.wait(0.05)

    def _receive(self) -> None:
        self._listening.settimeout(0.2)
        while not self._ending.is_set():
            try:
                connection = self._listening.accept()[0]
            except OSError:
                continue
            with connection:
                connection.settimeout(0.2)
                while not self._ending.is_set():
                    try:
                        data = connection.recv(65536)
                    except TimeoutError:
                        continue
                    except OSError:
                        break
                    if not data:
                        break
                    self.received_bytes += len(data)


class Datagrams(Closing):
    """UDP from a host to an address at an even pace, until `close`: load that nothing slows.

    The neighbour entry is made fast, so that a guest that no longer answers ARP
    is still sent to.
    """

    def __init__(self, source: Host, sink: Host, per_s: int = 2000, payload_bytes: int = 1000):
        self.sent = 0
        self._ending = threading.Event()
        source.netns.ip(
            f"neighbour replace {sink.address} lladdr {sink.mac} dev {source.device} nud permanent"
        )
        with source.netns.enter():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._target, self._pause_s = (sink.address, 9), 1 / per_s
        self._payload = bytes(payload_bytes)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; may be called again."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            with contextlib.suppress(OSError):
                self._socket.sendto(self._payload, self._target)
                self.sent += 1
            due += self._pause_s
            self._ending.wait(max(0.0, due - time.monotonic()))


class Talking(Closing):
    """Frames of the guest's own, some a second, by a packet socket: it needs no address.

    They go to a MAC address of nobody's, so that only the guest's port sees them.
    """

    def __init__(self, host: Host, every_s: float = 0.1) -> None:
        self.sent = 0
        self._ending = threading.Event()
        self._every_s = every_s
        self._frame = mac_bytes("02:00:00:00:00:01") + mac_bytes(host.mac) + TALK_TYPE + bytes(46)
        with host.netns.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((host.device, 0))
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be silent; may be called again."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def _send(self) -> None:
        while not self._ending.wait(self._every_s):
            with contextlib.suppress(OSError):
                self._socket.send(self._frame)
                self.sent += 1


@dataclass(frozen=True, slots=True)
class TapQueue:
    """What the kernel says of a tap: what it lost, what was read, what waits in its qdisc."""

    tx_packets: int  # read by the guest: the tap counts a frame when it is taken out
    tx_dropped: int
    backlog_packets: int


def tap_queue(netns: Namespace, device: str) -> TapQueue:
    """The state of a tap's queue towards the guest."""
    link = json.loads(netns.run(["ip", "-json", "-stats", "link", "show", "dev", device]).stdout)[0]
    shown = netns.run(["tc", "-json", "-stats", "qdisc", "show", "dev", device]).stdout
    qdiscs = json.loads(shown or "[]")
    sent = link["stats64"]["tx"]
    waiting = sum(int(one.get("qlen", 0)) for one in qdiscs)
    return TapQueue(int(sent["packets"]), int(sent["dropped"]), waiting)
