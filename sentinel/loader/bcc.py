# SPDX-License-Identifier: Apache-2.0
"""The C sources into the kernel, compiled on this host by the distribution's BCC.

BCC and its compiler live in the system's Python, outside of any virtual
environment, and take some 140 MB and seconds: a process of its own does it
(bcc_helper.py), and what it made is kept for the next start. Maps and pins are
those that libbpf would make, so that either loader takes over from the other.

The programs include nothing of the kernel's inside. So BCC, which wants to stand in
a source tree, gets one of ours (bpf/bcc), beside the headers of the kernel's
interface to user space.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sentinel import abi
from sentinel.errors import AbiError, KernelError
from sentinel.loader.bcc_helper import NO_BCC
from sentinel.loader.bcc_sources import fingerprint, kernel_headers, source_files, source_folder
from sentinel.loader.compiled import MAP_NUMBERS, Compiled, decode_compiled
from sentinel.loader.compiled_store import CompiledStore
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.pins import Pins

SOURCE_FILES: Final = {
    "tap.bpf.c": ("tap_from_guest", "tap_to_guest"),
    "uplink.bpf.c": ("uplink_from_wire", "uplink_to_wire"),
}
INSTALL_BCC: Final = "install python3-bpfcc (Debian, Ubuntu) or python3-bcc (RHEL)"
TIMEOUT_S: Final = 480
"""For the compiler; packaging/tapsentinel.service allows a start more."""

SIGN_EVERY_S: Final = 5
SIGN_HOLDS_S: Final = 30

_HELPER = Path(__file__).with_name("bcc_helper.py")
_PYTHONS = (Path("/usr/bin/python3"), Path("/usr/libexec/platform-python"))
_WRONG_ABI = "another version of the contract"
_LOG_LINES = 12
_log = logging.getLogger("tapsentinel")

SignOfLife = Callable[[float], object]
"""Called while the compiler works, with the seconds until the next call at the latest."""


class BccLoader:
    """Loader: the sources of a folder through BCC."""

    name = "bcc"

    def __init__(
        self,
        folder: Path | None = None,
        keep_in: Path | None = None,
        sign_of_life: SignOfLife | None = None,
    ) -> None:
        """Raises KernelError where the sources are not. `keep_in` None: nothing is kept."""
        self._folder = folder or source_folder()
        self._store = CompiledStore(keep_in) if keep_in else None
        self._sign_of_life = sign_of_life

    def build_number(self) -> int:
        """64 bits that stand for exactly these sources, loaded by BCC."""
        digest = hashlib.sha256(b"bcc")
        for path in source_files(self._folder):
            digest.update(path.read_bytes())
        return int.from_bytes(digest.digest()[:8], "little")

    def load(self, pins: Pins) -> dict[str, int]:
        """Compiles, unless it is kept, and loads on the pinned maps; makes those missing.

        Returns the programs' descriptors by name. Raises AbiError for sources of
        another version; KernelError with BCC's last lines otherwise, or with what
        to install.
        """
        headers = kernel_headers()
        request = self._request(headers)
        mark = fingerprint(self._folder, headers, request)
        kept = self._find(mark)
        if kept is not None:
            return kept.load(pins)
        compiled = decode_compiled(self._compile(json.dumps(request)))
        programs = compiled.load(pins)
        # Not under the name of what changed while the compiler read it.
        if fingerprint(self._folder, headers, request) == mark:
            self._keep(mark, compiled)
        return programs

    def _request(self, headers: list[Path]) -> dict[str, object]:
        flags = ["-DTAP_BCC", f"-I{self._folder}"]
        for folder in headers:
            flags += ["-idirafter", str(folder)]
        return {
            "flags": flags,
            "maps": MAP_NAMES,
            "maps_flags": ["-DTAP_BCC_MAPS"],
            "maps_text": '#include "maps_kern.h"\n'
            f'_Static_assert(TAP_ABI_VERSION == {abi.TAP_ABI_VERSION}, "{_WRONG_ABI}");\n',
            "programs_flags": [f"-DTAP_FD_{name}={at}" for name, at in MAP_NUMBERS.items()],
            "files": {str(self._folder / file): names for file, names in SOURCE_FILES.items()},
        }

    def _find(self, mark: str) -> Compiled | None:
        if self._store is None:
            return None
        try:
            return self._store.find(mark)
        except (KernelError, OSError) as refused:
            _log.warning("the programs are compiled anew: %s", refused)
            return None

    def _keep(self, mark: str, compiled: Compiled) -> None:
        if self._store is None:
            return
        try:
            self._store.keep(mark, compiled)
        except (KernelError, OSError) as refused:
            _log.warning("what was compiled is not kept for the next start: %s", refused)

    def _compile(self, request: str) -> str:
        python = system_python()
        with subprocess.Popen(
            [python, "-I", _HELPER, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
            | {"BCC_KERNEL_SOURCE": str(self._folder / "bcc")},
            encoding="utf-8",
            errors="replace",
        ) as helper:
            try:
                answer, said = self._wait_for(helper, request)
            finally:
                helper.kill()
        if helper.returncode:
            raise self._refusal(helper.returncode, said)
        return answer

    def _wait_for(self, helper: subprocess.Popen[str], request: str) -> tuple[str, str]:
        deadline_s = time.monotonic() + TIMEOUT_S
        unsent: str | None = request
        while True:
            if self._sign_of_life is not None:
                self._sign_of_life(SIGN_HOLDS_S)
            try:
                return helper.communicate(unsent, timeout=SIGN_EVERY_S)
            except subprocess.TimeoutExpired as late:
                unsent = None  # communicate() goes on with what it has
                if time.monotonic() < deadline_s:
                    continue
                raise KernelError(
                    f"BCC was not done with {self._folder} after {TIMEOUT_S} s: is this host "
                    'overloaded? kernel.loader = "libbpf" needs no compiler'
                ) from late

    def _refusal(self, status: int, said: str) -> KernelError:
        if status == NO_BCC:
            return KernelError(f"no BCC in {system_python()}: {said.strip()}; {INSTALL_BCC}")
        if _WRONG_ABI in said:
            return AbiError(
                f"{self._folder} speaks another version of the contract than this program, "
                f"{abi.TAP_ABI_VERSION}: take both from the same source"
            )
        errors = [line for line in said.splitlines() if "error:" in line]
        lines = errors[:_LOG_LINES] or said.strip().splitlines()[-_LOG_LINES:]
        tail = "; ".join(line.strip() for line in lines)
        return KernelError(f"BCC could not compile {self._folder}: it says: {tail}")


def describe() -> str:
    """Which BCC, and whose headers it would compile with. Raises KernelError."""
    source_folder()
    python = system_python()
    asked = subprocess.run(
        [python, "-I", "-c", "import bcc; print(bcc.__version__)"],
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    if asked.returncode:
        raise KernelError(f"{python} has no BCC: {INSTALL_BCC}")
    return f"BCC {asked.stdout.strip()} of {python}, kernel headers in {kernel_headers()[0]}"


def system_python() -> Path:
    """The Python that the distribution's BCC belongs to. Raises KernelError."""
    for python in _PYTHONS:
        if python.exists():
            return python
    raise KernelError(f"no {_PYTHONS[0]}, which BCC belongs to: {INSTALL_BCC}")
