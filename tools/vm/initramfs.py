# SPDX-License-Identifier: Apache-2.0
"""Build an initramfs: busybox, an init script and the modules a guest needs first.

Written as a "newc" cpio archive (Linux Documentation/driver-api/early-userspace/
buffer-format.rst), uncompressed: unpacking costs more under emulation than loading.
"""

from __future__ import annotations

import lzma
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tools.vm.fetch_kernel import StockKernel
from tools.vm.lanes import LaneError

BUSYBOX = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
FOLDERS = ("bin", "dev", "etc", "mnt", "modules", "proc", "run", "sys", "tmp")


def build_initramfs(kernel: StockKernel, init: str, modules: Iterable[str]) -> bytes:
    """The archive, with `init` as /init and `modules` (and what they need) in /modules.

    A module may be followed by its options: "bonding max_bonds=0". /modules/order names
    the module files, with options, in an order in which insmod takes them; what this
    kernel has built in is left out. Raises LaneError if a module does not exist or
    busybox is not a static binary.
    """
    archive = bytearray()
    for folder in FOLDERS:
        archive += _entry(folder, b"", stat.S_IFDIR | 0o755)
    # The kernel opens /dev/console before /init can mount devtmpfs.
    archive += _entry("dev/console", b"", stat.S_IFCHR | 0o600, device=(5, 1))
    archive += _entry("bin/busybox", _static_busybox(), stat.S_IFREG | 0o755)
    archive += _entry("bin/sh", b"busybox", stat.S_IFLNK | 0o777)
    archive += _entry("init", init.encode(), stat.S_IFREG | 0o755)
    named = {_module_name(wanted.split()[0]): wanted.partition(" ")[2] for wanted in modules}
    order: list[str] = []
    for path in load_order(kernel, named):
        name = path.name.removesuffix(".xz")
        order.append(f"{name} {named.get(_module_name(name), '')}".rstrip())
        archive += _entry(f"modules/{name}", _module_bytes(path), stat.S_IFREG | 0o644)
    listing = "".join(f"{line}\n" for line in order).encode()
    archive += _entry("modules/order", listing, stat.S_IFREG | 0o644)
    archive += _entry("TRAILER!!!", b"", 0)
    return bytes(archive)


def load_order(kernel: StockKernel, modules: Iterable[str]) -> list[Path]:
    """The module files for `modules`, each after everything it depends on."""
    needs = _dependencies(kernel.modules)
    builtin = {
        _module_name(line) for line in (kernel.modules / "modules.builtin").read_text().split()
    }
    ordered: list[Path] = []
    for wanted in modules:
        name = _module_name(wanted)
        if name in builtin:
            continue
        if name not in needs:
            raise LaneError(
                f"kernel {kernel.release} has no module {wanted}: fetch it again with "
                "tools/vm/fetch_kernel.py --refresh, or take the module out of the list"
            )
        # depmod lists what must be loaded first last.
        for path in reversed(needs[name]):
            if kernel.modules / path not in ordered:
                ordered.append(kernel.modules / path)
    return ordered


def _dependencies(folder: Path) -> dict[str, list[str]]:
    """For each module its file and, behind it, the files that must be loaded before."""
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[_module_name(path)] = [path, *rest.split()]
    # What a module asks the crypto layer for by algorithm: ext4 for crypto-crc32c.
    softly = _soft_dependencies(folder)
    for name, files in needs.items():
        for before in [name, *map(_module_name, files)]:
            files += [file for one in softly.get(before, ()) for file in needs.get(one, ())[:1]]
    return needs


def _soft_dependencies(folder: Path) -> dict[str, list[str]]:
    providers: dict[str, list[str]] = {}
    for line in (folder / "modules.alias").read_text().splitlines():
        _, _, rest = line.partition("alias ")
        alias, _, module = rest.partition(" ")
        providers.setdefault(alias, []).append(module)
    softly: dict[str, list[str]] = {}
    for line in (folder / "modules.softdep").read_text().splitlines():
        _, _, rest = line.partition("softdep ")
        module, _, wanted = rest.partition(" pre: ")
        for alias in wanted.partition(" post: ")[0].split():
            softly.setdefault(module, []).extend(providers.get(alias, [alias]))
    return softly


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _module_bytes(path: Path) -> bytes:
    packed = path.read_bytes()
    return lzma.decompress(packed) if path.suffix == ".xz" else packed


def _static_busybox() -> bytes:
    for path in BUSYBOX:
        if path.exists():
            dynamic = subprocess.run(["ldd", str(path)], capture_output=True, check=False)
            if dynamic.returncode == 0:
                break
            return path.read_bytes()
    raise LaneError("a guest needs a static busybox: install the package busybox-static")


def _entry(name: str, data: bytes, mode: int, device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (
        0,  # inode: no hard links here, so it may be the same for all
        mode,
        0,  # owner
        0,  # group
        1,  # links
        0,  # time of change
        len(data),
        0,  # device that holds the file, major and minor
        0,
        device[0],
        device[1],
        len(encoded),
        0,  # checksum, unused by this variant
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(data)


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 4)
