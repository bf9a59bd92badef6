# SPDX-License-Identifier: Apache-2.0
"""Builds a .deb for each Debian release, in a root of that release without a network.

The same commit gives the same file. REVISION=2 gives a newer build of the same version.

Usage: python -m tools.package.build_debs [SUITE...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

from sentinel import __version__
from tools.package.command_docs import write_all
from tools.package.roots import build_root, enter
from tools.package.suites import CHECKOUT, OUTPUT, SUITES, PackageError, Suite, suite_named
from tools.package.wheels import fetch_wheels

SOURCES = (
    *("bpf", "sentinel", "packaging", "LICENSES", "LICENSE", "README.md", "CHANGELOG.md"),
    *("MANIFEST.in", "pyproject.toml", "setup.py"),
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "_libbpf.c", "*.pyc")
MAINTAINER = "tapsentinel maintainers <maintainers@tapsentinel.invalid>"


def build(suite: Suite) -> Path:
    """The package of one release, looked through by its lintian. Raises PackageError."""
    root = build_root(suite)
    tree = root / "build" / "tapsentinel"
    shutil.rmtree(tree.parent, ignore_errors=True)
    try:
        lay_out(suite, tree)
        _lay_out_debian(suite, tree)
        epoch = {"SOURCE_DATE_EPOCH": str(source_date_s()), "DEB_BUILD_OPTIONS": "noautodbgsym"}
        said = enter(
            root, "dpkg-buildpackage", "-b", "-us", "-uc", "-d", cwd="/build/tapsentinel", env=epoch
        )
        (built,) = tree.parent.glob("*.deb")
        said += lint(root, built)
        (OUTPUT / f"{suite.name}.log").write_text(said, encoding="utf-8")
        return Path(shutil.copy2(built, OUTPUT / built.name))
    finally:
        shutil.rmtree(tree.parent, ignore_errors=True)


def lint(root: Path, package: Path) -> str:
    """What lintian says; raises PackageError if that is more than the overrides explain."""
    return enter(
        *(root, "lintian", "--no-cfg", "--allow-root", "--tag-display-limit=0"),
        *("--fail-on=error,warning", "--display-info", f"/build/{package.name}"),
    )


def source_date_s() -> int:
    """When the sources were last changed, as far as that is known."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    said = subprocess.run(
        ["git", "log", "-1", "--format=%ct"],
        cwd=CHECKOUT, check=False, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    return int(said) if said else int((CHECKOUT / "CHANGELOG.md").stat().st_mtime)


def maintainer() -> str:
    """Who distributes it, as Debian's own tools are told."""
    address = os.environ.get("DEBEMAIL")
    return f"{os.environ.get('DEBFULLNAME', 'tapsentinel')} <{address}>" if address else MAINTAINER


def lay_out(suite: Suite, tree: Path) -> None:
    """Sources, wheels and generated documents: all that a build needs. Raises PackageError."""
    tree.mkdir(parents=True)
    for name in SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, tree / name)
    if not list(tree.glob("sentinel/loader/objects/*.bpf.o")):
        raise PackageError("the BPF programs are not built: make")
    fetch_wheels(suite.python, tree / "wheels")
    os.environ["SOURCE_DATE_EPOCH"] = str(source_date_s())
    write_all(tree / "docs")


def _lay_out_debian(suite: Suite, tree: Path) -> None:
    debian = tree / "debian"
    (tree / "packaging" / "debian").rename(debian)
    (debian / "tools").mkdir()
    shutil.copy2(Path(__file__).with_name("copyright_file.py"), debian / "tools")
    for name, place in {
        "tapsentinel.service": "tapsentinel.service",
        "tapsentinel-mqtt.service": "tapsentinel.tapsentinel-mqtt.service",
        "tapsentinel.sysusers": "tapsentinel.sysusers",
        "tapsentinel.tmpfiles": "tapsentinel.tmpfiles",
    }.items():
        shutil.copy2(tree / "packaging" / name, debian / place)
    major, minor = suite.python
    control = (debian / "control.in").read_text(encoding="utf-8")
    for word, value in {
        "@MAINTAINER@": maintainer(),
        "@PYTHON@": f"{major}.{minor}",
        "@NEXT_PYTHON@": f"{major}.{minor + 1}",
    }.items():
        control = control.replace(word, value)
    (debian / "control").write_text(control, encoding="utf-8")
    (debian / "control.in").unlink()
    (debian / "changelog").write_text(
        f"tapsentinel ({__version__}-{suite.revision}) {suite.name}; urgency=medium\n\n"
        f"  * Version {__version__}; what is new is in changelog.gz.\n\n"
        f" -- {maintainer()}  {formatdate(source_date_s())}\n",
        encoding="utf-8",
    )


def main() -> int:
    """Builds those named, or all."""
    try:
        for name in sys.argv[1:] or list(SUITES):
            started_s = time.monotonic()
            package = build(suite_named(name))
            took_s = time.monotonic() - started_s
            size_kb = package.stat().st_size / 1000
            print(f"{package} ({size_kb:.0f} kB, {took_s:.0f} s); lintian: clean", flush=True)
    except PackageError as error:
        print(f"packages: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
