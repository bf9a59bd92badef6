# SPDX-License-Identifier: Apache-2.0
"""Waiting for readiness instead of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE = float(os.environ.get("TAPSENTINEL_PATIENCE", "1"))
"""How many times longer everything may take: more than 1 under emulation."""


def patient_s(seconds: float) -> str:
    """A duration for a configuration, as much longer as a command takes to look within it."""
    return f"{seconds * PATIENCE:g}s"


def wait_until(
    predicate: Callable[[], Found], timeout_s: float, what: str, every_s: float = 0.005
) -> Found:
    """Return the predicate's first true answer.

    Raises TimeoutError, naming `what` and the last answer, after `timeout_s`.
    The predicate is asked at least twice, so that a machine that stood still
    meanwhile is not taken for a failure.
    """
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() >= deadline
        answer = predicate()
        if answer:
            return answer
        if late:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}; last answer {answer!r}")
        time.sleep(every_s)
