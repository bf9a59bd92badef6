# SPDX-License-Identifier: Apache-2.0
"""Run inside a unit's sandbox: tries what is not allowed and says what came of it, as JSON.

Usage: host_probe.py FOLDER... (those that may be written to)
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
# x86-64
SYS_INIT_MODULE, SYS_BPF, SYS_CLOCK_SETTIME = 175, 321, 227
BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY = 0, 2
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
FORBIDDEN_FOLDERS = ("/etc", "/usr", "/var/lib", "/run", "/root", "/sys/fs/bpf", "/boot")


def tried(what: Callable[[], object]) -> str:
    """`done`, or the errno's name."""
    try:
        what()
    except OSError as refused:
        return errno.errorcode.get(refused.errno or 0, str(refused))
    return "done"


def checked(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "")


def write_in(folder: str) -> None:
    path = Path(folder, f"probe-{os.getpid()}")
    path.write_text("")
    path.unlink()


def load_module() -> None:
    checked(libc.syscall(SYS_INIT_MODULE, b"none", ctypes.c_long(4), b""))


def make_map() -> None:
    wanted = struct.pack("=IIIII", BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0).ljust(72, b"\0")
    fd = libc.syscall(SYS_BPF, BPF_MAP_CREATE, wanted, ctypes.c_long(len(wanted)))
    checked(fd)
    os.close(fd)


def open_socket(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def suid() -> None:
    path = Path(sys.argv[1], f"probe-{os.getpid()}")
    path.write_text("")
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def read_foreign_memory() -> None:
    with open("/proc/1/mem", "rb"):  # noqa: PTH123 - not to be buffered
        pass


def main() -> None:
    packet, raw = socket.SOCK_RAW, socket.IPPROTO_ICMP
    attempts: dict[str, Callable[[], object]] = {
        **{f"write {name}": partial(write_in, name) for name in FORBIDDEN_FOLDERS},
        "load a module": load_module,
        "packet socket": lambda: open_socket(socket.AF_PACKET, packet),
        "raw socket": lambda: open_socket(socket.AF_INET, packet, raw),
        "tcp socket": lambda: open_socket(socket.AF_INET, socket.SOCK_STREAM),
        "netlink socket": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "unix socket": lambda: open_socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "user namespace": lambda: checked(libc.unshare(CLONE_NEWUSER)),
        "network namespace": lambda: checked(libc.unshare(CLONE_NEWNET)),
        "mount": lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "clock": lambda: checked(libc.syscall(SYS_CLOCK_SETTIME, 0, struct.pack("=qq", 1, 0))),
        "hostname": lambda: checked(libc.sethostname(b"probe", 5)),
        "disk": lambda: os.close(os.open("/dev/vda", os.O_RDONLY)),
        "memory of others": read_foreign_memory,
        "tunables": lambda: Path("/proc/sys/kernel/panic").write_text("0"),
        "modules": lambda: next(Path("/usr/lib/modules").iterdir()),
        "code in writable memory": lambda: mmap.mmap(
            -1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC
        ),
        "suid": suid,
        "bpf": make_map,
        **{f"write {name}": partial(write_in, name) for name in sys.argv[1:]},
    }
    print(json.dumps({name: tried(attempt) for name, attempt in attempts.items()}))


if __name__ == "__main__":
    main()
