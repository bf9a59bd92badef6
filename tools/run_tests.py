# SPDX-License-Identifier: Apache-2.0
"""Runs the tests, in parallel where they may, and says what skipped and why.

What fails is run once more with nothing beside it, and named: a machine that stood
still for seconds is no fault of the code, but nobody should have to guess. Ends with
one line, `N passed, N failed, N skipped`, and before it every reason to skip. With CI
set, a skipped test of the kernel or the broker is a failure, but for `is_excused`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEVER_SKIPPED_IN_CI = ("tests.prog", "tests.kernel", "tests.broker")
BUSY = "the machine is busy"
"""How the reason of a measurement that found no quiet begins."""
BY_BCC = "the programs were compiled by BCC"
"""And that of the one thing that BCC cannot express: docs/loaders.md."""


def is_excused(reason: str) -> bool:
    """Whether a test of the kernel may skip for it, in CI too."""
    by_bcc = os.environ.get("TAPSENTINEL_LOADER") == "bcc"
    return reason.startswith(BUSY) or (by_bcc and reason.startswith(BY_BCC))


@dataclass
class Tally:
    """What the runs came to."""

    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    forbidden_skips: list[str] = field(default_factory=list)
    uncollected: list[str] = field(default_factory=list)
    """Files that could not be read for tests."""

    def add(self, report: Path) -> None:
        """Counts one JUnit report. A report that is missing is a failure."""
        if not report.exists():
            self.failed += 1
            return
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
            name = f"{case.get('classname')}.{case.get('name')}"
            skip = case.find("skipped")
            if skip is not None:
                reason = skip.get("message") or "no reason given"
                self.skipped[reason] += 1
                if name.startswith(NEVER_SKIPPED_IN_CI) and not is_excused(reason):
                    self.forbidden_skips.append(name)
            elif case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
                error = case.find("error")
                if error is not None and error.get("message") == "collection failure":
                    self.uncollected.append(name.strip("."))
            else:
                self.passed += 1


def run(arguments: list[str], report: Path) -> int:
    """One pytest run; its exit code, with 5 (nothing selected) taken for 0."""
    cache = f"cache_dir={report.parent / 'cache'}"
    command = [sys.executable, "-m", "pytest", "-q", "-o", cache, f"--junitxml={report}"]
    command += arguments
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code == 5:
        report.write_text("<testsuites/>", encoding="utf-8")
        return 0
    return code


def run_again(chosen: list[str], report: Path, tally: Tally) -> int:
    """What failed, once more and alone; puts the tally right and names what then passed."""
    print(f"{tally.failed} failed; once more, alone:")
    code = run(["--last-failed", "--last-failed-no-failures=none", *chosen], report)
    again = Tally()
    again.add(report)
    if again.passed + again.failed == 0:
        return 1  # what failed was no test: a collection, a fixture of a worker
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        if case.find("failure") is None and case.find("error") is None:
            print(f"failed beside others, passed alone: {case.get('classname')}.{case.get('name')}")
    tally.passed += again.passed
    tally.failed = again.failed
    return code


def main() -> int:
    """Runs all; 0 if everything passed."""
    started = time.monotonic()
    chosen = sys.argv[1:] or ["tests"]
    workers = os.environ.get("JOBS", str(min(4, 2 * (os.cpu_count() or 1))))
    marks = "" if os.environ.get("SLOW", "1") == "1" else "not slow and "
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            (["-n", workers, "--dist", "worksteal", "-m", f"{marks}not alone and not vm"], "many"),
            (["-m", f"{marks}(alone or vm)"], "alone"),
        ]
        codes = []
        for options, name in runs:
            report = Path(folder, f"{name}.xml")
            codes.append(run([*options, *chosen], report))
            tally.add(report)
        # A run that was broken off, or a file that could not be read, left tests out.
        is_whole = not tally.uncollected and all(code in (0, 1) for code in codes)
        if tally.failed and is_whole:
            codes = [run_again(chosen, Path(folder, "again.xml"), tally)]
    for reason, times in tally.skipped.most_common():
        print(f"skipped {times}: {reason}")
    if os.environ.get("CI") and tally.forbidden_skips:
        for name in tally.forbidden_skips:
            print(f"skipped where nothing may skip: {name}")
        tally.failed += len(tally.forbidden_skips)
    for name in dict.fromkeys(tally.uncollected):
        print(f"not collected: {name}")
    print(f"took {time.monotonic() - started:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped.total()} skipped")
    return 1 if tally.failed or any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
