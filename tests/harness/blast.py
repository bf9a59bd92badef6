# SPDX-License-Identifier: Apache-2.0
"""Writes frames to a tap as fast as it takes them, from a process of its own.

The writer is a small C program (native/blast.c): it shares no interpreter with
the test and survives nothing of it. What was accepted is read from memory that
both map, so it is exact even if the writer is killed.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.harness import native
from tests.harness.closing import Closing
from tests.harness.taps import VNET_HDR, Tap

PROGRESS = struct.Struct("=6Q")


@dataclass(frozen=True, slots=True)
class Sent:
    """What the tap accepted."""

    frames: int
    bytes: int  # a virtio_net_hdr, where there is one, is not counted
    retries: int  # EAGAIN, ENOBUFS, ENOMEM, EINTR
    elapsed_ns: int
    per_frame: tuple[int, ...]  # how often each of the given frames went

    @property
    def frames_per_second(self) -> float:
        """Accepted frames a second."""
        return self.frames * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0


class Blast(Closing):
    """A running flood. `count` 0 means: until `stop()`.

    The frames are sent in turn, each tried until the tap accepts it.
    """

    def __init__(self, tap: Tap, frames: Sequence[bytes], count: int = 0) -> None:
        self._tap_name = tap.name
        self._header_bytes = VNET_HDR.size if tap.vnet_hdr else 0
        self._frames = len(frames)
        self._memory_fd = os.memfd_create("blast-progress")
        os.ftruncate(self._memory_fd, mmap.PAGESIZE)
        self._memory = mmap.mmap(self._memory_fd, mmap.PAGESIZE)
        header = bytes(self._header_bytes)
        try:
            self._process = subprocess.Popen(
                [native.program("blast"), str(tap.fd), str(self._memory_fd), str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(tap.fd, self._memory_fd),
            )
        except BaseException:
            self._close_memory()
            raise
        assert self._process.stdin is not None
        self._lifeline = self._process.stdin
        self._lifeline.write(struct.pack("=I", len(frames)))
        for frame in frames:
            self._lifeline.write(struct.pack("=I", len(header + frame)) + header + frame)
        self._lifeline.flush()

    @property
    def accepted(self) -> int:
        """Frames accepted so far."""
        return self._progress()[0] if not self._memory.closed else 0

    @property
    def running(self) -> bool:
        """Whether the writer still writes."""
        return self._process.poll() is None

    def wait(self, timeout_s: float = 120) -> Sent:
        """Wait for `count` frames. Raises OSError if the tap refused one for good."""
        try:
            self._process.wait(timeout_s)
            return self._sent()
        finally:
            self.close()

    def stop(self) -> Sent:
        """End the flood now and say what was sent."""
        self._process.terminate()
        return self.wait()

    def close(self) -> None:
        """Kill the writer if it is still there; may be called again."""
        if self._memory.closed:
            return
        self._process.kill()
        self._process.wait()
        self._lifeline.close()
        self._close_memory()

    def _close_memory(self) -> None:
        self._memory.close()
        os.close(self._memory_fd)

    def _progress(self) -> tuple[int, int, int, int, int, int]:
        accepted, length, retries, started, ended, error = PROGRESS.unpack_from(self._memory)
        return accepted, length, retries, started, ended, error

    def _sent(self) -> Sent:
        accepted, length, retries, started, ended, error = self._progress()
        if error:
            raise OSError(
                error, f"tap {self._tap_name} after {accepted} frames: {os.strerror(error)}"
            )
        if not ended:
            raise RuntimeError(f"the writer of {self._tap_name} died after {accepted} frames")
        each, more = divmod(accepted, self._frames)
        return Sent(
            frames=accepted,
            bytes=length - accepted * self._header_bytes,
            retries=retries,
            elapsed_ns=ended - started,
            per_frame=tuple(each + (index < more) for index in range(self._frames)),
        )


def blast(tap: Tap, frames: Sequence[bytes], count: int) -> Sent:
    """Write `count` frames and say what was accepted; for several taps at once, see Blast."""
    with Blast(tap, frames, count) as running:
        return running.wait()
