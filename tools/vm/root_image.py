# SPDX-License-Identifier: Apache-2.0
"""A disk with a Debian release as it is installed: systemd, its own Python, its kernel's modules.

Made by mmdebstrap from the mirror that this machine's apt uses, kept in build/vm. What
is in it beside the release is a service that runs what the machine is told over a
virtio serial port (root_orders.sh).

Usage: python tools/vm/root_image.py [--refresh] LANE...
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm.fetch_kernel import StockKernel, fetch_kernel, locked, sources
from tools.vm.lanes import CACHE, Lane, LaneError, lane_named

HERE = Path(__file__).resolve().parent
# The lanes whose kernel is that of a release, and so can be had with its user space.
RELEASES = {"6.1": "bookworm", "6.12": "trixie"}
PACKAGES = ("systemd", "systemd-sysv", "udev", "kmod", "iproute2", "libbpf1", "python3")
# What a test needs beside the product.
TEST_PACKAGES = ("mosquitto", "python3-bpfcc", "linux-libc-dev")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
BOOTSTRAP_TIMEOUT_S = 1200
IMAGE_BYTES = 2 << 30
ORDERS_UNIT = """\
[Unit]
Description=Runs what the machine is told
DefaultDependencies=no
[Service]
ExecStart=/bin/sh /usr/local/sbin/root-orders
Restart=always
OOMScoreAdjust=-1000
[Install]
WantedBy=sysinit.target
"""
# Each costs seconds under emulation, and no test looks at it.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "getty.target", "systemd-timesyncd.service"),
    *("systemd-tmpfiles-clean.timer", "systemd-update-utmp.service", "systemd-pstore.service"),
    *("systemd-hwdb-update.service", "mosquitto.service", "ldconfig.service"),
)


def root_image(lane: Lane, *, refresh: bool = False) -> Path:
    """The image of the lane's release, an ext4; made first if it is not there (or `refresh`).

    Safe to call from several processes at once. Raises LaneError.
    """
    if lane.name not in RELEASES:
        raise LaneError(
            f"lane {lane.name} is the kernel of no release: choose from {', '.join(RELEASES)}"
        )
    kernel = fetch_kernel(lane)
    image = CACHE / f"root-{RELEASES[lane.name]}-{_recipe(kernel)}.ext4"
    with locked(CACHE / f"root-{RELEASES[lane.name]}.lock"):
        archive = _bootstrapped(RELEASES[lane.name], refresh=refresh)
        if refresh or not image.exists():
            _build(archive, kernel, image)
    return image


def _recipe(kernel: StockKernel) -> str:
    made_of = Path(__file__).read_bytes() + (HERE / "root_orders.sh").read_bytes()
    return hashlib.sha256(made_of + kernel.release.encode()).hexdigest()[:12]


def _bootstrapped(suite: str, *, refresh: bool) -> Path:
    """The release as an archive of files."""
    packages = ",".join((*PACKAGES, *TEST_PACKAGES))
    archive = CACHE / f"root-{suite}-{hashlib.sha256(packages.encode()).hexdigest()[:12]}.tar"
    if archive.exists() and not refresh:
        return archive
    alone = Lane(suite, "", (suite,), (f"{suite}-security",))
    command = [
        *("mmdebstrap", "--quiet", "--variant=apt", "--mode=root"),
        f"--include={packages}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
    ]
    with tempfile.TemporaryDirectory(prefix=".root-", dir=CACHE) as scratch:
        made = Path(scratch) / archive.name
        try:
            done = subprocess.run(
                [*command, suite, str(made), "-"],
                input="".join(f"{line}\n" for line in sources(alone)),
                capture_output=True,
                text=True,
                check=False,
                timeout=BOOTSTRAP_TIMEOUT_S,
            )
        except FileNotFoundError as error:
            raise LaneError("mmdebstrap is not installed: install the package") from error
        except subprocess.TimeoutExpired as error:
            raise LaneError(f"{suite} was not there after {BOOTSTRAP_TIMEOUT_S} s") from error
        if done.returncode != 0:
            raise LaneError(f"mmdebstrap cannot make {suite}: {done.stderr[-2000:]}")
        _put(made, archive)
    return archive


def _build(archive: Path, kernel: StockKernel, image: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".root-", dir=CACHE) as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        # Devices come from the kernel.
        _run(["tar", "-xf", str(archive), "-C", str(tree), "--numeric-owner", "--exclude=./dev/*"])
        _add(tree, kernel)
        made = Path(scratch, "image")
        with made.open("wb") as empty:
            empty.truncate(IMAGE_BYTES)
        command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-F", "-d"]
        _run([*command, str(tree), str(made)])
        _put(made, image)


def _put(made: Path, where: Path) -> None:
    """In the place of those that were made by other recipes."""
    for old in CACHE.glob(f"{where.name.rpartition('-')[0]}-*{where.suffix}"):
        old.unlink()
    made.rename(where)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LaneError(f"{command[0]} failed: {done.stderr.strip()}")


def _add(tree: Path, kernel: StockKernel) -> None:
    shutil.copytree(kernel.modules, tree / "usr/lib/modules" / kernel.release, symlinks=True)
    shutil.copy(HERE / "root_orders.sh", tree / "usr/local/sbin/root-orders")
    units = tree / "etc/systemd/system"
    (units / "vm-orders.service").write_text(ORDERS_UNIT)
    wanted = units / "sysinit.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "vm-orders.service").symlink_to("../vm-orders.service")
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (tree / "etc/hostname").write_text("compute-1\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 compute-1\n")
    (tree / "etc/fstab").write_text("")
    # Not empty: an empty one makes the first boot set all units anew.
    (tree / "etc/machine-id").write_text(hashlib.md5(b"compute-1").hexdigest() + "\n")  # noqa: S324 - a name


def main() -> int:
    parser = argparse.ArgumentParser(description="make disks with a Debian release")
    parser.add_argument("lanes", nargs="*", metavar="LANE", default=list(RELEASES))
    parser.add_argument("--refresh", action="store_true", help="from the mirror, even if kept")
    arguments = parser.parse_args()
    try:
        for name in arguments.lanes:
            print(f"lane {name}: {root_image(lane_named(name), refresh=arguments.refresh)}")
    except LaneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
