# SPDX-License-Identifier: Apache-2.0
"""The programs, loaded once a worker; every test finds them as if freshly loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs import Programs

VARIANT = "TAPSENTINEL_OBJECTS"
"""Names a folder of other objects, for seeing these tests fail."""


@pytest.fixture(scope="session")
def loaded() -> Iterator[Programs]:
    if os.geteuid() != 0:
        pytest.skip("loading programs needs root")
    variant = os.environ.get(VARIANT)
    with Programs(Path(variant) if variant else None) as programs:
        yield programs


@pytest.fixture
def programs(loaded: Programs) -> Iterator[Programs]:
    with loaded.enter():
        yield loaded
