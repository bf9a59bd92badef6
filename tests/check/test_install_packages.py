# SPDX-License-Identifier: Apache-2.0
"""Installing packages starts no service of theirs, and leaves nothing of its own behind.

In a copy-on-write view of this machine, with a package of our own that has a
service, from an archive in a folder: nothing is asked of any network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install_packages.sh"
POLICY = "usr/sbin/policy-rc.d"
PACKAGE = "ts-probe-service"
OURS = "#!/bin/sh\n# while the packages for a checkout are installed"

# $1: a folder; $2: what to do in the view, a script. The view is gone with the namespace.
# Its runlevel is that of a machine that is up: without any, no service would start.
IN_A_VIEW = r"""
set -e
mount -t tmpfs none "$1/view"
cd "$1/view"
mkdir upper work root
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root
mount --rbind /dev root/dev
mount --rbind /proc root/proc
mkdir root/archive
cp -r "$1/archive/." root/archive/
cp "$1/install_packages.sh" root/
echo "deb [trusted=yes] file:/archive ./" >root/etc/apt/sources.list
rm -rf root/etc/apt/sources.list.d root/etc/apt/preferences.d root/etc/apt/apt.conf.d
rm -f root/usr/sbin/policy-rc.d root/usr/sbin/runlevel
printf '#!/bin/sh\necho N 2\n' >root/usr/sbin/runlevel
chmod 755 root/usr/sbin/runlevel
chroot root sh -euc "$2"
"""

CONTROL = """#!/bin/sh
### BEGIN INIT INFO
# Provides: ts-probe-service
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
touch /was-started
"""


def can_view() -> str:
    """Why this machine has no such view; empty if it has."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("apt-get", "dpkg-deb", "invoke-rc.d") if not shutil.which(name)]
    if missing:
        return f"no {missing[0]} here"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", "mount -t tmpfs none /mnt; cd /mnt; mkdir u w r; "
         "mount -t overlay none -o lowerdir=/,upperdir=u,workdir=w r"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"no overlay: {tried.stderr.strip()}" if tried.returncode else ""


pytestmark = pytest.mark.skipif(bool(can_view()), reason=can_view() or "no view")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, and an archive with one package that has a service."""
    made = tmp_path_factory.mktemp("packages")
    for name in ("view", "archive", "tree/DEBIAN", "tree/etc/init.d"):
        (made / name).mkdir(parents=True)
    shutil.copy(SCRIPT, made)
    service = made / "tree/etc/init.d" / PACKAGE
    service.write_text(CONTROL)
    postinst = made / "tree/DEBIAN/postinst"
    postinst.write_text(
        f"#!/bin/sh\nset -e\nupdate-rc.d {PACKAGE} defaults\n"
        f"invoke-rc.d {PACKAGE} start || exit 1\n"
        "[ ! -e /fail ]\n"
    )
    for script in (service, postinst):
        script.chmod(0o755)
    about = (
        f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <root@localhost>\n"
        "Description: has a service\n"
    )
    (made / "tree/DEBIAN/control").write_text(about)
    package = made / "archive" / f"{PACKAGE}.deb"
    subprocess.run(["dpkg-deb", "--build", made / "tree", package], check=True, capture_output=True)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    (made / "archive/Packages").write_text(
        f"{about}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    )
    return made


def run(folder: Path, script: str) -> str:
    """Its stdout; raises CalledProcessError with what it complained of."""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_A_VIEW, "sh",
         folder, script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


INSTALL = f"""
echo {PACKAGE} >/list
code=0; sh /install_packages.sh /list >/said 2>&1 || code=$?
echo "code $code"
[ ! -e /was-started ] || echo started
! dpkg-query -W -f '${{db:Status-Status}}\\n' {PACKAGE} 2>/dev/null || true
[ ! -e /{POLICY} ] || {{ echo policy; cat /{POLICY}; }}
"""


def test_without_it_the_service_would_start(folder: Path) -> None:
    said = run(
        folder, f"apt-get update -qq; apt-get install -y -qq {PACKAGE} >/dev/null 2>&1; ls /"
    )
    assert "was-started" in said.split()


def test_no_service_starts_and_nothing_is_left(folder: Path) -> None:
    assert run(folder, INSTALL).split("\n") == ["code 0", "installed", ""]


def test_nothing_is_left_if_it_fails(folder: Path) -> None:
    said = run(folder, "touch /fail\n" + INSTALL)
    assert said.startswith("code 100\n")
    assert "policy" not in said
    assert "started" not in said


def test_the_machines_own_policy_stays(folder: Path) -> None:
    own = f"printf '#!/bin/sh\\nexit 0\\n' >/{POLICY}; chmod 755 /{POLICY}\n"
    assert run(folder, own + INSTALL).split("\n") == [
        "code 0", "started", "installed", "policy", "#!/bin/sh", "exit 0", "",
    ]  # fmt: skip


def test_what_a_killed_run_left_is_removed(folder: Path) -> None:
    # apt-get kills the script that called it, so the traps have no say.
    stub = "mkdir /stub; printf '#!/bin/sh\\nkill -9 $PPID\\n' >/stub/apt-get; chmod 755 /stub/*\n"
    killed = (
        f"echo {PACKAGE} >/list; PATH=/stub:$PATH sh /install_packages.sh /list >/dev/null || :\n"
        f"cat /{POLICY}\n"
    )
    left, _, rest = run(folder, stub + killed + INSTALL).partition("code")
    assert left.startswith(OURS)
    assert rest.split("\n") == [" 0", "installed", ""]
