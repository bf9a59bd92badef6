# SPDX-License-Identifier: Apache-2.0
"""The C sources into the kernel, compiled on this host by the distribution's BCC.

BCC and its compiler live in the system's Python, outside of any virtual
environment, and take some 140 MB: a process of its own does it (bcc_helper.py) and
hands over the programs. Maps and pins are those that libbpf would make, so that
either loader takes over from the other.

The programs include nothing of the kernel's inside. So BCC, which wants to stand in
a source tree, gets one of ours (bpf/bcc), beside the headers of the kernel's
interface to user space.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from typing import Final

from sentinel import abi
from sentinel.errors import AbiError, KernelError
from sentinel.loader.bcc_helper import NO_BCC
from sentinel.loader.maps import MAP_NAMES
from sentinel.loader.pins import Pins

SOURCE_FILES: Final = {
    "tap.bpf.c": ("tap_from_guest", "tap_to_guest"),
    "uplink.bpf.c": ("uplink_from_wire", "uplink_to_wire"),
}
INSTALL_BCC: Final = "install python3-bpfcc (Debian, Ubuntu) or python3-bcc (RHEL)"
INSTALL_HEADERS: Final = (
    "install linux-libc-dev (Debian, Ubuntu) or kernel-headers (RHEL), the running kernel's "
    "linux-headers or kernel-devel, or name a tree in BCC_KERNEL_SOURCE"
)
TIMEOUT_S: Final = 240

_HELPER = Path(__file__).with_name("bcc_helper.py")
_INSTALLED = Path(__file__).with_name("sources")
_CHECKOUT = Path(__file__).parents[2] / "bpf"
_PYTHONS = (Path("/usr/bin/python3"), Path("/usr/libexec/platform-python"))
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390"}
_WRONG_ABI = "another version of the contract"
_LOG_LINES = 12


class BccLoader:
    """Loader: the sources of a folder through BCC."""

    name = "bcc"

    def __init__(self, folder: Path | None = None) -> None:
        """Raises KernelError where the sources are not."""
        self._folder = folder or source_folder()

    def build_number(self) -> int:
        """64 bits that stand for exactly these sources, loaded by BCC."""
        digest = hashlib.sha256(b"bcc")
        for path in sorted(self._folder.rglob("*.[ch]")):
            digest.update(path.read_bytes())
        return int.from_bytes(digest.digest()[:8], "little")

    def load(self, pins: Pins) -> dict[str, int]:
        """Compiles and loads on the pinned maps, making those that are not there.

        Returns the programs' descriptors by name. Raises AbiError for sources of
        another version; KernelError with BCC's last lines otherwise, or with what
        to install.
        """
        flags = ["-DTAP_BCC", f"-I{self._folder}"]
        for headers in kernel_headers():
            flags += ["-idirafter", str(headers)]
        request = {
            "flags": flags,
            "maps": MAP_NAMES,
            "maps_flags": [f'-DTAP_BCC_PINS="{pins.map("x").parent}"'],
            "maps_text": '#include "maps_kern.h"\n'
            f'_Static_assert(TAP_ABI_VERSION == {abi.TAP_ABI_VERSION}, "{_WRONG_ABI}");\n',
            "files": {str(self._folder / file): names for file, names in SOURCE_FILES.items()},
        }
        return self._run(json.dumps(request))

    def _run(self, request: str) -> dict[str, int]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                done = subprocess.run(
                    [system_python(), "-I", _HELPER, str(theirs.fileno())],
                    input=request,
                    pass_fds=[theirs.fileno()],
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
                    | {"BCC_KERNEL_SOURCE": str(self._folder / "bcc")},
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    timeout=TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as late:
                raise KernelError(
                    f"BCC was not done with {self._folder} after {TIMEOUT_S} s: is this host "
                    'overloaded? kernel.loader = "libbpf" needs no compiler'
                ) from late
            if done.returncode:
                raise self._refusal(done.returncode, done.stderr)
            names, fds, _, _ = socket.recv_fds(ours, 4096, 16)
        return dict(zip(json.loads(names), fds, strict=True))

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
        return KernelError(f"BCC could not load {self._folder}: it says: {tail}")


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


def source_folder() -> Path:
    """The C sources: installed beside this file, or a checkout's. Raises KernelError."""
    for folder in (_INSTALLED, _CHECKOUT):
        if (folder / "bcc").is_dir():
            return folder
    raise KernelError(f"the C sources are not in {_INSTALLED}: reinstall, or run from a checkout")


def system_python() -> Path:
    """The Python that the distribution's BCC belongs to. Raises KernelError."""
    for python in _PYTHONS:
        if python.exists():
            return python
    raise KernelError(f"no {_PYTHONS[0]}, which BCC belongs to: {INSTALL_BCC}")


def kernel_headers() -> list[Path]:
    """Folders of the kernel's interface to user space, from the first place that has it.

    BCC_KERNEL_SOURCE, the running kernel's headers (which Debian splits in two
    packages), the C library's. Raises KernelError naming what to install.
    """
    running = Path("/lib/modules", platform.release())
    named = os.environ.get("BCC_KERNEL_SOURCE")
    if named:
        found = _interface(Path(named), _other_half(Path(named)))
        if not found:
            raise KernelError(f"BCC_KERNEL_SOURCE is {named}, where no kernel headers are")
        return found
    library = [Path("/usr/include"), *Path("/usr/include").glob(f"{platform.machine()}-linux-*")]
    found = _interface(running / "source", running / "build") or _complete(library)
    if not found:
        raise KernelError(f"no kernel headers for BCC: {INSTALL_HEADERS}")
    return found


def _interface(*trees: Path) -> list[Path]:
    arch = _ARCHITECTURES.get(platform.machine(), platform.machine())
    below = ("include/uapi", f"arch/{arch}/include/uapi", f"arch/{arch}/include/generated/uapi")
    return _complete([tree / folder for tree in trees for folder in below])


def _complete(folders: list[Path]) -> list[Path]:
    wanted = ("linux/ip.h", "asm/types.h")
    if all(any((folder / file).is_file() for folder in folders) for file in wanted):
        return [folder for folder in folders if folder.is_dir()]
    return []


def _other_half(tree: Path) -> Path:
    """Of Debian's linux-headers-VERSION-FLAVOUR the -common, where all of it is that they share."""
    return tree.with_name(re.sub(r"-[a-z0-9]+$", "-common", tree.name))
