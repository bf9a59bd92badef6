# SPDX-License-Identifier: Apache-2.0
"""A disk image of the files that every test reads, laid over the 9p root of a guest.

Each open and read over 9p costs emulated round trips, and a Python start makes
thousands: on 6.1 the first import of pyroute2 took 9 s over 9p and 4.6 s from a disk.
The image holds the checkout, its .venv, the standard library and the tools that tests
call, at their own paths; everything else still comes over 9p.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.package.suites import OUTPUT as PACKAGES
from tools.vm.lanes import CACHE, CHECKOUT, LaneError

Ignore = Callable[[str, list[str]], Iterable[str]]

VENV = CHECKOUT / ".venv"
TOOLS = (
    *("sh", "bash", "env", "cat", "sleep", "mount", "umount", "ip", "bridge", "tc", "bpftool"),
    *("nsenter", "unshare", "setpriv", "ethtool", "ping", "modprobe", "sysctl"),
)
# Not read by any test, or made anew: copying them would only take time.
LIBRARY_LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "dist-packages", "idlelib", "tkinter", "turtledemo", "lib2to3"),
    *("ensurepip", "test", "config-3.*"),
    *("*.opt-1.pyc", "*.opt-2.pyc"),
)
VENV_LEFT_OUT = shutil.ignore_patterns("mypy", "mypyc", "*__mypyc*", "ruff", "pip")
TESTS = CHECKOUT / "tests"
COLLECT_TIMEOUT_S = 120
IMAGE_SLACK_BYTES = 64 << 20


def build_fast_files(image: Path) -> None:
    """Write the image, an ext4 without journal. Raises LaneError if .venv is missing."""
    if not (VENV / "bin" / "python").exists():
        raise LaneError(f"there is no {VENV}: run `make setup` first, the guest uses it")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fast-", dir=CACHE) as name:
        stage = Path(name)
        _let_pytest_rewrite()
        standard_library = _standard_library()
        _copy_tree(standard_library, stage, LIBRARY_LEFT_OUT)
        _copy_tree(CHECKOUT, stage, _checkout_parts_left_out)
        _copy_tree(VENV, stage, VENV_LEFT_OUT)
        for path in _with_libraries(_tools(), standard_library):
            _copy_file(path, stage)
        _compile(stage)
        _make_ext4(stage, image)


def _checkout_parts_left_out(folder: str, names: list[str]) -> Iterable[str]:
    if Path(folder) == CHECKOUT / "build":
        # Disks and kernels, and roots of other releases, whose /dev/zero has no end.
        return {CACHE.name, PACKAGES.name}
    if Path(folder) == CHECKOUT:
        return {name for name in names if name.startswith(".")}
    return set()


def _standard_library() -> Path:
    answer = _output(
        [str(VENV / "bin" / "python"), "-c", "import sysconfig as s; print(s.get_path('stdlib'))"]
    )
    return Path(answer.strip())


def _tools() -> list[Path]:
    found = [shutil.which(name) for name in TOOLS]
    return [Path(path) for path in found if path] + [VENV / "bin" / "python"]


def _with_libraries(programs: list[Path], standard_library: Path) -> set[Path]:
    extensions = standard_library.glob("lib-dynload/*.so")
    listing = _output(["ldd", *map(str, programs), *map(str, extensions)])
    libraries = {
        word for line in listing.splitlines() for word in line.split() if word.startswith("/")
    }
    real = {path.resolve() for path in programs}
    return real | {Path(path) for path in libraries if not path.endswith(":")}


def _copy_tree(tree: Path, stage: Path, ignore: Ignore) -> None:
    target = stage / tree.relative_to("/")
    shutil.copytree(
        tree, target, symlinks=True, ignore=ignore, dirs_exist_ok=True, copy_function=_copy
    )
    # Opaque: overlayfs need not ask the 9p layer below what else this folder holds.
    with contextlib.suppress(OSError):
        os.setxattr(target, "trusted.overlay.opaque", b"y")


def _copy(source: str, target: str) -> None:
    # A test run beside this one makes and removes files in __pycache__, and pipes.
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(os.lstat(source).st_mode):
            shutil.copy2(source, target)


def _copy_file(path: Path, stage: Path) -> None:
    real = path.resolve()
    target = stage / real.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(real, target)


def _let_pytest_rewrite() -> None:
    """Have pytest keep the bytecode that it makes of tests and plugins.

    Done in the checkout, as a test run here does it; the guest would need 10 s.
    """
    folders = [str(path) for name in ("prog", "kernel", "vm") if (path := TESTS / name).is_dir()]
    command = [str(VENV / "bin" / "python"), "-m", "pytest", "--collect-only", "-q"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*command, "-p", "no:cacheprovider", *folders],
            cwd=CHECKOUT,
            check=False,
            capture_output=True,
            timeout=COLLECT_TIMEOUT_S,
        )


def _compile(stage: Path) -> None:
    """Make the bytecode here: compiling in the guest costs twenty times as much."""
    staged = stage / CHECKOUT.relative_to("/")
    folders = [str(staged / name) for name in ("sentinel", "tests", "tools", "bench")]
    command = [str(VENV / "bin" / "python"), "-m", "compileall", "-q", "-s", str(stage), "-p", "/"]
    # A file that does not compile is the guest's test run to complain about.
    subprocess.run([*command, *folders], check=False, capture_output=True)


def _make_ext4(stage: Path, image: Path) -> None:
    used = sum(path.lstat().st_size for path in stage.rglob("*"))
    image.unlink(missing_ok=True)
    with image.open("wb") as empty:
        empty.truncate(used * 3 // 2 + IMAGE_SLACK_BYTES)
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-F"]
    _output([*command, "-d", str(stage), str(image)])


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LaneError(f"{command[0]} is not installed") from error
    if done.returncode != 0 and command[0] != "ldd":
        raise LaneError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout
