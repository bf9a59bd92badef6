# SPDX-License-Identifier: Apache-2.0
"""What is free goes back to the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Blocks of malloc's, of which every tenth stays, so that none but malloc_trim() frees the rest.
FREES_MOST = """
from sentinel import heap

def resident_kb():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss"))

heap.keep_little()
blocks = [bytes(16_000) for _ in range(2000)]
kept = blocks[::10]
del blocks
before = resident_kb()
heap.give_back()
print(before - resident_kb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_what_is_free_between_what_is_not_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREES_MOST], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 10_000
