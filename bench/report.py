# SPDX-License-Identifier: Apache-2.0
"""What was measured, as docs/bench.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.measure import REPEATS, ROUNDS, TIMES, Ratio

TCP_LIMIT, WORST_LIMIT, TAGGED_LIMIT = 1.5, 2.5, 5.0
"""Times the empty program: plain TCP, anything without tags, anything with tags."""

OUTPUT = Path(__file__).parents[1] / "docs" / "bench.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One frame through one program; `limit` None: no limit is set."""

    frame: str
    what: str
    found: Ratio
    limit: float | None

    def line(self) -> str:
        """For a terminal."""
        found = self.found
        return (
            f"{self.frame:44} {self.what:18} {found.base_ns:8.1f} {found.cost_ns:8.1f}  "
            f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"
        )


@dataclass(frozen=True, slots=True)
class Load:
    """Programs into the kernel onto fresh maps; `peak_bytes` of the process that does it."""

    loader: str
    elapsed_ns: int
    peak_bytes: int

    def line(self) -> str:
        """For a terminal."""
        return f"{self.loader:44} {self.elapsed_ns / 1e6:8.1f} ms {self.peak_bytes >> 20:6} MiB"


class Tables(NamedTuple):
    """Everything that was measured.

    No row of `by_tap` where the kernel has no tcx, none of `by_drop` where drops cannot be
    traced, none by loader where there is no BCC.
    """

    by_program: Sequence[Row]
    by_step: Sequence[Row]
    by_clock: Sequence[Row]
    by_message: Sequence[Row]
    by_tap: Sequence[Row]
    by_drop: Sequence[Row]
    loads: Sequence[Load]
    by_loader: Sequence[Row]


def write_report(tables: Tables) -> None:
    """docs/bench.md, over what was there."""
    by_program, by_step, by_clock, by_message, by_tap, by_drop, loads, by_loader = tables
    limited = [row for row in by_program if row.limit is not None]
    tcp = max(
        row.found.ratio for row in limited if row.frame.startswith("TCP") and row.limit == TCP_LIMIT
    )
    worst = max(
        (row for row in limited if row.limit == WORST_LIMIT), key=lambda row: row.found.ratio
    )
    tagged = max(
        (row for row in limited if row.limit == TAGGED_LIMIT), key=lambda row: row.found.ratio
    )
    parts = [
        "# What a frame costs",
        f"Measured by `make bench` on {time.strftime('%Y-%m-%d')}: {machine()}. "
        f"Each figure is the median of {ROUNDS} rounds in which the empty tc program and ours "
        f"ran in turn, {REPEATS:,} frames each, by BPF_PROG_TEST_RUN; in brackets the middle "
        "half of the ratios. Time is the thread's own on a CPU. Trust ratios more than "
        "nanoseconds: the empty program's hold the loop around it as well. A row over its limit "
        f"is measured up to {TIMES} times, with a pause between, and the best stands.",
        f"Plain TCP costs at most **{tcp:.2f}** times the empty program ({TCP_LIMIT} is allowed), "
        f"the worst case without tags, {worst.frame} in `{worst.what}`, "
        f"**{worst.found.ratio:.2f}** times ({WORST_LIMIT} is allowed). A tagged frame is "
        "counted by its pair of VIDs too, in a hash: the worst of them, "
        f"{tagged.frame} in `{tagged.what}`, costs **{tagged.found.ratio:.2f}** times "
        f"({TAGGED_LIMIT} is allowed). `make bench` fails where one of them is exceeded.",
        "## By program",
        _table(("frame", "program"), by_program),
        "Limits do not hold for a message whose type stands behind other options: clients and "
        "servers put it first, and a guest that does not pays for the search.",
        "## Where it goes",
        "The hook of a tap in steps, each with all before it:",
        _table(("frame", "up to"), by_step),
        "## When a port was last seen",
        "What it adds to a frame whose slot is found: a tick compared, and the clock read once in "
        "a tick, which is what the programs do; beside it what reading the clock for every frame "
        "would add, and writing it where all CPUs read.",
        _table(("frame", "with"), by_clock),
        "## DHCP messages",
        "What is counted and not told is within the limits: that is the way of a flood. A message "
        "that is told is copied into a ring, with a time of its own, and costs more: that has no "
        "limit here but one in number, 20 a second from a guest (`dhcp_per_port_per_second`) with "
        "at most 16 answers each.",
        _table(("message", "hook, and what becomes of it"), by_message),
    ]
    if by_tap:
        parts += [
            "## At a real tap",
            "What a writer's write(2) costs it, with the empty program attached and with ours.",
            _table(("frame", ""), by_tap),
        ]
    if by_drop:
        added = [row.found.cost_ns - row.found.base_ns for row in by_drop]
        parts += [
            "## A frame that the kernel drops",
            "What a writer's write(2) costs it where the frame is thrown away, with drops not "
            "traced and with them traced (`kernel.drops`). The program runs for every drop of the "
            f"host: one of a device that is not watched costs {max(added[0], added[1]):.0f} ns "
            f"more, one that gets into a row {max(added[2:]):.0f} ns. A frame that is not dropped "
            "costs nothing more, nor does any where tracing is off.",
            _table(("dropped frame", "dropped as"), by_drop, ("off", "on")),
        ]
    if loads:
        parts += [
            "## By loader",
            "The programs onto fresh maps, each time by a process of its own (while BCC compiles: "
            "the helper's memory, which then ends); and the programs' cost, libbpf's first.",
            "| loader | time, ms | peak memory, MiB |\n| --- | ---: | ---: |\n"
            + "\n".join(
                f"| {load.loader} | {load.elapsed_ns / 1e6:.1f} | {load.peak_bytes >> 20} |"
                for load in loads
            ),
            _table(("frame", "program"), by_loader, ("libbpf", "BCC")),
        ]
    OUTPUT.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(
    titles: tuple[str, str], rows: Sequence[Row], compared: tuple[str, str] = ("empty", "ours")
) -> str:
    lines = [
        f"| {titles[0]} | {titles[1]} | {compared[0]}, ns | {compared[1]}, ns | ratio |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        found = row.found
        what = f"`{row.what}`" if "_" in row.what else row.what
        lines.append(
            f"| {row.frame} | {what} | {found.base_ns:.1f} | {found.cost_ns:.1f} | "
            f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f}) |"
        )
    return "\n".join(lines)


def machine() -> str:
    """What was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} CPUs ({model}), Linux {platform.release()}, load {load:.1f}"
