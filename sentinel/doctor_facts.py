# SPDX-License-Identifier: Apache-2.0
"""What the doctor looks at on this host. Looks, and changes nothing.

Devices come from `ip`, not from /sys: in a network namespace entered without a
new mount, /sys still shows the devices of another.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sentinel.cli_client import Client
from sentinel.config import Config
from sentinel.control_peer import group_gid
from sentinel.doctor_rules import uplinks, watched
from sentinel.doctor_types import (
    BccFact,
    DaemonFacts,
    DropsFact,
    HostFacts,
    KernelFacts,
    LinkFact,
    PinFacts,
)
from sentinel.errors import KernelError, NoDaemonError, RefusedError, TapsentinelError

try:
    from sentinel.loader.bcc import describe as describe_bcc
    from sentinel.loader.drops import describe_obstacle
    from sentinel.loader.inspect import programs_in_front
except ImportError:  # libbpf or the extension is missing: a finding, not the end
    programs_in_front: Callable[[int], list[str]] | None = None  # type: ignore[no-redef]
    describe_bcc: Callable[[], str] | None = None  # type: ignore[no-redef]
    describe_obstacle: Callable[[str], str | None] | None = None  # type: ignore[no-redef]

_BPF_SYSCALL: Final = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
}
_BPF_MAP_CREATE: Final = 0
_BPF_PROG_LOAD: Final = 5
_BPF_OBJ_GET_INFO_BY_FD: Final = 15
_BPF_PROG_QUERY: Final = 16
_BPF_PROG_TYPE_SOCKET_FILTER: Final = 1
_BPF_PROG_INFO_BYTES: Final = 64
# r0 = 0; exit (linux/bpf.h: struct bpf_insn)
_RETURN_0: Final = bytes((0xB7, *bytes(7), 0x95, *bytes(7)))
_BPF_MAP_TYPE_ARRAY: Final = 2
_BPF_TCX_INGRESS: Final = 46
_BPF_ATTR_BYTES: Final = 128
_LOOPBACK: Final = 1
_COMMAND_TIMEOUT_S: Final = 5
_DAEMON_TIMEOUT_S: Final = 2.0
_VHOST_DIRS: Final = ("/run/openvswitch", "/var/run/openvswitch")


def gather(config: Config) -> HostFacts:
    """Everything that `doctor_rules.judge` asks for; takes a second or two at most."""
    links = _links()
    return HostFacts(
        kernel=_kernel(),
        pins=_pins(config.paths.bpffs_dir),
        daemon=_daemon(config.paths.control_socket),
        libbpf_problem=_libbpf_problem(),
        bcc=_bcc(config.kernel.loader),
        group_exists=group_gid(config.control.group) is not None,
        links=links,
        vhost_sockets=_vhost_sockets(),
        dpdk_ports=_dpdk_ports(),
        in_front=_in_front(links, config),
        drops=_drops(config.kernel.loader),
    )


def _bcc(loader: str) -> BccFact | None:
    if loader != "bcc" or describe_bcc is None:
        return None
    try:
        return BccFact(describe_bcc(), True)
    except KernelError as missing:
        return BccFact(str(missing), False)


def _drops(loader: str) -> DropsFact | None:
    return None if describe_obstacle is None else DropsFact(describe_obstacle(loader))


def _kernel() -> KernelFacts:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return KernelFacts(
        release=os.uname().release,
        uid=os.geteuid(),
        capabilities=capabilities_in(_text("/proc/self/status") or ""),
        bpf_errno=_map_errno(),
        tcx_errno=_bpf_errno(_BPF_PROG_QUERY, struct.pack("II", _LOOPBACK, _BPF_TCX_INGRESS)),
        jit="1" if _is_jited() else _text("/proc/sys/net/core/bpf_jit_enable"),
        btf=Path("/sys/kernel/btf/vmlinux").exists(),
        lockdown=_text("/sys/kernel/security/lockdown"),
        memlock_bytes=None if soft == resource.RLIM_INFINITY else soft,
    )


def capabilities_in(status: str) -> int:
    """The effective capabilities in a /proc/PID/status (proc(5)), as a mask."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0


def _map_errno() -> int | None:
    """The errno of making a map of one entry, which is gone again at once."""
    map_fd = _bpf(_BPF_MAP_CREATE, struct.pack("IIII", _BPF_MAP_TYPE_ARRAY, 4, 8, 1))
    if map_fd is None or map_fd < 0:
        return None if map_fd is None else -map_fd
    os.close(map_fd)
    return 0


def _is_jited() -> bool:
    """Was a program of two instructions compiled? False, too, where it cannot be known.

    The sysctl is there in the first network namespace only.
    """
    instructions = ctypes.create_string_buffer(_RETURN_0)
    license_name = ctypes.create_string_buffer(b"GPL")
    program = struct.pack(
        "=IIQQ",
        _BPF_PROG_TYPE_SOCKET_FILTER,
        len(_RETURN_0) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_name),
    )
    program_fd = _bpf(_BPF_PROG_LOAD, program)
    if program_fd is None or program_fd < 0:
        return False
    info = ctypes.create_string_buffer(_BPF_PROG_INFO_BYTES)
    asked = struct.pack("=IIQ", program_fd, _BPF_PROG_INFO_BYTES, ctypes.addressof(info))
    failed = _bpf_errno(_BPF_OBJ_GET_INFO_BY_FD, asked)
    os.close(program_fd)
    # struct bpf_prog_info (linux/bpf.h): jited_prog_len follows type, id and an 8-byte tag.
    return failed == 0 and struct.unpack_from("I", info, 16)[0] > 0


def _bpf_errno(command: int, attributes: bytes) -> int | None:
    result = _bpf(command, attributes)
    return None if result is None else max(0, -result)


def _bpf(command: int, attributes: bytes) -> int | None:
    """bpf(2): its result, or minus the errno; None where its number is not known."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, _BPF_ATTR_BYTES)
    result: int = libc.syscall(number, command, buffer, _BPF_ATTR_BYTES)
    return result if result >= 0 else -ctypes.get_errno()


def _pins(bpffs_dir: str) -> PinFacts:
    try:
        pinned: bool | None = any(Path(bpffs_dir).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        pinned = False
    except OSError:
        pinned = None
    mounted = file_system_of(bpffs_dir, _text("/proc/self/mountinfo") or "") == "bpf"
    return PinFacts(
        bpffs_dir=bpffs_dir,
        supported="\tbpf\n" in (_text("/proc/filesystems") or "") + "\n",
        mounted=mounted,
        pinned=pinned and mounted,
    )


def file_system_of(path: str, mountinfo: str) -> str:
    """The type of the file system that a path lies on (proc(5), mountinfo)."""
    best, found = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].rstrip("/")
        if f"{path}/".startswith(f"{point}/") and len(point) >= len(best):
            best, found = point, right.split()[0]
    return found


def _daemon(control_socket: str) -> DaemonFacts:
    try:
        with Client(control_socket, timeout_s=_DAEMON_TIMEOUT_S) as client:
            status = json.loads(client.ask("status"))
    except NoDaemonError as error:
        return DaemonFacts("absent", str(error))
    except RefusedError as error:
        return DaemonFacts("refused", str(error))
    except (TapsentinelError, ValueError) as error:
        return DaemonFacts("absent", f"{control_socket}: {error}")
    return DaemonFacts(
        "answers",
        version=str(status.get("version")),
        pid=int(status.get("pid") or 0),
        problems=tuple(str(problem) for problem in status.get("problems") or ()),
    )


def _libbpf_problem() -> str | None:
    try:
        # What it would say to stderr stands in the findings, in plain words.
        ctypes.CDLL("libbpf.so.1").libbpf_set_print(None)
    except OSError as error:
        return f"libbpf.so.1 cannot be loaded: {error}"
    return None


def _links() -> tuple[LinkFact, ...] | None:
    rows = _json_of(["ip", "-j", "-d", "link", "show"])
    if not isinstance(rows, list):
        return None
    return tuple(link_of(row) for row in rows if isinstance(row, dict) and "ifname" in row)


def link_of(row: dict[str, Any]) -> LinkFact:
    """A device as `ip -j -d link` lists it."""
    info = row.get("linkinfo", {})
    data = info.get("info_data", {})
    kind = str(info.get("info_kind", ""))
    return LinkFact(
        name=str(row["ifname"]),
        ifindex=int(row.get("ifindex", 0)),
        kind=kind,
        tap=kind == "tun" and data.get("type") == "tap",
        in_bridge=info.get("info_slave_kind") == "bridge",
        virtual_functions=_virtual_functions(str(row["ifname"]), row),
        stp=bool(data.get("stp_state")),
        group_fwd_mask=_number(data.get("group_fwd_mask")),
    )


def _virtual_functions(name: str, row: dict[str, Any]) -> int:
    listed = len(row.get("vfinfo_list") or ())
    return listed or _number(_text(f"/sys/class/net/{name}/device/sriov_numvfs"))


def _number(value: object) -> int:
    if isinstance(value, int):
        return value
    try:
        return int(value, 0) if isinstance(value, str) else 0
    except ValueError:
        return 0


def _vhost_sockets() -> tuple[str, ...]:
    return tuple(sorted({path.name for place in _VHOST_DIRS for path in Path(place).glob("vhu*")}))


def _dpdk_ports() -> tuple[str, ...]:
    """Open vSwitch's vhost-user ports; none where there is no Open vSwitch to ask."""
    table = _json_of(
        ["ovs-vsctl", "--timeout=3", "--format=json", "--columns=name,type", "list", "Interface"]
    )
    rows = table.get("data", []) if isinstance(table, dict) else []
    return tuple(str(name) for name, kind in rows if str(kind).startswith("dpdkvhostuser"))


def _in_front(
    links: tuple[LinkFact, ...] | None, config: Config
) -> Mapping[str, tuple[str, ...]] | None:
    if links is None or programs_in_front is None:
        return None
    devices = watched(links, config.ports) + uplinks(links, config.ports)
    try:
        return {link.name: tuple(programs_in_front(link.ifindex)) for link in devices}
    except (TapsentinelError, OSError):
        return None


def _json_of(command: list[str]) -> Any:
    """What a command prints, decoded; None if it cannot be run or says anything else."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=True)
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
