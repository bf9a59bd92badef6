# SPDX-License-Identifier: Apache-2.0
"""What the lanes' tools work out before a guest boots; none of this boots one."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.vm import fast_files
from tools.vm.fetch_kernel import StockKernel, fetch_kernel
from tools.vm.initramfs import build_initramfs, load_order
from tools.vm.lanes import CHECKOUT, LANES, Lane, LaneError, lane_named
from tools.vm.nics import back_to_back, mac_of
from tools.vm.run_lanes import Plan, _counts

BUSYBOX = shutil.which("busybox")


@pytest.fixture
def kernel(tmp_path: Path) -> StockKernel:
    """A kernel with modules in name only: bridge needs stp and llc, ext4 asks for crc32c."""
    modules = tmp_path / "lib/modules/6.1.0-test"
    modules.mkdir(parents=True)
    files = {
        "net/bridge.ko": ("net/stp.ko", "net/llc.ko"),
        "net/stp.ko": ("net/llc.ko",),
        "net/llc.ko": (),
        "fs/ext4.ko": (),
        "crypto/crc32c_generic.ko": (),
        "net/bonding.ko.xz": (),
    }
    for name in files:
        path = modules / name
        path.parent.mkdir(exist_ok=True)
        content = f"module {name}".encode()
        path.write_bytes(lzma.compress(content) if name.endswith(".xz") else content)
    (modules / "modules.dep").write_text(
        "".join(f"{name}: {' '.join(needs)}\n" for name, needs in files.items())
    )
    (modules / "modules.alias").write_text("alias crypto-crc32c crc32c_generic\n")
    (modules / "modules.softdep").write_text("softdep ext4 pre: crypto-crc32c\n")
    (modules / "modules.builtin").write_text("kernel/drivers/virtio/virtio-pci.ko\n")
    return StockKernel("6.1", "6.1.0-test", "6.1.1-1", tmp_path / "vmlinuz", modules)


def test_a_module_comes_after_what_it_needs(kernel: StockKernel) -> None:
    order = [path.name for path in load_order(kernel, ["bridge", "stp"])]
    assert order == ["llc.ko", "stp.ko", "bridge.ko"]


def test_what_a_module_asks_for_by_alias_comes_first(kernel: StockKernel) -> None:
    assert [path.stem for path in load_order(kernel, ["ext4"])] == ["crc32c_generic", "ext4"]


def test_a_module_that_is_built_in_is_left_out(kernel: StockKernel) -> None:
    assert load_order(kernel, ["virtio_pci"]) == []


def test_a_module_that_does_not_exist_is_named(kernel: StockKernel) -> None:
    with pytest.raises(LaneError, match=r"6\.1\.0-test has no module zebra"):
        load_order(kernel, ["zebra"])


@pytest.mark.skipif(BUSYBOX is None, reason="needs busybox (package busybox-static)")
def test_the_initramfs_unpacks_with_options_and_plain_modules(
    kernel: StockKernel, tmp_path: Path
) -> None:
    archive = build_initramfs(kernel, "#!/bin/sh\n", ["bonding max_bonds=0", "stp"])
    out = tmp_path / "out"
    out.mkdir()
    unpack = [str(BUSYBOX), "cpio", "--quiet", "-i", "-d", "init", "modules/*", "bin/sh"]
    subprocess.run(unpack, input=archive, cwd=out, check=True, timeout=10)
    assert (out / "init").read_text() == "#!/bin/sh\n"
    assert (out / "init").stat().st_mode & 0o777 == 0o755
    assert (out / "bin/sh").readlink() == Path("busybox")
    assert (out / "modules/order").read_text() == "bonding.ko max_bonds=0\nllc.ko\nstp.ko\n"
    assert (out / "modules/bonding.ko").read_text() == "module net/bonding.ko.xz"


def test_a_lane_that_is_there_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.vm.lanes.CACHE", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "6.1").mkdir()
    (tmp_path / "6.1/release").write_text("6.1.0-9-amd64 6.1.100-1\n")
    kernel = fetch_kernel(LANES["6.1"])
    assert kernel.release == "6.1.0-9-amd64"
    assert kernel.vmlinuz == tmp_path / "6.1/vmlinuz"


def test_apt_missing_is_said_and_leaves_no_half_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.vm.lanes.CACHE", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LaneError, match="apt-get is not installed"):
        fetch_kernel(Lane("5.10", "5.10.", ("bullseye",)))
    assert [path.name for path in tmp_path.iterdir()] == ["5.10.lock"]


def test_an_unknown_lane_names_the_known() -> None:
    with pytest.raises(LaneError, match=r"'4\.19': choose from 5\.10, 6\.1, 6\.12, 7"):
        lane_named("4.19")


def test_counts_come_from_pytest_s_report(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(
        '<testsuites><testsuite tests="10" failures="2" errors="1" skipped="3"/></testsuites>'
    )
    assert _counts(report) == (4, 3, 3)
    report.write_text("<testsuites><testsuite tes")
    assert _counts(report) is None
    assert _counts(tmp_path / "missing.xml") is None


def test_each_pair_of_nics_is_one_cable() -> None:
    arguments = back_to_back(2, 1)
    cables = [word for word in arguments if word.startswith("hubport")]
    assert [cable.split("hubid=")[1] for cable in cables] == list("001122")
    devices = [word for word in arguments if word.startswith("virtio-net-pci")]
    assert [f"mac={mac_of(2, 1)}" in device for device in devices] == [False] * 5 + [True]
    # An envelope NIC takes frames in as many buffers as they need.
    assert ["mrg_rxbuf=off" in device for device in devices] == [True] * 4 + [False] * 2
    assert back_to_back(0) == []
    with pytest.raises(ValueError, match="0 to 8 pairs"):
        back_to_back(8, 1)


def test_the_lanes_of_the_story_run_it_and_what_was_asked_for_goes_first() -> None:
    own = Plan([], 1.0, Path("image"))
    story = "tests/vm/test_story_double_vlan.py"
    assert [story in own.tests_of(lane) for lane in LANES] == [False, True, True, False]
    assert Plan(["tests/prog"], 1.0, Path("image")).tests_of("6.1") == ["tests/prog"]


def test_of_a_checkout_neither_disks_nor_pipes_are_copied(tmp_path: Path) -> None:
    """A device or a pipe would never end: such stand in the roots that packages are built in."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("it")
    for name in ("pipe", "file"):
        fast_files._copy(str(tmp_path / name), str(tmp_path / f"copy of {name}"))
    assert not (tmp_path / "copy of pipe").exists()
    assert (tmp_path / "copy of file").read_text() == "it"
    names = ["vm", "packages", "harness"]
    left_out = fast_files._checkout_parts_left_out(str(CHECKOUT / "build"), names)
    assert set(left_out) == {"vm", "packages"}
