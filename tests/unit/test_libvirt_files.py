# SPDX-License-Identifier: Apache-2.0
"""libvirt's status files: which are read, when again, and whom to believe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentinel.identity.libvirt import LibvirtDomains
from sentinel.vm import VmIdentity, VmPort

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


def vhost_user_file(name: str, uuid: str, path: str, pid: int = 0, device: str = "") -> str:
    interface = f"<interface type='vhostuser'><source path='{path}'/></interface>"
    hostdev = f"<hostdev><source>{device}</source></hostdev>" if device else ""
    whole = status_file(name, uuid, pid=pid)
    return whole.replace("</devices>", f"{interface}{hostdev}</devices>")


def test_ports_come_with_their_files_and_go_with_them(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    file = tmp_path / "qemu/a.xml"
    file.write_text(vhost_user_file("a", UUIDS[0], "/run/vhost/a"))
    assert domains.read() == {}
    vm = VmIdentity(UUIDS[0], "a", "libvirt")
    assert domains.ports() == [VmPort("vhost-user", vm, source="/run/vhost/a")]
    first = domains.ports()[0]
    domains.read()
    assert domains.ports()[0] is first
    file.write_text("<!DOCTYPE d><domain/>")
    domains.read()
    assert domains.ports() == []


def test_of_two_that_claim_a_socket_the_one_that_runs_is_believed(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    for number, name in enumerate(("runs", "newest")):
        file = tmp_path / f"qemu/{name}.xml"
        file.write_text(vhost_user_file(name, UUIDS[number], "/run/vhost/a", pid=101 + number))
        os.utime(file, (number, number))
    domains.read()
    assert [port.vm.name for port in domains.ports()] == ["newest"]
    (tmp_path / "proc/101").mkdir()
    assert [port.vm.name for port in domains.ports()] == ["runs"]


def pci_device(root: Path, address: str, pci_class: str, nic: str | None = None) -> str:
    """A device as /sys shows it; `nic`: the one whose virtual function it is, "" if it has none."""
    device = root / address
    device.mkdir(parents=True)
    (device / "class").write_text(f"{pci_class}\n")
    if nic is not None:
        physical = root / f"of-{address}"
        (physical / "net").mkdir(parents=True)
        if nic:
            (physical / "net" / nic).mkdir()
        (device / "physfn").symlink_to(physical)
    bus, rest = address.removeprefix("0000:").split(":")
    slot, function = rest.split(".")
    return f"<address domain='0x0000' bus='0x{bus}' slot='0x{slot}' function='0x{function}'/>"


def test_devices_passed_through_are_ports_if_they_are_network_controllers(tmp_path: Path) -> None:
    (tmp_path / "qemu").mkdir()
    pci = tmp_path / "pci"
    devices = [
        pci_device(pci, "0000:3b:02.1", "0x020000", nic="eth0"),
        pci_device(pci, "0000:3b:02.2", "0x020000", nic=""),
        pci_device(pci, "0000:3b:00.0", "0x020000"),
        pci_device(pci, "0000:01:00.0", "0x030000"),
        "<address domain='0x0000' bus='0x77' slot='0x00' function='0x0'/>",
    ]
    hostdevs = "".join(f"<hostdev><source>{one}</source></hostdev>" for one in devices)
    # An interface is one even where /sys does not show the device.
    certain = f"<interface type='hostdev'><source>{devices[-1].replace('77', '78')}</source>"
    text = status_file("a", UUIDS[0]).replace(
        "</devices>", f"{hostdevs}{certain}</interface></devices>"
    )
    (tmp_path / "qemu/a.xml").write_text(text)
    domains = LibvirtDomains(tmp_path / "qemu", tmp_path, pci)
    domains.read()
    assert domains.problem is None
    assert sorted((port.source, port.kind, port.parent) for port in domains.ports()) == [
        ("0000:3b:00.0", "nic", ""),
        ("0000:3b:02.1", "vf", "eth0"),
        ("0000:3b:02.2", "vf", ""),
        ("0000:78:00.0", "vf", ""),
    ]


def test_a_change_of_the_directory_is_seen_and_looked_at_twice(
    domains: LibvirtDomains, tmp_path: Path
) -> None:
    directory = tmp_path / "qemu"

    def changes() -> list[bool]:
        return [domains.has_changed() for _ in range(4)]

    assert changes() == [True, True, False, False]
    new = directory / "a.xml.new"
    new.write_text(status_file("a", UUIDS[0]))
    new.rename(directory / "a.xml")
    assert changes() == [True, True, False, False]
    # Within the same tick of the kernel's clock the time stays as it is.
    status = directory.stat()
    os.utime(directory, ns=(0, status.st_mtime_ns + 1))
    assert domains.has_changed()
    (directory / "b.xml").touch()
    os.utime(directory, ns=(0, status.st_mtime_ns + 1))
    assert domains.has_changed()
    assert not domains.has_changed()
    directory.rename(tmp_path / "away")
    assert changes() == [True, True, False, False]
    directory.mkdir()
    assert changes() == [True, True, False, False]
