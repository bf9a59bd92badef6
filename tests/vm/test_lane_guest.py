# SPDX-License-Identifier: Apache-2.0
"""A lane's guest offers what the kernel tests take for granted; runs inside such a guest.

Were a device kind or a hook missing there, the other tests would skip and the lane
would look green.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.namespaces import Namespace

pytestmark = pytest.mark.skipif(
    "TAPSENTINEL_LANE" not in os.environ,
    reason="checks the guest that tools/vm/boot.py makes; run it by tools/vm/run_lanes.py",
)

DEVICES = {
    "tap": "tuntap add dev {} mode tap",
    "bridge": "link add {} type bridge stp_state 1",
    "veth": "link add {} type veth peer name peer0",
    "vlan": "link add link base0 name {} type vlan id 20",
    "qinq": "link add link base0 name {} type vlan proto 802.1ad id 20",
    "bond": "link add {} type bond mode active-backup",
    "macvtap": "link add link base0 name {} type macvtap mode bridge",
    "dummy": "link add {} type dummy",
}
PROGRAM = """
__attribute__((section("tc"), used)) int pass(void *frame) { return 0; }
char terms[] __attribute__((section("license"), used)) = "GPL";
"""
# The first kernel with tcx; its links show in `bpftool net`.
TCX_FROM = (6, 6)


def _release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


def test_the_kernel_is_the_lane_s() -> None:
    assert os.uname().release.startswith(f"{os.environ['TAPSENTINEL_LANE']}.")
    assert "Debian" in os.uname().version


def test_btf_bpffs_and_tracefs_are_there() -> None:
    assert Path("/sys/kernel/btf/vmlinux").stat().st_size > 1_000_000
    mounts = Path("/proc/mounts").read_text()
    assert " /sys/fs/bpf bpf " in mounts
    assert " /sys/kernel/tracing tracefs " in mounts


@pytest.mark.parametrize("kind", DEVICES)
def test_device_kind(kind: str) -> None:
    with Namespace("kinds") as inside:
        inside.ip("link add base0 type dummy", DEVICES[kind].format("probe0"))
        assert "probe0" in [name.partition("@")[0] for name in inside.links()]


@pytest.fixture(scope="module")
def trivial_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    source, compiled = folder / "pass.c", folder / "pass.o"
    source.write_text(PROGRAM)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", str(source), "-o", str(compiled)]
    subprocess.run(command, check=True, timeout=120)
    return compiled


@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_clsact_takes_a_program(trivial_object: Path, hook: str) -> None:
    with Namespace("clsact") as inside:
        inside.ip("tuntap add dev tap0 mode tap", "link set tap0 up")
        inside.run(["tc", "qdisc", "add", "dev", "tap0", "clsact"])
        filter_add = ["tc", "filter", "add", "dev", "tap0", hook, "bpf", "direct-action"]
        inside.run([*filter_add, "object-file", trivial_object, "section", "tc"])
        shown = inside.run(["tc", "-j", "filter", "show", "dev", "tap0", hook]).stdout
        programs = [entry for entry in json.loads(shown) if "prog" in entry.get("options", {})]
        assert len(programs) == 1
        assert programs[0]["options"]["direct-action"] is True


def test_a_program_can_be_pinned(trivial_object: Path, tmp_path: Path) -> None:
    pin = Path("/sys/fs/bpf") / f"lane-{os.getpid()}-{tmp_path.name}"
    try:
        load = ["bpftool", "prog", "load", str(trivial_object), str(pin), "type", "classifier"]
        subprocess.run(load, check=True, timeout=60)
        shown = subprocess.run(
            ["bpftool", "-j", "prog", "show", "pinned", str(pin)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert json.loads(shown.stdout)["type"] == "sched_cls"
    finally:
        pin.unlink(missing_ok=True)


def test_tcx_is_there_from_6_6_on() -> None:
    symbols = Path("/proc/kallsyms").read_text()
    assert (" tcx_prog_attach\n" in symbols) is (_release() >= TCX_FROM)
