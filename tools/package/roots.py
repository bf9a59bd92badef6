# SPDX-License-Identifier: Apache-2.0
"""Roots of Debian releases, by mmdebstrap from the mirrors this machine's apt uses.

Kept under build/packages/roots: a root that is there is used as it is, without the
network. To take newer packages into it, remove it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from tools.package.suites import OUTPUT, PackageError, Suite, run
from tools.vm.fetch_kernel import KEYRINGS, mirrors

ROOTS = OUTPUT / "roots"
TO_BUILD = ("debhelper", "gcc", "libbpf-dev", "libc6-dev", "lintian", "python3-dev", "python3-pip")


def build_root(suite: Suite) -> Path:
    """Where a package of the suite can be built and looked through."""
    return debian_root(suite, "build", TO_BUILD)


def debian_root(suite: Suite, purpose: str, packages: Sequence[str]) -> Path:
    """A minimal root with these packages beside. Raises PackageError."""
    if os.geteuid() != 0:
        raise PackageError("a root of another release is made and entered by root alone")
    root = ROOTS / f"{suite.name}-{purpose}"
    mark = root.with_suffix(".packages")
    wanted = "\n".join(packages)
    ROOTS.mkdir(parents=True, exist_ok=True)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root.is_dir() and mark.is_file() and mark.read_text() == wanted):
            print(f"making a root of {suite.name} in {root}", flush=True)
            shutil.rmtree(root, ignore_errors=True)
            _bootstrap(suite, root, packages)
            mark.write_text(wanted)
    return root


def enter(root: Path, *command: str, env: dict[str, str] | None = None, cwd: str = "/") -> str:
    """Runs a command inside, with a /proc, no network and none of this machine's variables.

    Returns what it says; raises PackageError if it fails.
    """
    script = 'mount -t proc proc "$0/proc" && cd / && exec chroot "$0" /usr/bin/env -C "$@"'
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    return run(
        *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
        *("sh", "-euc", script, str(root), cwd, *command),
        env=variables | (env or {}),
    )


def _bootstrap(suite: Suite, root: Path, packages: Sequence[str]) -> None:
    archive, security = mirrors()
    keyrings = ",".join(str(path) for path in KEYRINGS if path.exists())
    lines = [f"deb [signed-by={keyrings}] {archive} {suite.name} main"]
    if security:
        lines.append(f"deb [signed-by={keyrings}] {security} {suite.name}-security main")
    unfinished = root.with_name(f".{root.name}-{uuid.uuid4().hex[:8]}")
    try:
        run(
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--quiet"),
            f"--include={','.join(packages)}",
            *(suite.name, str(unfinished), *lines),
        )
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
