# SPDX-License-Identifier: Apache-2.0
"""What every module of kernel tests is held to: nothing of theirs is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.guarded import leaks


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """Torn down last, so after every fixture of the module."""
    yield
    assert leaks() == []
