# SPDX-License-Identifier: Apache-2.0
"""A host's life with the package, from its installation to its purge, one boot after the other.

The host is a machine with systemd and its release's own kernel. What it let out is read
outside of it; the steps build on each other, so they are one test for each release.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import package_steps as steps
from tests.harness.debs import RELEASE, built_deb, share_with
from tests.harness.package_host import PackageHost
from tests.harness.systemd_host import SystemdHost
from tools.vm.lanes import lane_named

LANES = os.environ.get("TAPSENTINEL_PACKAGE_LANES", "").split()

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.skipif(
        not LANES, reason="a guest with systemd for each release: make test-vm-packages"
    ),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("qemu-system-x86_64") is None,
        reason="needs root and qemu-system-x86_64 (package qemu-system-x86)",
    ),
]

LIFE: tuple[Callable[[PackageHost], None], ...] = (
    steps.install,
    steps.what_counts_lets_pass,
    steps.reboot_guarded_before_the_first_tap,
    steps.a_guest_s_bpdu_dies,
    steps.killed_and_back,
    steps.hung_and_replaced,
    steps.a_wrong_file_changes_nothing,
    steps.the_sandbox_of_the_daemon,
    steps.everything_works_in_it,
    steps.a_vm_is_named_by_its_process,
    steps.the_other_loader_takes_over,
    steps.the_publisher_publishes,
    steps.the_sandbox_of_the_publisher,
    steps.upgraded_under_a_flood,
    steps.downgraded_under_a_flood,
    steps.purged,
)


@pytest.mark.parametrize("lane", sorted(RELEASE))
def test_from_installation_to_purge(lane: str, tmp_path: Path) -> None:
    if lane not in LANES:
        pytest.skip(f"lane {lane} was not asked for")
    deb = built_deb(lane)
    if deb is None:
        pytest.fail(f"there is no package for {RELEASE[lane]}: make packages")
    share_with(deb, tmp_path)
    with SystemdHost(lane_named(lane), tmp_path) as machine:
        host = PackageHost(machine)
        started_s = time.monotonic()
        try:
            machine.wait_up()
            for step in LIFE:
                begun_s = time.monotonic()
                step(host)
                print(f"{lane}: {time.monotonic() - begun_s:4.0f} s: {step.__name__}", flush=True)
        except BaseException as error:
            error.add_note(f"in {step.__name__}; {machine.last_words()}")
            raise
        print(f"{lane}: {time.monotonic() - started_s:4.0f} s in all")
