# SPDX-License-Identifier: Apache-2.0
"""The packages that were built, each with hosts of its release."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.release_host import Host
from tools.package.roots import debian_root
from tools.package.suites import SUITES, Suite

ON_A_HOST = ("libbpf1", "passwd", "python3", "systemd")
"""What the package depends on, and nothing else: no compiler, headers or pip."""

FOLDER = os.environ.get("TAPSENTINEL_PACKAGES", "")


def missing() -> str:
    """Why these tests cannot run here; empty if they can."""
    if not FOLDER:
        return "make test-packages runs these"
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        return "roots of other releases need root and mmdebstrap"
    return ""


@pytest.fixture(scope="module", params=SUITES.values(), ids=lambda suite: str(suite.name))
def suite(request: pytest.FixtureRequest) -> Suite:
    if missing():
        pytest.skip(missing())
    found: Suite = request.param
    return found


@pytest.fixture(scope="module")
def package(suite: Suite) -> Path:
    built = sorted(Path(FOLDER).glob(f"tapsentinel_*deb{suite.release}u*.deb"))
    if not built:
        pytest.fail(f"no package for {suite.name} in {FOLDER}: make packages")
    return max(built, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def contents(package: Path) -> list[list[str]]:
    """Mode, owner and path of each member, as tar lists them."""
    said = subprocess.run(
        ["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True
    ).stdout
    return [[*line.split()[:2], line.split()[5]] for line in said.splitlines()]


@pytest.fixture
def host(suite: Suite) -> Iterator[Host]:
    with Host(debian_root(suite, "host", ON_A_HOST)) as made:
        yield made
