# SPDX-License-Identifier: Apache-2.0
"""Only what pyproject.toml cannot say: the extension that cffi builds, and the C sources.

The sources of the BPF programs go with the package, for hosts that compile them; in
a checkout they stand in bpf/ alone.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCES = Path("bpf")


class BuildWithSources(build_py):
    """Puts bpf/ beside the loader that looks for it there."""

    def run(self) -> None:
        """See the class."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "sentinel", "loader", "sources")
        shutil.rmtree(target, ignore_errors=True)
        for path in sorted(SOURCES.rglob("*.[ch]")):
            place = target / path.relative_to(SOURCES)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


setup(
    cffi_modules=["sentinel/loader/build_libbpf.py:ffibuilder"],
    cmdclass={"build_py": BuildWithSources},
)
