# SPDX-License-Identifier: Apache-2.0
"""Tap devices as a virtual machine monitor opens them, and a fast writer.

What is written to a tap comes *from the guest*; what is read from it goes to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

from tests.harness.closing import Closing
from tests.harness.namespaces import Namespace

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETIFINDEX = 0x400454DA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_MULTI_QUEUE = 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04

# struct virtio_net_hdr, host byte order (the tap's default): virtio 1.2 § 5.1.6.
VNET_HDR = struct.Struct("=BBHHHH")
VNET_NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6 = 0, 1, 4
LONGEST_FRAME_BYTES = 65536 + 64


class Tap(Closing):
    """A tap, not persistent: it goes with its last descriptor.

    `ifindex` 0 leaves the number to the kernel. The link is down until somebody
    sets it up; a write then fails with EIO.
    Raises OSError when the name is taken or is longer than 15 bytes.
    """

    def __init__(
        self,
        name: str,
        netns: Namespace,
        *,
        vnet_hdr: bool = False,
        multi_queue: bool = False,
        offload: bool = False,
        ifindex: int = 0,
    ) -> None:
        if not 0 < len(name.encode()) <= 15:
            raise OSError(errno.ENAMETOOLONG, f"an interface name has 1 to 15 bytes, not {name!r}")
        self.name = name
        self.netns = netns
        self.vnet_hdr = vnet_hdr or offload
        self._flags = IFF_TAP | IFF_NO_PI
        self._flags |= IFF_VNET_HDR if self.vnet_hdr else 0
        self._flags |= IFF_MULTI_QUEUE if multi_queue else 0
        self._offload = offload
        self._ifindex = ifindex
        self._queues: list[int] = []
        self.fd = self.open_queue()

    def open_queue(self) -> int:
        """Open another descriptor of the device (a further queue, if multi-queue)."""
        with self.netns.enter():
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if self._ifindex and not self._queues:
                fcntl.ioctl(fd, TUNSETIFINDEX, struct.pack("I", self._ifindex))
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", self.name.encode(), self._flags))
            if self._offload:
                fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
        except OSError as problem:
            os.close(fd)
            problem.add_note(f"tap {self.name} in {self.netns.name}")
            raise
        self._queues.append(fd)
        return fd

    def close(self) -> None:
        """Close every queue; the device goes unless another process holds one."""
        for fd in self._queues:
            os.close(fd)
        self._queues.clear()

    def up(self, *, master: str = "", mtu_bytes: int = 0) -> None:
        """Set the link up, as a bridge's port if `master` names one."""
        words = f"link set {self.name} addrgenmode none"
        words += f" master {master}" if master else ""
        words += f" mtu {mtu_bytes}" if mtu_bytes else ""
        self.netns.ip(f"{words} up")

    def write(self, frame: bytes) -> None:
        """Send one frame from the guest; returns when the bridge has had it."""
        self._write(VNET_HDR.pack(0, GSO_NONE, 0, 0, 0, 0) + frame if self.vnet_hdr else frame)

    def write_super_frame(
        self, frame: bytes, *, segment_bytes: int, header_bytes: int, kind: int = GSO_TCPV4
    ) -> None:
        """Send a GSO super-frame: one write that stands for many frames on the wire.

        `segment_bytes` is the payload of each (gso_size), `header_bytes` everything
        before the payload, Ethernet included. The TCP header must be the plain
        one of 20 bytes: its checksum's place is reckoned from the end.
        """
        if not self.vnet_hdr:
            raise ValueError(f"tap {self.name} was opened without vnet_hdr")
        csum_start, csum_offset = header_bytes - 20, 16
        header = VNET_HDR.pack(
            VNET_NEEDS_CSUM, kind, header_bytes, segment_bytes, csum_start, csum_offset
        )
        self._write(header + frame)

    def _write(self, data: bytes) -> None:
        if os.write(self.fd, data) != len(data):
            raise OSError(errno.EMSGSIZE, f"tap {self.name} took a part of {len(data)} bytes")

    def read(self, timeout_s: float = 0.0) -> bytes | None:
        """Next frame that goes to the guest, or None if none came in time."""
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return None
        try:
            data = os.read(self.fd, LONGEST_FRAME_BYTES)
        except BlockingIOError:
            return None
        return data[VNET_HDR.size :] if self.vnet_hdr else data

    def drain(self) -> list[bytes]:
        """Every frame that waits to be read."""
        frames = []
        while (frame := self.read()) is not None:
            frames.append(frame)
        return frames
