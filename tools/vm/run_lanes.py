# SPDX-License-Identifier: Apache-2.0
"""Run the kernel tests under stock kernels, two guests at a time.

Usage: python tools/vm/run_lanes.py [LANE...] [-- PYTEST ARGUMENTS]

Without lanes: all of them. What comes after `--` takes the place of the default
selections, SELECTION and STORY_SELECTION below; so does the environment variable
TAPSENTINEL_LANE_TESTS. Each lane's output is shown with its name in front and kept in
build/vm/results/LANE.log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm.fast_files import build_fast_files
from tools.vm.fetch_kernel import StockKernel, fetch_kernel
from tools.vm.guest import NOT_REACHED, TIMED_OUT
from tools.vm.lanes import CACHE, CHECKOUT, LANES, LaneError, lane_named

AT_A_TIME = 2
SELECTION = (
    "tests/prog tests/kernel/test_tap_counts.py tests/kernel/test_tap_pairs.py "
    "tests/kernel/test_disarm.py tests/kernel/test_drops.py tests/vm/test_drops_refused.py "
    'tests/vm/test_lane_guest.py tests/vm/test_link_facts.py -m "not slow"'
)
# The kernels of Debian stable and oldstable run story 1 and tests of the guard with its
# daemon too, by clsact on 6.1. Each daemon and each command costs seconds under emulation,
# so not all of those fit: seconds on 6.1, on a machine that was busy otherwise, were
# test_guard_quarantine 78, test_guard_beside 89, test_guard_fuse 210, test_guard_policy
# some 15 for each of 8. One of these, a threshold within a window of one second, failed
# there: commands take longer than that.
STORY_LANES = ("6.1", "6.12")
STORY_SELECTION = (
    f"{SELECTION} tests/kernel/test_guard_quarantine.py tests/kernel/test_guard_beside.py "
    "tests/vm/test_story_double_vlan.py"
)
# What tests/vm/test_story_double_vlan.py is wired with.
NICS = ("--nic-pairs", "2", "--envelope-nic-pairs", "1")
RESULTS = CACHE / "results"


@dataclass(frozen=True)
class LaneResult:
    """One lane's line of the summary."""

    passed: bool
    line: str


@dataclass(frozen=True)
class Plan:
    """What every lane of one call shares; `selection` empty: each lane's own."""

    selection: list[str]
    timeout_s: float
    fast_files: Path

    def tests_of(self, lane: str) -> list[str]:
        """pytest's arguments for a lane."""
        own = STORY_SELECTION if lane in STORY_LANES else SELECTION
        return self.selection or shlex.split(own)


async def run_lanes(names: list[str], selection: list[str], timeout_s: float) -> list[LaneResult]:
    """Fetch, boot and test each lane; a lane that fails does not stop the others."""
    kernels: dict[str, StockKernel] = {}
    results: dict[str, LaneResult] = {}
    for name in names:
        try:
            kernels[name] = fetch_kernel(lane_named(name))
        except LaneError as error:
            results[name] = LaneResult(False, f"lane {name}: not run: {error}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".run-", dir=CACHE) as scratch:
        plan = Plan(selection, timeout_s, Path(scratch) / "fast_files")
        build_fast_files(plan.fast_files)
        turns = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as lanes:
            tasks = {
                name: lanes.create_task(_run_lane(kernel, plan, turns))
                for name, kernel in kernels.items()
            }
        results |= {name: task.result() for name, task in tasks.items()}
    return [results[name] for name in names]


async def _run_lane(kernel: StockKernel, plan: Plan, turns: asyncio.Semaphore) -> LaneResult:
    async with turns:
        keep = RESULTS / kernel.lane
        shutil.rmtree(keep, ignore_errors=True)
        started = time.monotonic()
        status = await _boot(kernel, plan, keep)
        elapsed_s = time.monotonic() - started
    title = f"lane {kernel.lane} ({kernel.release})"
    log = f"see {(RESULTS / kernel.lane).relative_to(CHECKOUT)}.log"
    if status == TIMED_OUT:
        return LaneResult(False, f"{title}: not finished after {plan.timeout_s:.0f} s, {log}")
    counts = _counts(keep / "junit.xml")
    if status == NOT_REACHED or counts is None:
        return LaneResult(False, f"{title}: the tests did not run (status {status}), {log}")
    passed, failed, skipped = counts
    line = f"{title}: {passed} passed, {failed} failed, {skipped} skipped in {elapsed_s:.0f} s"
    if status != 0:
        return LaneResult(False, f"{line} (pytest's status {status}, {log})")
    return LaneResult(True, line)


async def _boot(kernel: StockKernel, plan: Plan, keep: Path) -> int:
    """Run boot.py for one lane; returns its exit status."""
    # By which loader the tests in the guest load, as tests here are told it.
    loader = os.environ.get("TAPSENTINEL_LOADER")
    command = [
        *("setpriv", "--pdeathsig", "TERM", "--", sys.executable),
        str(CHECKOUT / "tools" / "vm" / "boot.py"),
        *(("--env", f"TAPSENTINEL_LOADER={loader}") if loader else ()),
        *("--lane", kernel.lane),
        *("--timeout", str(plan.timeout_s), "--fast-files", str(plan.fast_files)),
        *("--keep", str(keep), *NICS, "--"),
        *(".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--tb=short", "--junitxml=/run/lane/keep/junit.xml", *plan.tests_of(kernel.lane)),
    ]
    boot = await asyncio.create_subprocess_exec(
        *command, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        await _show(boot.stdout, kernel.lane)
        return await boot.wait()
    finally:
        if boot.returncode is None:
            boot.terminate()
            await boot.wait()


async def _show(lines: asyncio.StreamReader | None, lane: str) -> None:
    if lines is None:
        raise ValueError("boot.py must be started with stdout=PIPE")
    with (RESULTS / f"{lane}.log").open("wb") as log:
        while line := await lines.readline():
            log.write(line)
            log.flush()
            print(f"[{lane}] {line.decode(errors='replace').rstrip()}", flush=True)


def _counts(junit: Path) -> tuple[int, int, int] | None:
    """Passed, failed and skipped of a pytest report; None if there is none."""
    try:
        suites = ElementTree.parse(junit).getroot().iter("testsuite")  # noqa: S314 - our own pytest wrote it
    except (FileNotFoundError, ElementTree.ParseError):
        return None
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", "0"))
        failed += int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        skipped += int(suite.get("skipped", "0"))
    return total - failed - skipped, failed, skipped


def main() -> int:
    own = sys.argv[1:]
    given: list[str] = []
    if "--" in own:
        given = own[own.index("--") + 1 :]
        own = own[: own.index("--")]
    parser = argparse.ArgumentParser(
        description="run the kernel tests under stock kernels",
        usage="%(prog)s [--timeout SECONDS] [LANE ...] [-- PYTEST ARGUMENTS]",
    )
    parser.add_argument("lanes", nargs="*", metavar="LANE", help=f"of {', '.join(LANES)}")
    parser.add_argument("--timeout", type=float, default=1200.0, metavar="SECONDS")
    arguments = parser.parse_args(own)
    selection = given or shlex.split(os.environ.get("TAPSENTINEL_LANE_TESTS", ""))
    try:
        for name in arguments.lanes:
            lane_named(name)
        results = asyncio.run(
            run_lanes(arguments.lanes or list(LANES), selection, arguments.timeout)
        )
    except LaneError as error:
        print(error, file=sys.stderr)
        return 1
    print()
    for result in results:
        print(result.line)
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
