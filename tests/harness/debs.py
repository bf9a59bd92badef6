# SPDX-License-Identifier: Apache-2.0
"""The packages that a host is given: what `make packages` built, and a newer build of it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.harness.daemon import CHECKOUT

DEBS = Path(os.environ.get("TAPSENTINEL_DEBS", CHECKOUT / "build" / "packages"))
# By the lane whose kernel is that release's.
RELEASE = {"6.1": "deb12", "6.12": "deb13"}


def built_deb(lane: str) -> Path | None:
    """The newest package for the lane's release; None if none was built."""
    found = list(DEBS.glob(f"tapsentinel_*{RELEASE[lane]}*_amd64.deb"))
    return max(found, key=functools.cmp_to_key(_compare), default=None)


def newer_build(deb: Path, folder: Path) -> Path:
    """The same package with the next version and other programs for the kernel.

    Programs are told apart by their files, so a byte behind their end makes them others.
    """
    with tempfile.TemporaryDirectory(prefix="ts-deb-") as scratch:
        tree = Path(scratch, "tree")
        subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
        control = tree / "DEBIAN" / "control"
        text = control.read_text()
        version = _version(deb)
        control.write_text(text.replace(f"Version: {version}", f"Version: {version}.1"))
        objects = list(tree.rglob("*.bpf.o"))
        assert objects, f"{deb} holds no programs"
        for path in objects:
            path.write_bytes(path.read_bytes() + b"\0")
        sums = tree / "DEBIAN" / "md5sums"
        if sums.exists():
            sums.unlink()
        newer = folder / f"{deb.name.partition('_')[0]}_newer_amd64.deb"
        build = [
            "dpkg-deb",
            "--root-owner-group",
            "-Zgzip",
            "-z1",
            "--build",
            str(tree),
            str(newer),
        ]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return newer


def share_with(deb: Path, folder: Path) -> None:
    """Fill what a host sees as /mnt: both builds, and what plays on it."""
    shutil.copy(deb, folder / "tapsentinel_first_amd64.deb")
    newer_build(folder / "tapsentinel_first_amd64.deb", folder)
    for name in ("host_port.py", "host_probe.py"):
        shutil.copy(Path(__file__).with_name(name), folder)


def _version(deb: Path) -> str:
    command = ["dpkg-deb", "--field", str(deb), "Version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _compare(left: Path, right: Path) -> int:
    older = ["dpkg", "--compare-versions", _version(left), "lt", _version(right)]
    return -1 if subprocess.run(older, check=False).returncode == 0 else 1
