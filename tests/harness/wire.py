# SPDX-License-Identifier: Apache-2.0
"""What really came over a wire, counted exactly, at any rate.

A packet socket whose BPF filter (native/wire_counter.bpf.c) counts each frame in
a hash map and then refuses it. Why this and nothing simpler: a capture loses
frames when its ring is full; interface statistics cannot tell a BPDU from a
ping; an nftables or tc counter is a thing of the same hooks that are under test,
and outlives a killed run. This counter runs before tc, bridge and netfilter,
buffers nothing, sees all BPDUs (a bridge's own guard sees version 0 alone), and
goes with its socket. One that is full says so: `uncounted`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.harness import native
from tests.harness.closing import Closing
from tests.harness.frames import CISCO_OUI, LLC_BRIDGE, Bpdu, mac_text
from tests.harness.namespaces import Namespace
from tests.harness.waiting import wait_until

ETH_P_ALL = 0x0003
SO_ATTACH_BPF = 50
KEY = struct.Struct("6s6s16s2s12sBB")
VALUE = struct.Struct("=QQQ")

BRIDGE_GROUPS = {"01:80:c2:00:00:00", "01:80:c2:00:00:08"}
BY_VERSION = {0: Bpdu.STP, 2: Bpdu.RSTP, 3: Bpdu.MSTP, 4: Bpdu.SPB}


@dataclass(frozen=True, slots=True)
class WireEntry:
    """Frames that share addresses, tags and (for 802.3) LLC."""

    dst: str
    src: str
    tags: tuple[bytes, ...]
    ethertype: int  # below 0x600: a length
    llc: bytes
    outgoing: bool
    frames: int
    bytes: int  # Ethernet header and tags, without the FCS
    super_frames: int  # those of `frames` that stand for many: GSO

    @property
    def bpdu(self) -> Bpdu | None:
        """Its kind, or None: an independent reading of the same standards."""
        if self.ethertype >= 0x600:
            return None
        if self.llc[:5] == LLC_BRIDGE + b"\0\0":
            if self.dst not in BRIDGE_GROUPS:
                return None
            if self.dst.endswith(":08"):
                return Bpdu.PROVIDER
            if self.llc[6] == 0x80:
                return Bpdu.TCN
            return BY_VERSION.get(self.llc[5], Bpdu.STP)
        if self.llc[:6] == b"\xaa\xaa\x03" + CISCO_OUI:
            if self.llc[6:8] == b"\x01\x0b":
                return Bpdu.RPVST if self.llc[10] == 2 else Bpdu.PVST
            if self.llc[6:8] == b"\x01\x0c":
                return Bpdu.VLAN_BRIDGE
        return None


class WireCounter(Closing):
    """Counts every frame on one device from the moment it is made.

    Raises RuntimeError when the kernel refuses the filter.
    """

    def __init__(self, netns: Namespace, device: str) -> None:
        self._bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self._object = _loaded(self._bpf)
        self._counted = self._map(b"counted")
        self._uncounted = self._map(b"uncounted")
        with netns.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            program = self._bpf.bpf_object__find_program_by_name(
                ctypes.c_void_p(self._object), b"count_frame"
            )
            fd = self._bpf.bpf_program__fd(ctypes.c_void_p(program))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, struct.pack("i", fd))
            # Bound only now, with the filter in place: the first frame counts.
            self._socket.bind((device, ETH_P_ALL))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop counting; may be called again."""
        self._socket.close()
        if self._object:
            self._bpf.bpf_object__close(ctypes.c_void_p(self._object))
            self._object = 0

    def entries(self, outgoing: bool = False) -> list[WireEntry]:
        """Everything counted so far, in one direction as seen from the device."""
        found = []
        for key, value in self._items():
            dst, src, tags, ethertype, llc, tag_count, is_outgoing = KEY.unpack(key)
            if bool(is_outgoing) != outgoing:
                continue
            frames, length, super_frames = VALUE.unpack(value)
            found.append(
                WireEntry(
                    dst=mac_text(dst),
                    src=mac_text(src),
                    tags=tuple(tags[4 * i : 4 * i + 4] for i in range(tag_count)),
                    ethertype=int.from_bytes(ethertype),
                    llc=llc,
                    outgoing=outgoing,
                    frames=frames,
                    bytes=length,
                    super_frames=super_frames,
                )
            )
        return found

    def frames(self) -> int:
        """All frames that arrived."""
        return sum(entry.frames for entry in self.entries())

    def frames_from(self, mac: str) -> int:
        """Frames that arrived with this source address."""
        return sum(entry.frames for entry in self.entries() if entry.src == mac.lower())

    def frames_to(self, mac: str) -> int:
        """Frames that arrived with this destination address."""
        return sum(entry.frames for entry in self.entries() if entry.dst == mac.lower())

    def bpdus(self) -> int:
        """BPDUs of any kind that arrived, tagged or not."""
        return sum(self.by_bpdu().values())

    def by_bpdu(self) -> Counter[Bpdu]:
        """BPDUs that arrived, by kind."""
        kinds: Counter[Bpdu] = Counter()
        for entry in self.entries():
            if entry.bpdu is not None:
                kinds[entry.bpdu] += entry.frames
        return kinds

    def by_destination(self) -> Counter[str]:
        """Frames that arrived, by destination address."""
        found: Counter[str] = Counter()
        for entry in self.entries():
            found[entry.dst] += entry.frames
        return found

    @property
    def uncounted(self) -> int:
        """Frames that found the table full; anything but 0 spoils the count."""
        value = ctypes.c_uint64()
        key = ctypes.c_uint32(0)
        self._bpf.bpf_map_lookup_elem(self._uncounted, ctypes.byref(key), ctypes.byref(value))
        return value.value

    def wait_for(self, frames: int, mac: str | None = None, timeout_s: float = 10) -> None:
        """Wait until that many arrived (from `mac`, if given); more is not an error here."""

        def arrived() -> int:
            return self.frames() if mac is None else self.frames_from(mac)

        wait_until(lambda: arrived() >= frames, timeout_s, f"{frames} frames on the wire")

    def _items(self) -> Iterator[tuple[bytes, bytes]]:
        # A key that vanishes would restart the walk, but nothing is ever deleted.
        previous: ctypes.Array[ctypes.c_char] | None = None
        while True:
            key = ctypes.create_string_buffer(KEY.size)
            if self._bpf.bpf_map_get_next_key(self._counted, previous, key) != 0:
                return
            value = ctypes.create_string_buffer(VALUE.size)
            if self._bpf.bpf_map_lookup_elem(self._counted, key, value) == 0:
                yield key.raw, value.raw
            previous = key

    def _map(self, name: bytes) -> int:
        fd: int = self._bpf.bpf_object__find_map_fd_by_name(ctypes.c_void_p(self._object), name)
        return fd


def _loaded(bpf: ctypes.CDLL) -> int:
    bpf.bpf_object__open_file.restype = ctypes.c_void_p
    bpf.bpf_object__find_program_by_name.restype = ctypes.c_void_p
    path = os.fsencode(native.bpf_object("wire_counter"))
    found: int | None = bpf.bpf_object__open_file(path, None)
    if not found:
        raise RuntimeError(f"{path!r} cannot be opened: {os.strerror(ctypes.get_errno())}")
    status: int = bpf.bpf_object__load(ctypes.c_void_p(found))
    if status != 0:
        bpf.bpf_object__close(ctypes.c_void_p(found))
        raise RuntimeError(f"the kernel refused the wire counter: {os.strerror(-status)}")
    return found
