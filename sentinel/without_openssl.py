# SPDX-License-Identifier: Apache-2.0
"""The daemon's process without OpenSSL, which would be a tenth of its memory.

Its sockets are Unix domain and netlink sockets; TLS is the publisher's, a process of its
own. asyncio, hashlib and hmac use OpenSSL where there is one and do without where there is
none, the latter two with Python's own SHA-2. So it is away while they are imported. Whoever
imports ssl later gets it; only asyncio's own transports stay without TLS.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

from sentinel.postponed import postpone

DO_WITHOUT: Final = {"asyncio": "ssl", "hashlib": "_hashlib", "hmac": "_hashlib"}
"""What is imported, and what it does without."""


def leave_out_openssl() -> None:
    """Before anything imports asyncio. What is imported already stays as it is."""
    for user, unused in DO_WITHOUT.items():
        if user in sys.modules or unused in sys.modules:
            continue
        # An import of what stands here as None raises ModuleNotFoundError.
        sys.modules[unused] = None  # type: ignore[assignment]
        try:
            importlib.import_module(user)
        finally:
            del sys.modules[unused]
    # pyroute2 imports it for a probe of servers, which nobody here asks for.
    postpone("ssl")()
