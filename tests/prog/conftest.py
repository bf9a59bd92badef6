# SPDX-License-Identifier: Apache-2.0
"""The programs, loaded once a worker; every test finds them as if freshly loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness.programs import Programs, objects_under_test


@pytest.fixture(scope="session")
def loaded() -> Iterator[Programs]:
    if os.geteuid() != 0:
        pytest.skip("loading programs needs root")
    with Programs(objects_under_test()) as programs:
        yield programs


@pytest.fixture
def programs(loaded: Programs) -> Iterator[Programs]:
    with loaded.enter():
        yield loaded
