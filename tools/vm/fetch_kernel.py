# SPDX-License-Identifier: Apache-2.0
"""Fetch a stock Debian kernel by apt and unpack it under build/vm/LANE; never install it.

The machine's own apt sources and state are not touched: each lane has a private
sources list and state folder. The mirrors are those the machine already uses.
A lane that is already there is used as it is, without the network.

Usage: python tools/vm/fetch_kernel.py [--refresh] LANE...
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm.lanes import LANES, Lane, LaneError, lane_named

META_PACKAGE = "linux-image-amd64"
# From 7.x on Debian splits the image: the kernel, its modules and its module index.
SPLIT_PACKAGE = re.compile(r"linux-(?:image|binary|modules|base)-\d[^ ]*-amd64$")
# A guest under qemu needs no sound, graphics or wireless; leaving them packed makes a
# lane 40 MB instead of 300 MB.
MODULE_FOLDERS = re.compile(
    r"/kernel/(?:arch|block|crypto|fs|lib|net|virt|drivers/(?:block|char|md|net|vhost|virtio))/"
)
LEFT_PACKED = re.compile(
    r"/kernel/drivers/net/(?:wireless|ethernet|usb|wan|can|hamradio|phy|dsa|pcs|fddi|arcnet|wwan)/"
    r"|/kernel/fs/(?:ocfs2|gfs2|ceph|xfs|btrfs|nfsd?|smb|cifs|afs|f2fs|jfs|reiserfs|bcachefs)/"
)
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-removed-keys.gpg"),
    Path("/usr/share/keyrings/debian-archive-removed-keys.pgp"),
)
MAIN_SUITE_ALIASES = {"stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"}
APT_TIMEOUT_S = 600


@dataclass(frozen=True)
class StockKernel:
    """An unpacked kernel: `vmlinuz` to boot, `modules` is its /lib/modules/RELEASE."""

    lane: str
    release: str
    package_version: str
    vmlinuz: Path
    modules: Path


def fetch_kernel(lane: Lane, *, refresh: bool = False) -> StockKernel:
    """Return the lane's kernel, fetching it first if it is not there (or `refresh`).

    Safe to call from several processes at once. Raises LaneError.
    """
    lane.folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(lane.folder.with_name(f"{lane.name}.lock")):
        if refresh:
            shutil.rmtree(lane.folder, ignore_errors=True)
        kernel = _unpacked(lane)
        if kernel is None:
            _fetch_and_unpack(lane)
            kernel = _unpacked(lane)
    if kernel is None:
        raise LaneError(f"lane {lane.name}: the packages hold no kernel; try --refresh")
    return kernel


def _unpacked(lane: Lane) -> StockKernel | None:
    try:
        release, version = (lane.folder / "release").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return StockKernel(
        lane=lane.name,
        release=release,
        package_version=version,
        vmlinuz=lane.folder / "vmlinuz",
        modules=lane.folder / "lib" / "modules" / release,
    )


def _fetch_and_unpack(lane: Lane) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{lane.name}-", dir=lane.folder.parent) as name:
        scratch = Path(name)
        apt = PrivateApt(scratch / "apt", sources(lane))
        apt.update()
        version, packages = _choose(apt, lane)
        for package in packages:
            apt.download(package, version, scratch)
        tree = scratch / "tree"
        for archive in sorted(scratch.glob("*.deb")):
            _unpack_kernel_files(archive, tree)
        ready = scratch / "ready"
        _arrange(tree, ready, version)
        shutil.rmtree(lane.folder, ignore_errors=True)
        ready.rename(lane.folder)


class PrivateApt:
    """apt with its own sources, lists and cache, all inside `folder`."""

    def __init__(self, folder: Path, sources: list[str]) -> None:
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text("".join(f"{line}\n" for line in sources))
        self._options = [
            f"-oDir::Etc::sourcelist={folder}/sources.list",
            "-oDir::Etc::sourceparts=/dev/null",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            f"-oDir::State={folder}/state",
            f"-oDir::State::status={folder}/status",
            f"-oDir::Cache={folder}/cache",
            # Suites that moved to an archive keep their last, expired Release file.
            "-oAcquire::Check-Valid-Until=false",
            "-oAcquire::Languages=none",
            "-oAPT::Sandbox::User=root",
            "-oAPT::Update::Post-Invoke=",
            "-oAPT::Update::Post-Invoke-Success=",
            "-oAPT::Architecture=amd64",
            "-oAPT::Architectures=amd64",
        ]
        self._complaints = ""

    def update(self) -> None:
        """Read the suites' indexes; a suite that is gone is only missed if it was needed."""
        done = _run(["apt-get", "update", "-q", *self._options])
        self._complaints = done.stderr.strip()

    def show(self, package: str) -> list[dict[str, str]]:
        """Every version of `package`, as its index stanzas."""
        done = _run(["apt-cache", "show", *self._options, package])
        if done.returncode != 0:
            raise LaneError(
                f"apt finds no package {package}: {self._complaints or done.stderr.strip()}\n"
                "Check that the machine's Debian mirror still carries the suite "
                "(old suites move to an archive mirror)."
            )
        return [_fields(stanza) for stanza in done.stdout.split("\n\n") if stanza.strip()]

    def download(self, package: str, version: str, folder: Path) -> None:
        done = _run(
            ["apt-get", "download", "-q", *self._options, f"{package}={version}"], cwd=folder
        )
        if done.returncode != 0:
            raise LaneError(f"apt cannot download {package} {version}: {done.stderr.strip()}")


def _choose(apt: PrivateApt, lane: Lane) -> tuple[str, list[str]]:
    """The newest version in the lane's series, and the packages that make it up."""
    stanzas = [
        stanza
        for stanza in apt.show(META_PACKAGE)
        if stanza["Version"].startswith(lane.version_prefix)
    ]
    if not stanzas:
        raise LaneError(f"lane {lane.name}: no kernel {lane.version_prefix}* in its suites")
    newest = max(stanzas, key=functools.cmp_to_key(_compare_versions))
    version = newest["Version"]
    wanted: list[str] = []
    waiting = _kernel_parts(newest)
    while waiting:
        package = waiting.pop()
        if package in wanted:
            continue
        wanted.append(package)
        for stanza in apt.show(package):
            if stanza["Version"] == version:
                waiting += _kernel_parts(stanza)
    return version, wanted


def _compare_versions(left: dict[str, str], right: dict[str, str]) -> int:
    older = ["dpkg", "--compare-versions", left["Version"], "lt", right["Version"]]
    return -1 if subprocess.run(older, check=False).returncode == 0 else 1


def _kernel_parts(stanza: dict[str, str]) -> list[str]:
    names = (name.strip().split(" ")[0] for name in stanza.get("Depends", "").split(","))
    return [name for name in names if SPLIT_PACKAGE.match(name)]


def _fields(stanza: str) -> dict[str, str]:
    pairs = (line.partition(": ") for line in stanza.splitlines() if not line.startswith(" "))
    return {key: value for key, separator, value in pairs if separator}


def sources(lane: Lane) -> list[str]:
    """The lane's suites as lines of a sources.list, on the mirrors this machine uses."""
    archive, security = mirrors()
    keyrings = ",".join(str(path) for path in KEYRINGS if path.exists())
    if not keyrings:
        raise LaneError("no Debian archive keyring: install the package debian-archive-keyring")
    options = f"[arch=amd64 signed-by={keyrings}]"
    lines = [f"deb {options} {archive} {suite} main" for suite in lane.archive_suites]
    if security is not None:
        lines += [f"deb {options} {security} {suite} main" for suite in lane.security_suites]
    return lines


def mirrors() -> tuple[str, str | None]:
    """The archive and security mirrors of this machine, as apt itself reads its sources."""
    listing = _run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ]
    )
    codename = _debian_codename()
    archive: str | None = None
    security: str | None = None
    for line in listing.stdout.splitlines():
        uri, _, rest = line.partition(" ")
        suite, _, component = rest.partition(" ")
        if component != "main":
            continue
        if suite.endswith("-security"):
            security = security or uri
        elif suite == codename or suite in MAIN_SUITE_ALIASES:
            archive = archive or uri
    if archive is None:
        raise LaneError(
            "no Debian mirror among this machine's apt sources: the stock kernels come from "
            "Debian, so run the lanes on a Debian machine"
        )
    return archive, security


def _debian_codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    return "sid"


def _unpack_kernel_files(archive: Path, tree: Path) -> None:
    """Unpack the kernel image, its module index and the modules a guest may want."""
    tree.mkdir(exist_ok=True)
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker,
        tarfile.open(fileobj=unpacker.stdout, mode="r|") as members,
    ):
        for member in members:
            if member.isfile() and _is_wanted(member.name):
                members.extract(member, tree, filter="data")
    if unpacker.returncode != 0:
        raise LaneError(f"{archive.name} is damaged: run again with --refresh")


def _is_wanted(name: str) -> bool:
    if "/kernel/" in name and "/modules/" in name:
        return bool(MODULE_FOLDERS.search(name)) and not LEFT_PACKED.search(name)
    path = Path(name)
    return path.name.startswith(("vmlinuz", "config-", "modules.")) or (
        path.name == "config" and "/modules/" in name
    )


def _arrange(tree: Path, ready: Path, version: str) -> None:
    """Bring every Debian layout (merged /usr or not, split or not) to one."""
    ready.mkdir()
    folders = [*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*")]
    if len(folders) != 1:
        raise LaneError(f"the kernel packages hold {len(folders)} module folders instead of one")
    release = folders[0].name
    images = [*tree.glob("boot/vmlinuz-*"), *folders[0].glob("vmlinuz")]
    if len(images) != 1:
        raise LaneError(f"the kernel packages hold {len(images)} kernel images instead of one")
    configs = [*tree.glob("boot/config-*"), *folders[0].glob("config")]
    shutil.move(images[0], ready / "vmlinuz")
    if configs:
        shutil.move(configs[0], ready / "config")
    (ready / "lib" / "modules").mkdir(parents=True)
    shutil.move(folders[0], ready / "lib" / "modules" / release)
    indexed = _run(["depmod", "--basedir", str(ready), release])
    if indexed.returncode != 0:
        raise LaneError(f"depmod cannot index {release}: {indexed.stderr.strip()}")
    (ready / "release").write_text(f"{release} {version}\n")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` locked against other processes that prepare the same."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise LaneError(f"{command[0]} is not installed: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise LaneError(
            f"{command[0]} did not answer within {APT_TIMEOUT_S} s; try again"
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(description="fetch and unpack stock Debian kernels")
    parser.add_argument("lanes", nargs="*", metavar="LANE", default=list(LANES))
    parser.add_argument("--refresh", action="store_true", help="take the newest, even if cached")
    arguments = parser.parse_args()
    try:
        for name in arguments.lanes:
            kernel = fetch_kernel(lane_named(name), refresh=arguments.refresh)
            print(f"lane {name}: {kernel.release} (Debian {kernel.package_version})")
    except LaneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
