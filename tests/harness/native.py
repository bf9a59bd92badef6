# SPDX-License-Identifier: Apache-2.0
"""Compiles the lab's few C programs on first use and keeps them in build/harness.

The file name carries a hash of source and command: an edited source is compiled
anew, and test processes side by side never see a half-written program.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
BUILD = Path(__file__).parents[2] / "build" / "harness"

PROGRAM = ("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
BPF_OBJECT = ("clang", "-target", "bpf", "-g", "-O2", "-Wall", "-Werror", "-c")
# Debian keeps asm/types.h in the directory of the machine's own architecture.
BPF_INCLUDES = tuple(
    f"-I{path}" for path in sorted(Path("/usr/include").glob("*-linux-gnu")) if path.is_dir()
)


@cache
def program(name: str) -> Path:
    """Path of the executable built from native/NAME.c."""
    return _built(SOURCES / f"{name}.c", PROGRAM, suffix="")


@cache
def bpf_object(name: str) -> Path:
    """Path of the BPF object built from native/NAME.bpf.c."""
    return _built(SOURCES / f"{name}.bpf.c", (*BPF_OBJECT, *BPF_INCLUDES), suffix=".o")


def _built(source: Path, command: tuple[str, ...], suffix: str) -> Path:
    """Compile unless it is there. Raises RuntimeError with the compiler's words."""
    digest = hashlib.sha256(" ".join(command).encode() + source.read_bytes()).hexdigest()[:12]
    target = BUILD / f"{source.name.split('.')[0]}-{digest}{suffix}"
    if target.exists():
        return target
    compiler = shutil.which(command[0])
    if compiler is None:
        raise RuntimeError(f"{source.name} needs {command[0]}; install gcc, libc6-dev and clang")
    BUILD.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=BUILD, suffix=suffix)
    os.close(handle)
    try:
        done = subprocess.run(
            [compiler, *command[1:], str(source), "-o", draft],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
        Path(draft).chmod(0o755)
        Path(draft).replace(target)
    finally:
        Path(draft).unlink(missing_ok=True)
    return target
