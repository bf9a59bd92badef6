# SPDX-License-Identifier: Apache-2.0
"""By which loader the programs get into the kernel: prebuilt, or compiled here."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sentinel.loader.bcc import BccLoader, SignOfLife
from sentinel.loader.objects import OBJECT_FILES, ObjectLoader
from sentinel.loader.pins import Pins


class Loader(Protocol):
    """One way to get the programs into the kernel, on the same pinned maps as any other."""

    name: str

    def build_number(self) -> int:
        """64 bits that stand for exactly these programs, by this loader."""

    def load(self, pins: Pins) -> dict[str, int]:
        """Every program's descriptor by name; makes the maps that are not pinned yet.

        Raises AbiError for programs of another version, KernelError otherwise.
        """


def choose_loader(
    wanted: str,
    objects_folder: Path,
    compiled_folder: Path | None = None,
    sign_of_life: SignOfLife | None = None,
) -> Loader:
    """By `kernel.loader`: "libbpf", "bcc", or "auto": libbpf where the objects are.

    In `compiled_folder` is kept what is compiled here; `sign_of_life` is called
    meanwhile. Raises KernelError where there is nothing to load.
    """
    built = any((objects_folder / name).is_file() for name in OBJECT_FILES)
    if wanted == "bcc" or (wanted == "auto" and not built):
        return BccLoader(None, compiled_folder, sign_of_life)
    return ObjectLoader(objects_folder)
