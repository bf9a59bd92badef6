# SPDX-License-Identifier: Apache-2.0
"""What the doctor knows of a host, and what it finds. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's. `remedy` is empty where there is nothing to do."""

    level: Level
    title: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """`*_errno`: of a probing call; 0 it worked, None it could not be tried."""

    release: str
    uid: int
    capabilities: int
    bpf_errno: int | None
    tcx_errno: int | None
    jit: str | None
    btf: bool
    lockdown: str | None
    memlock_bytes: int | None  # None: no limit


@dataclass(frozen=True, slots=True)
class PinFacts:
    """`mounted`: the directory lies on a bpffs. `pinned`: None if it could not be read."""

    bpffs_dir: str
    supported: bool
    mounted: bool
    pinned: bool | None


@dataclass(frozen=True, slots=True)
class LinkFact:
    """A network device, as far as the doctor cares."""

    name: str
    ifindex: int
    kind: str
    tap: bool = False
    in_bridge: bool = False
    virtual_functions: int = 0
    stp: bool = False
    group_fwd_mask: int = 0


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """`state`: answers, absent (nobody does), or refused (to this user)."""

    state: Literal["answers", "absent", "refused"]
    message: str = ""
    version: str = ""
    pid: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BccFact:
    """What would compile the programs here, or what keeps it from that."""

    detail: str
    works: bool


@dataclass(frozen=True, slots=True)
class DropsFact:
    """Whether drops of the kernel can be traced; None: nothing keeps them from that."""

    obstacle: str | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything that was looked at. `links` None: devices could not be listed.

    `bcc` None: nobody asked for it. `drops` None: nobody could look.
    """

    kernel: KernelFacts
    pins: PinFacts
    daemon: DaemonFacts
    libbpf_problem: str | None
    bcc: BccFact | None
    group_exists: bool
    links: tuple[LinkFact, ...] | None = None
    vhost_sockets: tuple[str, ...] = ()
    dpdk_ports: tuple[str, ...] = ()
    in_front: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)
    drops: DropsFact | None = None
