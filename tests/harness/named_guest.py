# SPDX-License-Identifier: Apache-2.0
"""A process that holds a tap as a VMM does: its command line says whose it is."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.closing import Closing
from tests.harness.taps import Tap


class NamedGuest(Closing):
    """Beside the test, which writes to the tap from a namespace that the daemon is not in."""

    def __init__(self, tap: Tap, vm_uuid: str, name: str = "web") -> None:
        self.uuid = vm_uuid
        self._process = tap.netns.popen(
            [
                sys.executable, "-c", "import sys; sys.stdin.read()",
                "-uuid", vm_uuid, "-name", f"guest={name}",
            ],
            stdin=subprocess.PIPE,
            pass_fds=[tap.fd],
        )  # fmt: skip

    def close(self) -> None:
        """End it; may be called again."""
        self._process.kill()
        self._process.wait()
