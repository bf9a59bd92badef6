# SPDX-License-Identifier: Apache-2.0
"""An installed package has the C sources that a host may want to compile."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = "sentinel/loader/sources"
MISSING = [tool for tool in ("gcc", "git") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} to build a package"),
]


def build(kind: str, tree: Path, target: Path) -> Path:
    """A wheel or an sdist, by the build backend itself: nothing is fetched."""
    call = f"from setuptools.build_meta import *; build_{kind}({str(target)!r})"
    subprocess.run(
        [sys.executable, "-c", call], cwd=tree, check=True, capture_output=True, timeout=300
    )
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkout's files as they would be committed, and nothing that was built in it."""
    folder = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    names = [name for name in listed if name and (ROOT / name).is_file()]
    if not names:
        pytest.skip("not a git checkout")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.unpack_archive(build("wheel", tree, folder), folder / "site", "zip")
    return folder / "site"


def sources_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.[ch]")}


def test_the_wheel_has_every_source(tree: Path, installed: Path) -> None:
    found = sources_in(installed / SOURCES)
    assert found == sources_in(tree / "bpf")
    assert {"tap.bpf.c", "maps_kern.h", "bcc/include/linux/kconfig.h"} <= set(found)


def test_an_installed_loader_takes_its_own(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from sentinel.loader import bcc_sources as s;"
         "print(s.__file__); print(s.source_folder())"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed)}, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    module, folder = done.stdout.splitlines()
    assert Path(module).is_relative_to(installed)
    assert Path(folder) == installed / SOURCES


def test_the_source_distribution_has_them(tree: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tree, tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"bpf/{name}" for name in sources_in(tree / "bpf")} <= names
    assert "setup.py" in names
