# SPDX-License-Identifier: Apache-2.0
"""libvirt's status files: which are read, when again, and whom to believe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinel.identity.libvirt import LibvirtDomains

UUIDS = [f"6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f{n}" for n in range(3)]


def status_file(name: str, uuid: str, *taps: str, pid: int = 0) -> str:
    interfaces = "".join(
        f"<interface type='bridge'><target dev='{tap}'/></interface>" for tap in taps
    )
    return (
        f"<domstatus state='running' pid='{pid}'><domain type='kvm'><name>{name}</name>"
        f"<uuid>{uuid}</uuid><devices>{interfaces}</devices></domain></domstatus>"
    )


@pytest.fixture
def domains(tmp_path: Path) -> LibvirtDomains:
    (tmp_path / "qemu").mkdir()
    (tmp_path / "proc").mkdir()
    return LibvirtDomains(tmp_path / "qemu", tmp_path / "proc")


def test_domains_come_change_and_go(domains: LibvirtDomains, tmp_path: Path) -> None:
    file = tmp_path / "qemu/a.xml"
    file.write_text(status_file("a", UUIDS[0], "vnet0", "vnet1"))
    (tmp_path / "qemu/a.pid").write_text("7")
    found = domains.read()
    assert {tap: vm.name for tap, vm in found.items()} == {"vnet0": "a", "vnet1": "a"}
    assert domains.read()["vnet0"] is found["vnet0"]
    file.write_text(status_file("a", UUIDS[0], "vnet0", "vnet22"))
    assert domains.read().keys() == {"vnet0", "vnet22"}
    file.unlink()
    assert domains.read() == {}
    assert domains.problem is None


def test_one_bad_file_hides_no_other_and_stays_a_problem(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    (tmp_path / "qemu/bad.xml").write_text("<!DOCTYPE d><domain/>")
    (tmp_path / "qemu/good.xml").write_text(status_file("good", UUIDS[0], "vnet0"))
    for _ in range(2):
        assert domains.read().keys() == {"vnet0"}
        assert domains.problem is not None
        assert "bad.xml: has a document type declaration" in domains.problem
    (tmp_path / "qemu/bad.xml").unlink()
    domains.read()
    assert domains.problem is None


def test_links_pipes_and_directories_are_not_followed(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    (tmp_path / "outside.xml").write_text(status_file("outside", UUIDS[0], "vnet0"))
    (tmp_path / "qemu/link.xml").symlink_to(tmp_path / "outside.xml")
    os.mkfifo(tmp_path / "qemu/pipe.xml")
    (tmp_path / "qemu/dir.xml").mkdir()
    assert domains.read() == {}
    assert domains.problem is not None


def test_of_two_that_claim_a_tap_the_one_that_runs_is_believed(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    for number, name in enumerate(("left", "runs", "newest")):
        file = tmp_path / f"qemu/{name}.xml"
        file.write_text(status_file(name, UUIDS[number], "vnet0", pid=100 + number))
        os.utime(file, (number, number))
    assert domains.read()["vnet0"].name == "newest"
    (tmp_path / "proc/101").mkdir()
    assert domains.read()["vnet0"].name == "runs"


def test_no_libvirt_is_no_problem(tmp_path: Path) -> None:
    domains = LibvirtDomains(tmp_path / "none", tmp_path)
    assert domains.read() == {}
    assert domains.problem is None
