# SPDX-License-Identifier: Apache-2.0
"""Whether a kernel, and this process's rights in it, let the guard work. Pure."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from sentinel.doctor_types import BccFact, DropsFact, Finding, PinFacts

OLDEST_KERNEL: Final = (5, 10)
TCX_SINCE: Final = (6, 6)
MEMCG_ACCOUNTING_SINCE: Final = (5, 11)
ENOUGH_MEMLOCK_BYTES: Final = 64 << 20

CAP_NET_ADMIN: Final = 12
CAP_SYS_PTRACE: Final = 19
CAP_SYS_ADMIN: Final = 21
CAP_PERFMON: Final = 38
CAP_BPF: Final = 39


def judge_release(release: str) -> Finding:
    """The kernel's version."""
    version = kernel_version(release)
    if version is None:
        return Finding("warn", "kernel", f"{release}: no version that can be read")
    oldest = ".".join(map(str, OLDEST_KERNEL))
    if version < OLDEST_KERNEL:
        return Finding(
            "fail",
            "kernel",
            f"{release} is older than {oldest}, which has the ring buffer that is needed",
            f"run a kernel of {oldest} or later",
        )
    return Finding("ok", "kernel", f"{release} (at least {oldest} is needed)")


def judge_rights(uid: int, capabilities: int) -> Finding:
    """The capabilities of this process; a daemon started by the same hand has no others."""
    missing = [
        name
        for name, bit in (
            ("CAP_BPF", CAP_BPF),
            ("CAP_PERFMON", CAP_PERFMON),
            ("CAP_NET_ADMIN", CAP_NET_ADMIN),
        )
        if not _has(capabilities, bit) and (bit == CAP_NET_ADMIN or not _has_admin(capabilities))
    ]
    if missing and uid != 0:
        return Finding(
            "warn",
            "rights",
            f"run by uid {uid} without {', '.join(missing)}: what needs rights is not looked at",
            "run `tapsentinel doctor` as root",
        )
    if missing:
        return Finding(
            "fail",
            "rights",
            f"root, but without {', '.join(missing)}: is this a container, or a unit that drops "
            "capabilities?",
            f"grant {', '.join(missing)}",
        )
    if not _has(capabilities, CAP_SYS_PTRACE):
        return Finding(
            "warn",
            "rights",
            "without CAP_SYS_PTRACE: /proc/PID/fdinfo of other users' VMs cannot tell whose a "
            "port is",
            "grant CAP_SYS_PTRACE, or rely on OVS and libvirt",
        )
    return Finding("ok", "rights", "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE")


def judge_bpf(bpf_errno: int | None, uid: int) -> Finding:
    """Whether bpf(2) makes a map."""
    if bpf_errno == 0:
        return Finding("ok", "bpf(2)", "makes maps")
    if bpf_errno is None:
        return Finding("warn", "bpf(2)", "not tried: unknown on this machine's architecture")
    if bpf_errno == errno.ENOSYS:
        return Finding(
            "fail", "bpf(2)", "this kernel has none", "run a kernel built with CONFIG_BPF_SYSCALL"
        )
    reason = os.strerror(bpf_errno)
    if uid != 0:
        return Finding("warn", "bpf(2)", f"not for this user ({reason})", "run doctor as root")
    return Finding(
        "fail",
        "bpf(2)",
        f"refuses root a map: {reason}",
        "look for a seccomp filter (systemd: SystemCallFilter= must allow bpf), a container "
        "or a memory limit",
    )


def judge_jit(jit: str | None) -> Finding:
    """/proc/sys/net/core/bpf_jit_enable."""
    if jit is None:
        return Finding(
            "warn", "JIT", "could not be seen", "run doctor as root in the host's own namespace"
        )
    if jit == "0":
        return Finding(
            "warn",
            "JIT",
            "off: programs are interpreted, each frame costs several times more",
            "sysctl -w net.core.bpf_jit_enable=1",
        )
    return Finding("ok", "JIT", "on")


def judge_btf(btf: bool) -> Finding:
    """/sys/kernel/btf/vmlinux."""
    if btf:
        return Finding("ok", "BTF", "the kernel describes its types")
    return Finding(
        "warn",
        "BTF",
        "no /sys/kernel/btf/vmlinux: programs that read the kernel's own types cannot be loaded",
        "run a kernel built with CONFIG_DEBUG_INFO_BTF",
    )


def judge_lockdown(lockdown: str | None) -> Finding:
    """/sys/kernel/security/lockdown, the mode in brackets."""
    found = re.search(r"\[(\w+)\]", lockdown or "")
    mode = found[1] if found else "none"
    if mode == "confidentiality":
        return Finding(
            "warn",
            "lockdown",
            "confidentiality: programs that read kernel memory may be refused; the guard's own "
            "do not read any, the trace of drops does",
        )
    return Finding("ok", "lockdown", mode)


def judge_memlock(release: str, memlock_bytes: int | None) -> Finding:
    """Maps count as locked memory before 5.11, and against the memory cgroup since."""
    version = kernel_version(release)
    if memlock_bytes is None:
        return Finding("ok", "memlock", "no limit")
    if version is not None and version >= MEMCG_ACCOUNTING_SINCE:
        return Finding("ok", "memlock", "not what limits maps on this kernel")
    if memlock_bytes >= ENOUGH_MEMLOCK_BYTES:
        return Finding("ok", "memlock", f"{memlock_bytes >> 20} MiB")
    return Finding(
        "warn",
        "memlock",
        f"{memlock_bytes >> 10} KiB, and maps count as locked memory on this kernel",
        "set LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`",
    )


def judge_bpffs(pins: PinFacts, capabilities: int) -> Finding:
    """Where the pins are, or may be."""
    where = pins.bpffs_dir
    if pins.mounted:
        return Finding("ok", "bpffs", f"{where} lies on one")
    if not pins.supported:
        return Finding(
            "fail", "bpffs", "this kernel has none", "run a kernel built with CONFIG_BPF_SYSCALL"
        )
    if _has(capabilities, CAP_SYS_ADMIN):
        return Finding("ok", "bpffs", f"none at {where} yet: the daemon mounts one")
    return Finding(
        "warn",
        "bpffs",
        f"none at {where}, and mounting one takes CAP_SYS_ADMIN",
        "mount -t bpf bpf /sys/fs/bpf",
    )


def judge_attach(attach: str, release: str, tcx_errno: int | None) -> Finding:
    """How programs get to a device here, and whether that is what is configured."""
    version = kernel_version(release)
    if tcx_errno == 0:
        has_tcx = True
    elif tcx_errno == errno.EINVAL:
        has_tcx = False
    else:
        has_tcx = version is not None and version >= TCX_SINCE
    if attach == "tcx" and not has_tcx:
        return Finding(
            "fail",
            "attach",
            "kernel.attach is tcx, which this kernel does not have (6.6 and later do)",
            'set kernel.attach = "auto"',
        )
    if attach == "clsact":
        detail = "clsact, as configured" + ("; tcx would run before it" if has_tcx else "")
        return Finding("ok", "attach", detail)
    return Finding("ok", "attach", "tcx" if has_tcx else "clsact (no tcx before 6.6)")


def judge_libbpf(problem: str | None) -> Finding:
    """The shared library that loads the programs."""
    if problem is None:
        return Finding("ok", "libbpf", "libbpf.so.1 is there")
    return Finding(
        "fail", "libbpf", problem, "install libbpf (Debian, Ubuntu: libbpf1; RHEL: libbpf)"
    )


def judge_bcc(bcc: BccFact) -> Finding:
    """The distribution's BCC, where it is to compile the programs."""
    if bcc.works:
        return Finding("ok", "BCC", bcc.detail)
    return Finding("fail", "BCC", bcc.detail, 'or set kernel.loader = "libbpf"')


def judge_drops(drops: DropsFact, wanted: str) -> Finding:
    """Whether it can be said where the kernel throws frames away; `wanted` is kernel.drops."""
    if wanted == "off":
        return Finding("ok", "drops", "not traced, as configured")
    if drops.obstacle is None:
        return Finding("ok", "drops", "traced: by device, reason and place in the kernel")
    return Finding(
        "warn",
        "drops",
        f"not traced: {drops.obstacle}; the guard is as good without",
        'set kernel.drops = "off" if that is known',
    )


def kernel_version(release: str) -> tuple[int, int] | None:
    """Major and minor of a release such as "5.10.0-28-amd64"."""
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    return (int(found[1]), int(found[2])) if found else None


def _has(capabilities: int, bit: int) -> bool:
    return bool(capabilities >> bit & 1)


def _has_admin(capabilities: int) -> bool:
    return _has(capabilities, CAP_SYS_ADMIN)
