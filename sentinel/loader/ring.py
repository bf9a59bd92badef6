# SPDX-License-Identifier: Apache-2.0
"""The ring buffer, drained in bounded batches."""

from __future__ import annotations

from sentinel import abi
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib

BATCH_RECORDS = 256


class Ring:
    """Records of the tap_ring map; `fd` is readable while there are some."""

    def __init__(self, map_fd: int) -> None:
        self._ring = lib.ts_ring_open(map_fd, abi.TAP_EVENT.size, BATCH_RECORDS)
        if self._ring == ffi.NULL:
            raise KernelError("cannot map the ring of kernel events", ffi.errno)

    @property
    def fd(self) -> int:
        """For epoll; it stays this object's."""
        return int(lib.ts_ring_fd(self._ring))

    def drain(self) -> list[bytes]:
        """Up to BATCH_RECORDS records, oldest first; empty when there are none."""
        count = syscall.check(lib.ts_ring_drain(self._ring), "read the ring of kernel events")
        raw = bytes(ffi.buffer(lib.ts_ring_records(self._ring), count * abi.TAP_EVENT.size))
        return [raw[at : at + abi.TAP_EVENT.size] for at in range(0, len(raw), abi.TAP_EVENT.size)]

    def close(self) -> None:
        """Unmaps it."""
        if self._ring != ffi.NULL:
            lib.ts_ring_close(self._ring)
            self._ring = ffi.NULL
