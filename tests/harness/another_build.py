# SPDX-License-Identifier: Apache-2.0
"""The product a second time, changed: what an upgrade installs beside a running guard."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.harness.daemon import CHECKOUT

MISSING = [tool for tool in ("clang", "bpftool") if shutil.which(tool) is None]


class AnotherBuild:
    """A copy of the package and its C sources below `folder`; `command` runs it.

    Change sources by `replace`, then `build`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        without = shutil.ignore_patterns("__pycache__", "objects")
        for name in ("sentinel", "bpf"):
            shutil.copytree(CHECKOUT / name, folder / name, ignore=without)
        (folder / "tools").mkdir()
        shutil.copy(CHECKOUT / "tools" / "generate_abi.py", folder / "tools")
        self.command = folder / "tapsentinel"
        self.command.write_text(
            f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} -P -m sentinel.cli "$@"\n'
        )
        self.command.chmod(0o755)

    def replace(self, file: str, old: str, new: str) -> None:
        """Change one place of a source. Raises ValueError if it is not there exactly once."""
        path = self.folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{file} has {text.count(old)} times {old!r}")
        path.write_text(text.replace(old, new))

    def build(self) -> None:
        """Compile the objects and write abi.py anew. Raises CalledProcessError."""
        objects = self.folder / "sentinel" / "loader" / "objects"
        objects.mkdir()
        include = f"-I/usr/include/{platform.machine()}-linux-gnu"
        compiler = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", include]
        for source in sorted((self.folder / "bpf").glob("*.bpf.c")):
            target = objects / source.with_suffix(".o").name
            subprocess.run([*compiler, "-c", source, "-o", target], check=True)
        subprocess.run([sys.executable, self.folder / "tools" / "generate_abi.py"], check=True)

    def next_abi(self) -> int:
        """Raise the version of the contract; returns the new one."""
        header = (self.folder / "bpf" / "abi_kern_user.h").read_text()
        found = re.search(r"TAP_ABI_VERSION = (\d+),", header)
        assert found is not None
        version = int(found[1]) + 1
        self.replace("bpf/abi_kern_user.h", found[0], f"TAP_ABI_VERSION = {version},")
        return version
