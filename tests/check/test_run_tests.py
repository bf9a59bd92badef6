# SPDX-License-Identifier: Apache-2.0
"""What says that the tests passed: it must not say so of tests that never ran."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sentinel.loader.drops import loader_obstacle
from tools.run_tests import Tally

ROOT = Path(__file__).parents[2]

PASSES = "def test_it():\n    pass\n"
FAILS = "def test_it():\n    raise AssertionError\n"
ONCE = (
    "from pathlib import Path\n"
    "def test_it():\n"
    "    seen = Path(__file__).with_name('seen')\n"
    "    if not seen.exists():\n"
    "        seen.touch()\n"
    "        raise AssertionError\n"
)
CORE_BY_BCC = loader_obstacle("bcc") or ""
UNREADABLE = "import nothing_of_that_name\n"


def ran(folder: Path, **files: str) -> tuple[int, str]:
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tools.run_tests", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "JOBS": "1"},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"good": PASSES, "bad": FAILS}, 1, "1 passed, 1 failed, 0 skipped"),
        ({"good": PASSES, "once": ONCE}, 0, "failed beside others, passed alone"),
        ({"once": ONCE, "odd": UNREADABLE}, 1, "not collected: "),
    ],
    ids=["fails", "fails-once", "unreadable"],
)
def test_it_tells_what_came_of_them(
    tmp_path: Path, files: dict[str, str], code: int, says: str
) -> None:
    status, told = ran(tmp_path, **files)
    assert status == code, told
    assert says in told


@pytest.mark.parametrize(
    ("reason", "loader", "excused"),
    [
        ("the machine is busy: 151 ms", "", True),
        ("no qemu", "", False),
        ("no qemu", "bcc", False),
        (CORE_BY_BCC, "bcc", True),
        # Nobody asked for BCC: then the objects are missing.
        (CORE_BY_BCC, "", False),
    ],
)
def test_what_may_skip_in_ci(
    reason: str, loader: str, excused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPSENTINEL_LOADER", loader)
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testcase classname="tests.kernel.test_drops" name="test_it">'
        f'<skipped message="{reason}"/></testcase></testsuites>'
    )
    tally = Tally()
    tally.add(report)
    assert tally.skipped == {reason: 1}
    assert tally.forbidden_skips == ([] if excused else ["tests.kernel.test_drops.test_it"])


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by it: the second one would not be run."""
    names = Counter(path.name for path in ROOT.glob("tests/*/test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
