# SPDX-License-Identifier: Apache-2.0
"""The ring buffers, drained in bounded batches.

How far a ring was read stands in the kernel: what waits when a daemon ends is
there for the next one.
"""

from __future__ import annotations

import os
from itertools import accumulate, pairwise

from sentinel import abi
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib

BATCH_RECORDS = 256
"""Of one drain. Of the largest messages they are 414 KiB."""


class _RingBuffer:
    """One ring and room for a batch; `fd` is readable while there are records."""

    def __init__(self, map_fd: int, smallest_bytes: int, largest_bytes: int, what: str) -> None:
        self._what = what
        self._ring = lib.ts_ring_open(map_fd, smallest_bytes, largest_bytes, BATCH_RECORDS)
        if self._ring == ffi.NULL:
            raise KernelError(f"cannot map the ring of {what}: {os.strerror(ffi.errno)}", ffi.errno)

    @property
    def fd(self) -> int:
        """For epoll; it stays this object's."""
        return int(lib.ts_ring_fd(self._ring))

    def drain(self) -> list[bytes]:
        """Up to BATCH_RECORDS records, oldest first; empty when there are none."""
        count = syscall.check(lib.ts_ring_drain(self._ring), f"read the ring of {self._what}")
        ends = [0, *accumulate(ffi.unpack(lib.ts_ring_lengths(self._ring), count))]
        raw = bytes(ffi.buffer(lib.ts_ring_records(self._ring), ends[-1]))
        return [raw[start:end] for start, end in pairwise(ends)]

    def close(self) -> None:
        """Unmaps it."""
        if self._ring != ffi.NULL:
            lib.ts_ring_close(self._ring)
            self._ring = ffi.NULL


class Ring(_RingBuffer):
    """Records of the tap_ring map: events, each as long as the other."""

    def __init__(self, map_fd: int) -> None:
        super().__init__(map_fd, abi.TAP_EVENT.size, abi.TAP_EVENT.size, "kernel events")


class MessageRing(_RingBuffer):
    """Records of the tap_messages map: DHCP messages, each as long as its frame."""

    def __init__(self, map_fd: int) -> None:
        super().__init__(map_fd, abi.TAP_MESSAGE__FRAME, abi.TAP_MESSAGE.size, "DHCP messages")
