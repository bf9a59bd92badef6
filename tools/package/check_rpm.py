# SPDX-License-Identifier: Apache-2.0
"""Builds the spec for EL 9 as far as that goes on Debian 12, which has the same Python.

What this cannot show: EL's compiler, its libbpf and systemd's macros; installing it. The
result links to Debian's libraries and is thrown away; only what it holds is compared with
the Debian package.

Usage: python -m tools.package.check_rpm
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from sentinel import __version__
from tools.package.build_debs import lay_out, source_date_s
from tools.package.roots import TO_BUILD, debian_root, enter
from tools.package.suites import OUTPUT, PackageError, suite_named

SUITE = suite_named("bookworm")
PLACES = ("/usr/bin/", "/usr/lib/tapsentinel/", "/etc/tapsentinel/", "/usr/lib/sysusers.d/")
"""Where both packages have the same; the rest differs by the distributions' habits."""
MACROS = {
    "python": "python3.11",
    "_sysusersdir": "/usr/lib/sysusers.d",
    "_tmpfilesdir": "/usr/lib/tmpfiles.d",
    "_unitdir": "/usr/lib/systemd/system",
    "project_version": __version__,
}


def contents() -> set[str]:
    """What the spec packs. Raises PackageError."""
    root = debian_root(SUITE, "rpm", (*TO_BUILD, "rpm"))
    name = f"tapsentinel-{__version__}"
    tree = root / "build" / name
    shutil.rmtree(tree.parent, ignore_errors=True)
    try:
        lay_out(SUITE, tree)
        defined = [f"--define={macro} {value}" for macro, value in MACROS.items()]
        enter(root, "tar", "-czf", f"{name}.tar.gz", name, cwd="/build")
        enter(
            *(root, "rpmbuild", "-bb", "--nodeps", "--define=_topdir /build/rpm"),
            *("--define=_sourcedir /build", *defined, f"{name}/packaging/tapsentinel.spec"),
            cwd="/build",
            env={"SOURCE_DATE_EPOCH": str(source_date_s())},
        )
        (built,) = tree.parent.glob("rpm/RPMS/*/*.rpm")
        inside = f"/{built.relative_to(root)}"
        return set(enter(root, "rpm", "--nosignature", "-qpl", inside).splitlines())
    finally:
        shutil.rmtree(tree.parent, ignore_errors=True)


def packed_by_debian() -> set[str]:
    """What the Debian package of the same Python holds, built before."""
    built = sorted(OUTPUT.glob(f"tapsentinel_{__version__}-*deb{SUITE.release}u*.deb"))
    if not built:
        raise PackageError("there is nothing to compare with: make packages")
    said = subprocess.run(
        ["dpkg-deb", "--contents", built[-1]], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[5].removeprefix(".").rstrip("/") for line in said.splitlines()}


def main() -> int:
    """0 where both hold the same."""
    try:
        rpm, deb = contents(), packed_by_debian()
    except PackageError as error:
        print(f"rpm: {error}", file=sys.stderr)
        return 1
    differing = sorted(
        path for path in rpm ^ deb if path.startswith(PLACES) and ".dist-info/" not in path
    )
    for path in differing:
        print(f"only in the {'rpm' if path in rpm else 'deb'}: {path}")
    print(f"the spec builds on Debian 12: {len(rpm)} files and folders; not tried on EL 9")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
