# SPDX-License-Identifier: Apache-2.0
"""The kernel's log since a moment, from /dev/kmsg."""

from __future__ import annotations

import os


class KernelLog:
    """Reads records written after it was made. Needs root, as /dev/kmsg does."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._lines: list[str] = []

    def lines(self, *words: str) -> list[str]:
        """Messages so far that contain all of the words."""
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # records were overwritten; the next read goes on behind them
            # "priority,sequence,time,flags;message\n" and then " KEY=value" lines
            message = record.partition(b";")[2].partition(b"\n")[0]
            self._lines.append(message.decode(errors="replace"))
        return [line for line in self._lines if all(word in line for word in words)]

    def close(self) -> None:
        """Close; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
