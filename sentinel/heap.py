# SPDX-License-Identifier: Apache-2.0
"""How the C library keeps memory that is free: little of it, in one heap.

By default each thread gets a heap of its own, and what a large answer took is kept for
the next one. A daemon that waits most of the time has no use for either. To give back
what is free in 9 MB takes 0.1 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

# malloc.h of glibc.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
SETTINGS: Final = {M_ARENA_MAX: 1, M_TRIM_THRESHOLD: 128 << 10, M_MMAP_THRESHOLD: 64 << 10}


def keep_little() -> None:
    """Before the first thread. Nothing happens where the C library knows no mallopt."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for what, value in SETTINGS.items():
            mallopt(what, value)


def give_back() -> None:
    """Give to the kernel what is free by now."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
