# SPDX-License-Identifier: Apache-2.0
"""Run on a host: makes a tap on a bridge, as libvirt would, and sends what it is told to.

Usage: host_port.py TAP BRIDGE ORDERS COUNT [HEX...]

The frames HEX are sent as soon as the tap is there. ORDERS is made, a pipe that takes
lines: `send HEX`, `flood HEX` (until anything else comes). COUNT is a file that is told
how many frames were sent. The tap goes with this process.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
from pathlib import Path

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
AT_ONCE = 50


def main() -> None:
    tap, bridge, orders, count, *first = sys.argv[1:]
    # Others have work to do too, on the only CPU.
    os.nice(19)
    port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(port, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", tap, "master", bridge, "up"], check=True)
    sent = 0
    for text in first:
        sent += _send(port, bytes.fromhex(text))
    Path(count).write_text(str(sent))
    os.mkfifo(orders)
    # Held for writing too, so that a writer that goes is no end.
    pipe = os.open(orders, os.O_RDWR | os.O_NONBLOCK)
    flood = b""
    while True:
        ready, _, _ = select.select([pipe, port], [], [], 0 if flood else 1)
        if port in ready:
            os.read(port, 65536)
        if pipe in ready:
            for line in os.read(pipe, 65536).decode().splitlines():
                order, _, text = line.partition(" ")
                flood = bytes.fromhex(text) if order == "flood" else b""
                if order == "send":
                    sent += _send(port, bytes.fromhex(text))
        if flood:
            for _ in range(AT_ONCE):
                sent += _send(port, flood)
        Path(count).write_text(str(sent))


def _send(port: int, frame: bytes) -> int:
    try:
        return int(os.write(port, frame) == len(frame))
    except BlockingIOError:
        return 0


if __name__ == "__main__":
    main()
