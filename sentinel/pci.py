# SPDX-License-Identifier: Apache-2.0
"""How a device on the PCI bus is named."""

from __future__ import annotations

import re
from typing import Final

_ADDRESS: Final = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


def pci_address(text: str) -> str | None:
    """Canonical form `0000:3b:02.1`, the domain added where it is not said; None for others."""
    match = _ADDRESS.fullmatch(text.strip().lower())
    if match is None:
        return None
    return f"{match[1] or '0000'}:{match[2]}:{match[3]}.{match[4]}"
