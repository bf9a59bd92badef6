# SPDX-License-Identifier: Apache-2.0
"""Whether this host has what compiles the programs on it."""

from __future__ import annotations

from sentinel.errors import KernelError
from sentinel.loader.bcc import describe


def bcc_problem() -> str:
    """What keeps BCC from working here; empty where nothing does."""
    try:
        describe()
    except KernelError as missing:
        return str(missing)
    return ""
