# SPDX-License-Identifier: Apache-2.0
"""What the programs remember between frames beside counters: clocks, rates, exchanges.

Read and cleared by hand, so that a test sees what one frame did.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from sentinel import abi
from sentinel.errors import KernelError
from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.maps import PinnedMaps
from tests.harness.closing import Closing

EXCHANGES_BYTES = abi.TAP_MAX_EXCHANGES * 32  # struct exchange in bpf/maps_kern.h
SEEN_BYTES = 8 * 2 * abi.TAP_DIRECTIONS


class Clocks(NamedTuple):
    """CLOCK_MONOTONIC of the last frame in each direction; 0: never."""

    seen_in_ns: int
    seen_out_ns: int
    quiet_in_ns: int
    quiet_out_ns: int


class SlotMemory(Closing):
    """The maps of one guard. Works on slots, watched or not."""

    def __init__(self, maps: PinnedMaps) -> None:
        self._maps = maps
        self._exchanges = lib.ts_map_memory(maps.fd("tap_exchanges"), EXCHANGES_BYTES)
        if self._exchanges == ffi.NULL:
            raise KernelError(f"map tap_exchanges: {os.strerror(ffi.errno)}", ffi.errno)

    def close(self) -> None:
        """Unmap them; may be called again."""
        if self._exchanges != ffi.NULL:
            lib.ts_unmap_memory(self._exchanges, EXCHANGES_BYTES)
            self._exchanges = ffi.NULL

    def forget_exchanges(self) -> None:
        """No answer is expected any more, and none was told that nobody waited for."""
        ffi.buffer(self._exchanges, EXCHANGES_BYTES)[:] = bytes(EXCHANGES_BYTES)
        self.write("tap_strangers", 0, bytes(abi.TAP_GATE.size))

    def exchanges(self) -> list[bytes]:
        """Those that are open, as they stand there."""
        memory = bytes(ffi.buffer(self._exchanges, EXCHANGES_BYTES))
        each = (memory[at : at + 32] for at in range(0, EXCHANGES_BYTES, 32))
        return [exchange for exchange in each if any(exchange[10:12])]  # its family

    def age_exchanges(self, by_ticks: int) -> None:
        """Make every exchange older than it is."""
        memory = ffi.buffer(self._exchanges, EXCHANGES_BYTES)
        for at in range(0, EXCHANGES_BYTES, 32):
            asked = int.from_bytes(memory[at + 20 : at + 24], "little")
            memory[at + 20 : at + 24] = (asked - by_ticks & 0xFFFFFFFF).to_bytes(4, "little")

    def clocks(self, slot: int) -> Clocks:
        """As they stand."""
        port = abi.TAP_PORT.unpack(self.read("tap_ports", slot, abi.TAP_PORT.size))
        talk = abi.TAP_TALK.unpack(self.read("tap_talks", slot, abi.TAP_TALK.size))
        return Clocks(*port[7:9], *talk[6:8])

    def clear_clocks(self, slot: int) -> None:
        """As if nothing had been seen; the next frame sets them whatever the tick is."""
        port = bytearray(self.read("tap_ports", slot, abi.TAP_PORT.size))
        port[abi.TAP_PORT__SEEN_NS : abi.TAP_PORT__SEEN_NS + SEEN_BYTES] = bytes(SEEN_BYTES)
        self.write("tap_ports", slot, bytes(port))
        talk = bytearray(self.read("tap_talks", slot, abi.TAP_TALK.size))
        talk[abi.TAP_TALK__QUIET_NS : abi.TAP_TALK__QUIET_NS + SEEN_BYTES] = bytes(SEEN_BYTES)
        self.write("tap_talks", slot, bytes(talk))

    def read(self, name: str, key: int, size_bytes: int) -> bytes:
        """A map's value."""
        return syscall.map_lookup(self._maps.fd(name), key.to_bytes(4, "little"), size_bytes, name)

    def write(self, name: str, key: int, value: bytes) -> None:
        """Another value."""
        syscall.map_update(self._maps.fd(name), key.to_bytes(4, "little"), value, name)
