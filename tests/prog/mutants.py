# SPDX-License-Identifier: Apache-2.0
"""Breaks one rule of the programs after the other, and says which test notices.

`python -m tests.prog.mutants [WORD]` compiles each variant into a folder of its
own and runs the quick tests here on it; WORD picks those whose name holds it.
Exit status 1 if a variant went unnoticed, 2 if one no longer fits the sources.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CLANG = (
    *("clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3"),
    f"-I/usr/include/{platform.machine()}-linux-gnu",
)
ON_TAPS = (
    ROOT / "tests" / "kernel" / "test_tap_counts.py",
    ROOT / "tests" / "kernel" / "test_message_ring.py",
)
UNNOTICED, STALE = 1, 2


class Mutant(NamedTuple):
    """One broken rule: in `file`, `there` becomes `instead`."""

    name: str
    file: str
    there: str
    instead: str


def mutants() -> list[Mutant]:
    """All of mutants.txt."""
    blocks = (HERE / "mutants.txt").read_text(encoding="utf-8").split("\n\n")[1:]
    return [_mutant(block.strip("\n").split("\n")) for block in blocks]


def _mutant(lines: list[str]) -> Mutant:
    name, file = lines[0].split(" @ ")
    there, instead = ("\n".join(line[1:] for line in lines[1:] if line[0] == sign) for sign in "-+")
    return Mutant(name, file, there, instead)


def variant(folder: Path, mutant: Mutant) -> Path | None:
    """Objects with one rule broken, or None where the sources no longer hold the rule."""
    sources = shutil.copytree(ROOT / "bpf", folder / "bpf")
    file = sources / mutant.file
    text = file.read_text(encoding="utf-8")
    if mutant.there not in text:
        return None
    file.write_text(text.replace(mutant.there, mutant.instead), encoding="utf-8")
    for source in sources.glob("*.bpf.c"):
        target = folder / source.with_suffix(".o").name
        subprocess.run([*CLANG, "-c", str(source), "-o", str(target)], check=True)
    return folder


def first_failure(objects: Path) -> str | None:
    """The first test that fails on these objects, None if all pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qx", "-m", "not slow", "-p", "no:cacheprovider",
         "-p", "no:xdist", str(HERE), *map(str, ON_TAPS)],
        cwd=ROOT,
        env={**os.environ, "TAPSENTINEL_OBJECTS": str(objects)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    found = re.search(r"^(?:FAILED|ERROR) \S*/(\S+)", done.stdout, re.MULTILINE)
    return None if done.returncode == 0 else found[1] if found else done.stdout[-300:]


def outcomes(word: str) -> Iterator[tuple[str, str, int]]:
    """(name, what came of it, exit status) of each variant."""
    for mutant in mutants():
        if word not in mutant.name:
            continue
        with tempfile.TemporaryDirectory(prefix="ts-mutant-") as folder:
            objects = variant(Path(folder), mutant)
            if objects is None:
                yield mutant.name, "STALE", STALE
                continue
            noticed = first_failure(objects)
        yield mutant.name, noticed or "UNNOTICED", 0 if noticed else UNNOTICED


def main() -> int:
    status = 0
    for name, outcome, each in outcomes(sys.argv[1] if len(sys.argv) > 1 else ""):
        print(f"{name:28} {outcome}", flush=True)
        status = max(status, each)
    return status


if __name__ == "__main__":
    sys.exit(main())
