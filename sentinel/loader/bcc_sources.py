# SPDX-License-Identifier: Apache-2.0
"""What BCC is given to compile: our C sources, and the kernel's interface to user space."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sentinel.errors import KernelError

INSTALL_HEADERS: Final = (
    "install linux-headers-$(uname -r) or linux-libc-dev (Debian, Ubuntu), kernel-devel or "
    "kernel-headers (RHEL), or name a tree in BCC_KERNEL_SOURCE"
)

_INSTALLED = Path(__file__).with_name("sources")
_CHECKOUT = Path(__file__).parents[2] / "bpf"
_LIBRARY = Path("/usr/include")
_MODULES = Path("/lib/modules")
_TREES = Path("/usr/src")
_MACHINE = platform.machine()
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390"}
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)


def source_folder() -> Path:
    """The C sources: installed beside this file, or a checkout's. Raises KernelError."""
    for folder in (_INSTALLED, _CHECKOUT):
        if (folder / "bcc").is_dir():
            return folder
    raise KernelError(f"the C sources are not in {_INSTALLED}: reinstall, or run from a checkout")


def source_files(folder: Path) -> list[Path]:
    """All of the sources, those included that stand in for a kernel's tree."""
    return sorted(folder.rglob("*.[ch]"))


def kernel_headers() -> list[Path]:
    """Folders of the kernel's interface to user space, from the first place that has it.

    BCC_KERNEL_SOURCE, the running kernel's headers, the C library's. Raises KernelError
    naming what to install.
    """
    release = platform.release()
    named = os.environ.get("BCC_KERNEL_SOURCE")
    if named:
        found = _interface(*_halves(Path(named)))
        if not found:
            raise KernelError(
                f"BCC_KERNEL_SOURCE is {named}, where no kernel headers are: {INSTALL_HEADERS}"
            )
        return found
    running, library = _MODULES / release, [_LIBRARY, *_LIBRARY.glob(f"{_MACHINE}-linux-*")]
    found = (
        _interface(running / "source", running / "build")
        # Where those two point to: the unit's sandbox hides the links, not the trees.
        or _interface(*_halves(_TREES / f"linux-headers-{release}"))
        or _interface(_TREES / "kernels" / release)
        or _complete(library)
    )
    if not found:
        raise KernelError(f"no kernel headers for BCC: {INSTALL_HEADERS}")
    return found


def fingerprint(folder: Path, headers: Sequence[Path], request: object) -> str:
    """64 hexadecimal digits that stand for all that the compiler is given, by its content.

    `request` is what it is asked, as JSON knows it.
    """
    digest = hashlib.sha256()
    sources = source_files(folder)
    about = [platform.release(), platform.machine(), [str(path) for path in headers], request]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for path in [*sources, *_reached(sources, headers)]:
        content = path.read_bytes()
        digest.update(f"\n{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _reached(sources: Sequence[Path], headers: Sequence[Path]) -> list[Path]:
    """Every header that the sources can include, and what those can, whatever the macros say."""
    found: set[Path] = set()
    ahead = list(sources)
    while ahead:
        path = ahead.pop()
        for name in _INCLUDE.findall(path.read_bytes()):
            for folder in (path.parent, *headers):
                header = folder / name.decode("utf-8", "surrogateescape")
                if header not in found and header.is_file():
                    found.add(header)
                    ahead.append(header)
    return sorted(found - set(sources))


def _interface(*trees: Path) -> list[Path]:
    arch = _ARCHITECTURES.get(_MACHINE, _MACHINE)
    below = ("include/uapi", f"arch/{arch}/include/uapi", f"arch/{arch}/include/generated/uapi")
    return _complete([tree / folder for tree in trees for folder in below])


def _complete(folders: list[Path]) -> list[Path]:
    wanted = ("linux/ip.h", "asm/types.h")
    # Not is_dir(): what may not be looked into is as good as not there.
    there = [folder for folder in folders if os.path.isdir(folder)]  # noqa: PTH112
    if all(any(os.path.isfile(folder / file) for folder in there) for file in wanted):  # noqa: PTH113
        return there
    return []


def _halves(tree: Path) -> list[Path]:
    """A tree, and what Debian's flavours share: linux-headers-6.1.0-9-common beside -amd64."""
    stems = [re.sub(rf"(-[a-z0-9]+){{{parts}}}$", "", tree.name) for parts in (1, 2)]
    ends = ("common", "common-rt")
    return [tree, *(tree.with_name(f"{stem}-{end}") for stem in stems for end in ends)]
