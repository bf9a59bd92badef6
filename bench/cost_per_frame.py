# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what a frame costs, against an empty tc program, alternately in one run.

Each round runs the empty program and every one of ours over the same frame with
BPF_PROG_TEST_RUN, one after the other, so that whatever else the machine does
falls on all alike; what counts is the median of the rounds' ratios. Writes
docs/bench.md and fails when a ratio is beyond what is promised.
"""

from __future__ import annotations

import os
import platform
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sentinel import abi
from sentinel.decode import CHECKS, CheckSetting, KernelConfig
from sentinel.loader._libbpf import ffi, lib
from sentinel.loader.disarm import disarm
from sentinel.loader.guard import Guard
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import Bpdu, bpdu, ethernet
from tests.harness.packets import arp, tcp_frame

ROOT = Path(__file__).resolve().parent.parent
EMPTY_SOURCE = ROOT / "bench" / "empty.bpf.c"
EMPTY_OBJECT = ROOT / "build" / "bench" / "empty.bpf.o"
REPORT = ROOT / "docs" / "bench.md"

ROUNDS = 41
REPEAT = 50_000
LOOPBACK = 1
GUEST, PEER = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
THREE_TAGS = [(0x88A8, 100, 0), (0x8100, 200, 0), (0x8100, 300, 0)]

PLAIN_AT_MOST = 1.5
WORST_AT_MOST = 2.5
PLAIN = "TCP, 1500 bytes"
PROGRAMS = {
    "tap_from_guest": abi.TAP_ROLE_PORT,
    "tap_to_guest": abi.TAP_ROLE_PORT,
    "uplink_to_wire": abi.TAP_ROLE_UPLINK,
    "uplink_from_wire": abi.TAP_ROLE_UPLINK,
}


@dataclass(frozen=True)
class Cost:
    """One program on one frame, in nanoseconds and as ratios to the empty program."""

    program: str
    frame: str
    action: str
    empty_ns: float
    ours_ns: float
    ratio: float
    low: float
    high: float

    @property
    def limit(self) -> float:
        """What was promised."""
        return PLAIN_AT_MOST if self.frame.startswith("TCP") else WORST_AT_MOST


def frames() -> dict[str, bytes]:
    """What is measured, plain traffic first."""
    way = (GUEST, PEER, "192.0.2.1", "192.0.2.2")
    full = tcp_frame(*way, payload=b"x" * 1446)
    ack = tcp_frame(*way)
    return {
        PLAIN: full,
        "TCP, empty": ack,
        "ARP": arp(GUEST, "192.0.2.1", "192.0.2.2"),
        "three tags": ethernet(PEER, GUEST, b"x" * 64, 0x0800, tags=THREE_TAGS),
        "BPDU": bpdu(Bpdu.RSTP),
        "BPDU, three tags": bpdu(Bpdu.RSTP, tags=THREE_TAGS),
        "DHCP": dhcp(DhcpType.DISCOVER),
        "DHCP, three tags": dhcp(DhcpType.DISCOVER, tags=THREE_TAGS),
    }


def run_ns(prog_fd: int, frame: bytes) -> int:
    """Nanoseconds a frame, over REPEAT runs."""
    verdict, duration_ns = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    failed = lib.ts_test_run(
        prog_fd, frame, len(frame), LOOPBACK, 0, 0, REPEAT, verdict, duration_ns
    )
    if failed:
        raise OSError(-failed, os.strerror(-failed))
    return int(duration_ns[0])


@contextmanager
def empty_program() -> Iterator[int]:
    """The descriptor of the least that a tc program can be."""
    EMPTY_OBJECT.parent.mkdir(parents=True, exist_ok=True)
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    compiler = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", include]
    subprocess.run([*compiler, "-c", str(EMPTY_SOURCE), "-o", str(EMPTY_OBJECT)], check=True)
    lib.ts_log_start()
    opened = lib.bpf_object__open_file(os.fsencode(EMPTY_OBJECT), ffi.NULL)
    if opened == ffi.NULL or lib.bpf_object__load(opened):
        raise SystemExit("the empty program cannot be loaded: run as root")
    try:
        yield lib.bpf_program__fd(lib.bpf_object__next_program(opened, ffi.NULL))
    finally:
        lib.bpf_object__close(opened)


def policy(action: str) -> KernelConfig:
    """Every check with one action; a fuse and an event rate as out of the box."""
    checks = tuple(CheckSetting(action, 1, 10_000_000_000) for _ in CHECKS)
    return KernelConfig(checks, "count", 10, 1_000_000_000, 1)


def measure(guard: Guard, empty_fd: int, action: str) -> list[Cost]:
    """Every program on every frame."""
    guard.maps.write_config(policy(action))
    costs = []
    for name, frame in frames().items():
        for program, role in PROGRAMS.items():
            guard.maps.claim(LOOPBACK, role, 1500, 0)
            ours_fd = guard.program(program)
            empty, ours = [], []
            for _ in range(ROUNDS):
                empty.append(run_ns(empty_fd, frame))
                ours.append(run_ns(ours_fd, frame))
            ratios = sorted(o / e for o, e in zip(ours, empty, strict=True))
            tenth = len(ratios) // 10
            costs.append(
                Cost(
                    program, name, action, statistics.median(empty), statistics.median(ours),
                    statistics.median(ratios), ratios[tenth], ratios[-1 - tenth],
                )
            )  # fmt: skip
    return costs


def report(costs: list[Cost], load: str) -> str:
    """docs/bench.md."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    plain = max(cost.ratio for cost in costs if cost.frame.startswith("TCP"))
    worst = max(costs, key=lambda cost: cost.ratio)
    lines = [
        "# What a frame costs",
        "",
        "Written by `make bench`; do not edit. Each figure is the median of "
        f"{ROUNDS} rounds of {REPEAT:,} runs; in every round the empty program and ours ran one "
        "after the other on the same frame (BPF_PROG_TEST_RUN, which adds its own cost to both). "
        "The spread is from the first to the last tenth of the rounds. Trust the ratios.",
        "",
        f"- {time.strftime('%Y-%m-%d', time.gmtime())}, Linux {platform.release()}, {model}, "
        f"{os.cpu_count()} CPUs, load {load}",
        f"- plain TCP: at most {plain:.2f} times the empty program (promised: {PLAIN_AT_MOST})",
        f"- worst case: {worst.ratio:.2f} times, {worst.program} on {worst.frame} "
        f"(promised: {WORST_AT_MOST})",
        "",
        "| frame | program | action | empty | ours | ratio | spread |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {c.frame} | `{c.program}` | {c.action} | {c.empty_ns:.0f} ns | {c.ours_ns:.0f} ns "
        f"| {c.ratio:.2f} | {c.low:.2f}–{c.high:.2f} |"
        for c in costs
    ]
    lines += [
        "",
        "Where it goes: finding the slot and the per-CPU counters and adding to two of them is "
        "what plain TCP pays. Tags, LLC and DHCP are read by a path that first makes sure that "
        "the bytes are in the linear part of the frame; an offence adds a look at the policy and "
        "at the port's event rate, and ten times a second a record in the ring.",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measures, prints and writes; 1 if a promise is not kept."""
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    pins = Path(f"/sys/fs/bpf/ts-{os.getpid()}-{secrets.token_hex(3)}")
    guard = Guard(pins, "auto")
    try:
        guard.arm(policy("count"))
        with empty_program() as empty_fd:
            costs = measure(guard, empty_fd, "count")
            costs += [c for c in measure(guard, empty_fd, "drop") if "tap_from" in c.program]
    finally:
        guard.close()
        disarm(pins)
    text = report(costs, load)
    REPORT.write_text(text, encoding="utf-8")
    print(text)
    broken = [cost for cost in costs if cost.ratio > cost.limit]
    for cost in broken:
        print(
            f"{cost.program} on {cost.frame}: {cost.ratio:.2f} times the empty program, more "
            f"than {cost.limit}", file=sys.stderr,
        )  # fmt: skip
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
