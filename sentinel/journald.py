# SPDX-License-Identifier: Apache-2.0
"""The log, told to journald in its own protocol: with priorities, and fields to search by.

Where stderr does not lead there, it goes to stderr, as text with the time. The protocol:
systemd's docs/JOURNAL_NATIVE_PROTOCOL.md; how to tell where stderr leads: systemd.exec(5),
JOURNAL_STREAM.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Final

from sentinel.terminal import harmless

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "tapsentinel"
MOST_VALUE_BYTES: Final = 16 << 10
"""Of a field; a traceback is the longest there is."""
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG: Final = 7


def start_logging() -> None:
    """Everything from INFO on, to journald or stderr."""
    handler: logging.Handler
    if leads_to_journald(2, os.environ):
        handler = JournaldHandler(SOCKET)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def leads_to_journald(fd: int, environment: Mapping[str, str]) -> bool:
    """Whether what is written to `fd` goes to the journal that the service manager named."""
    try:
        stat = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class JournaldHandler(logging.Handler):
    """One datagram for each record; `extra={"fields": {...}}` adds fields.

    It never waits: what journald does not take at once is counted, and told with the next.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._lost = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record. Raises nothing."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName,
            **getattr(record, "fields", {}),
        }
        if self._lost:
            fields["TAPSENTINEL_LOST"] = str(self._lost)
            fields["MESSAGE"] += f" ({self._lost} lines before this one were lost)"
        try:
            self._socket.sendto(datagram(fields), self._address)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def close(self) -> None:
        """Tell nothing any more."""
        self._socket.close()
        super().close()


def priority(level: int) -> int:
    """Of syslog(3)."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def datagram(fields: Mapping[str, str]) -> bytes:
    """Fields as they are sent: a value of several lines has its length before it."""
    parts = []
    for name, value in fields.items():
        lines = [harmless(line) for line in value.split("\n")]
        data = "\n".join(lines).encode()[:MOST_VALUE_BYTES]
        if len(lines) == 1:
            parts.append(b"%s=%s\n" % (name.encode(), data))
        else:
            parts.append(b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data))
    return b"".join(parts)
