# SPDX-License-Identifier: Apache-2.0
"""Which frames and DHCP messages really were on a wire, and when, as a packet socket saw them.

Beside the product, so that a test knows what really was there.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence

from tests.harness.closing import Closing
from tests.harness.dhcp import OPTION_TYPE, DhcpType
from tests.harness.frames import mac_bytes
from tests.harness.namespaces import Namespace

ETH_P_ALL = 0x0003
SO_TIMESTAMPNS = 35  # include/uapi/asm-generic/socket.h, and its control message
TIMESPEC = struct.Struct("=qq")
UDP_PAYLOAD = 14 + 20 + 8


class FramesSeen(Closing):
    """The frames that arrive at or leave a device, those of them that are `wanted`."""

    def __init__(self, netns: Namespace, device: str, wanted: Callable[[bytes], bool]) -> None:
        self._wanted = wanted
        self._ending = threading.Event()
        self._frames: list[tuple[int, bytes]] = []
        with netns.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.bind((device, ETH_P_ALL))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; may be called again."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def frames(self) -> list[tuple[int, bytes]]:
        """When the kernel had it (CLOCK_REALTIME, ns) and what, oldest first."""
        return list(self._frames)

    def _read(self) -> None:
        while not self._ending.is_set():
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            frame, control, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(TIMESPEC.size))
            if self._wanted(frame):
                seconds, rest_ns = TIMESPEC.unpack(control[0][2])
                self._frames.append((seconds * 1_000_000_000 + rest_ns, frame))


class MessagesSeen(FramesSeen):
    """The DHCP messages among them."""

    def __init__(self, netns: Namespace, device: str, ports: Sequence[int] = (67, 68, 546, 547)):
        self._ports = frozenset(ports)
        super().__init__(netns, device, self._is_dhcp)

    def types(self, mac: str | None = None) -> list[DhcpType]:
        """The DHCPv4 types in order, of one client's hardware address if given."""
        return [kind for _, kind in self.typed(mac)]

    def typed(self, mac: str | None = None) -> list[tuple[int, DhcpType]]:
        """Like `types`, each with its time (CLOCK_REALTIME, ns)."""
        found = []
        for time_ns, frame in self.frames():
            message = frame[UDP_PAYLOAD:]
            if frame[12:14] != b"\x08\x00" or not (kind := _type_of(message)):
                continue
            if mac is None or message[28:34] == mac_bytes(mac):
                found.append((time_ns, DhcpType(kind)))
        return found

    def _is_dhcp(self, frame: bytes) -> bool:
        offset = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14])
        if offset is None or frame[{34: 23, 54: 20}[offset]] != socket.IPPROTO_UDP:
            return False
        ends = (frame[offset : offset + 2], frame[offset + 2 : offset + 4])
        return any(int.from_bytes(end) in self._ports for end in ends)


def _type_of(message: bytes) -> int:
    """Option 53 of a well-formed message without overload; 0 if there is none."""
    offset = 240
    while offset + 2 < len(message) and message[offset] != 255:
        if message[offset] == OPTION_TYPE:
            return message[offset + 2]
        offset += 2 + message[offset + 1] if message[offset] else 1
    return 0
