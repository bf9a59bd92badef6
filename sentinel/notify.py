# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told: sd_notify(3), where there is one."""

from __future__ import annotations

import os
import socket
import time


def notify(state: str) -> bool:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`; False if nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval_s() -> float | None:
    """How often to send `WATCHDOG=1`: half of what the manager allows; None: not at all."""
    allowed_us = os.environ.get("WATCHDOG_USEC", "")
    if not allowed_us.isdecimal() or int(allowed_us) == 0:
        return None
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(allowed_us) / 2_000_000


def notify_reloading() -> None:
    """Say that the configuration is read anew; `READY=1` ends it.

    The time is what a unit of Type=notify-reload waits for (sd_notify(3), systemd 253).
    """
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_compiling(holds_s: float) -> None:
    """Say that the start goes on: give it `holds_s` more from now on."""
    notify(f"EXTEND_TIMEOUT_USEC={int(holds_s * 1e6)}\nSTATUS=compiling the programs")
