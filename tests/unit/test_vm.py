# SPDX-License-Identifier: Apache-2.0
"""Identities: what each source's text tells, and how four of them become one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.domain_xml import LARGEST_XML_BYTES, parse_domain_xml
from sentinel.vm import (
    UNKNOWN_VM,
    VmIdentity,
    clean_mac,
    clean_text,
    clean_uuid,
    identity_from_cmdline,
    identity_from_neutron,
    identity_from_ovs,
    merge_identities,
    ovs_interface_names,
    tap_of_fdinfo,
    taps_of_ovs_interface,
)

STATUS_FILE = Path(__file__).with_name("libvirt_domstatus.xml")
UUID = "6c1f5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
OTHER_UUID = "00aa5c1e-93a3-4d09-a1a8-5be2a1c7d0f2"
PORT_ID = "5d7a9c1e-3f42-4c0d-9a77-2f8e6b1d4c35"
TAP = "tap5d7a9c1e-3f"
MAC = "fa:16:3e:24:e7:22"


# --- libvirt


def test_a_status_file_as_libvirt_writes_it() -> None:
    domain = parse_domain_xml(STATUS_FILE.read_bytes())
    (interface,) = domain.interfaces
    assert domain.identity_of(interface) == VmIdentity(
        uuid=UUID,
        name="instance-0000001a",
        source="libvirt",
        port_id=PORT_ID,
        project="research",
        mac=MAC,
        pid=10414,
        display_name="web-1 & <b>",
    )
    assert interface.tap == TAP


def test_a_bare_domain_without_nova_and_with_open_vswitch() -> None:
    domain = parse_domain_xml(
        f"""<domain type='kvm'><name>db</name><uuid>{UUID.upper()}</uuid><devices>
        <interface type='bridge'><mac address='{MAC.upper()}'/><source bridge='br-int'/>
          <virtualport type='openvswitch'><parameters interfaceid='{PORT_ID}'/></virtualport>
          <target dev='vnet3'/></interface>
        <interface type='bridge'><mac address='nonsense'/><target dev='vnet4'/></interface>
        <interface type='hostdev'><mac address='{MAC}'/></interface>
        </devices></domain>""".encode()
    )
    assert (domain.uuid, domain.name, domain.pid, domain.project) == (UUID, "db", None, None)
    assert [(one.tap, one.mac, one.port_id) for one in domain.interfaces] == [
        ("vnet3", MAC, PORT_ID),
        ("vnet4", None, None),
    ]


def test_only_the_domain_s_own_name_is_its_name() -> None:
    domain = parse_domain_xml(
        b"""<domstatus pid='0'><name>status</name><domain><name>real</name>
        <metadata><nova:instance xmlns:nova='http://example.org/not-nova'>
        <nova:name>false</nova:name></nova:instance></metadata>
        <devices><disk><name>disk</name></disk></devices></domain></domstatus>"""
    )
    assert (domain.name, domain.display_name, domain.pid) == ("real", None, None)


LAUGHS = b"""<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<domain><name>&b;</name></domain>"""
OUTSIDE = b"""<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]>
<domain><name>&x;</name></domain>"""


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (LAUGHS, "document type declaration"),
        (OUTSIDE, "document type declaration"),
        (b"<!DOCTYPE domain SYSTEM 'http://example.org/d.dtd'><domain/>", "document type"),
        (b"<domain>&undefined;</domain>", "not XML"),
        (b"", "not XML"),
        (b"\x00\xff", "not XML"),
        (STATUS_FILE.read_bytes()[:-30], "not XML"),
        (b"<network><name>default</name></network>", "no <domain>"),
        (b"<domstatus><other><domain/></other></domstatus>", "no <domain>"),
        (b"<domain>" + b"<a>" * 100 + b"</a>" * 100 + b"</domain>", "deeper"),
        (b" " * (LARGEST_XML_BYTES + 1), "more than"),
    ],
)
def test_what_libvirt_never_writes_is_refused(document: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_domain_xml(document)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(document: bytes) -> None:
    for candidate in (document, b"<domain><name>" + document + b"</name></domain>"):
        try:
            parse_domain_xml(candidate)
        except ValueError:
            continue


def test_long_texts_are_cut() -> None:
    domain = parse_domain_xml(b"<domain><name>" + b"x" * 100_000 + b"</name></domain>")
    assert domain.name == "x" * 256


# --- Open vSwitch, fdinfo, qemu's command line, Neutron


def test_rows_as_nova_and_as_libvirt_write_them() -> None:
    by_nova = {"iface-id": PORT_ID, "iface-status": "active", "attached-mac": MAC, "vm-uuid": UUID}
    by_libvirt = {"iface-id": PORT_ID, "attached-mac": MAC.upper(), "vm-id": UUID}
    expected = VmIdentity(uuid=UUID, name=None, source="ovs", port_id=PORT_ID, mac=MAC)
    assert identity_from_ovs(by_nova) == identity_from_ovs(by_libvirt) == expected
    assert identity_from_ovs({}) is None
    assert identity_from_ovs({"vm-uuid": "<script>", "attached-mac": "ff"}) is None


@pytest.mark.parametrize(
    ("text", "tap"),
    [
        ("pos:\t0\nflags:\t02104002\nmnt_id:\t15\nino:\t95\niff:\ttap0\n", "tap0"),
        ("pos:\t0\nflags:\t02\n", None),
        ("iff:\t\n", None),
        ("xiff:\ttap0\n", None),
        ("", None),
    ],
)
def test_fdinfo(text: str, tap: str | None) -> None:
    assert tap_of_fdinfo(text) == tap


@pytest.mark.parametrize(
    ("words", "uuid", "name"),
    [
        (["qemu", "-name", "guest=web,debug-threads=on", "-uuid", UUID], UUID, "web"),
        (["qemu", "--name", "web", "--uuid", UUID.upper()], UUID, "web"),
        (["qemu", "-name", "debug-threads=on,guest=a,,b=c"], None, "a,b=c"),
        (["qemu", "-name", "one,,two,process=x"], None, "one,two"),
        (["qemu", "-name", "guest=a,,,debug-threads=on"], None, "a,"),
        (["qemu", "-name", "process=x"], None, None),
        (["qemu", "-uuid", "not-one", "-name"], None, None),
        (["cloud-hypervisor", "--net", "tap=tap0"], None, None),
        ([], None, None),
    ],
)
def test_qemu_s_command_line(words: list[str], uuid: str | None, name: str | None) -> None:
    cmdline = b"".join(word.encode() + b"\0" for word in words)
    assert identity_from_cmdline(cmdline, 42) == VmIdentity(uuid, name, "fdinfo", pid=42)


@given(st.binary(max_size=200))
def test_any_command_line_is_fit_for_json(cmdline: bytes) -> None:
    identity = identity_from_cmdline(b"q\0-name\0guest=" + cmdline, 1)
    msgspec.json.encode(identity)
    assert identity.name is None or len(identity.name) <= 256


def test_neutron_s_names() -> None:
    part = identity_from_neutron(TAP)
    assert part == VmIdentity(None, None, "neutron", port_id="5d7a9c1e-3f")
    for name in ("tap0", "vnet3", "tap5d7a9c1e-3", "tap5D7A9C1E-3F", "qvo5d7a9c1e-3f"):
        assert identity_from_neutron(name) is None
    assert ovs_interface_names(TAP) == (TAP, "qvo5d7a9c1e-3f")
    assert ovs_interface_names("vnet3") == ("vnet3",)
    assert taps_of_ovs_interface("qvo5d7a9c1e-3f") == ("qvo5d7a9c1e-3f", TAP)


def test_clean_values() -> None:
    assert clean_uuid(f" {UUID.upper()}\n") == UUID
    assert clean_uuid("00000000-0000-0000-0000-000000000000") is None
    assert clean_uuid("6c1f5c1e93a34d09a1a85be2a1c7d0f2") is None
    assert clean_mac("FA-16-3E-24-E7-22") == MAC
    assert clean_mac("fa:16:3e:24:e7") is None
    assert clean_text("\ud800") == "?"
    assert clean_text("  ") is None


# --- merging


def test_the_order_decides_and_later_ones_fill_the_gaps() -> None:
    ovs = VmIdentity(UUID, None, "ovs", port_id=PORT_ID, mac=MAC)
    libvirt = VmIdentity(UUID, "i-1", "libvirt", pid=7, project="p", display_name="web")
    fdinfo = VmIdentity(UUID, "other words", "fdinfo", pid=7)
    neutron = identity_from_neutron(TAP)
    assert merge_identities((ovs, libvirt, fdinfo, neutron)) == VmIdentity(
        UUID, "i-1", "ovs", PORT_ID, "p", MAC, 7, "web"
    )
    merged = merge_identities((None, None, fdinfo, neutron))
    assert (merged.source, merged.port_id) == ("fdinfo", "5d7a9c1e-3f")
    assert merge_identities((neutron, ovs)).port_id == PORT_ID


@pytest.mark.parametrize(
    "stale",
    [
        VmIdentity(OTHER_UUID, "stale", "libvirt"),
        VmIdentity(UUID, "stale", "libvirt", mac="fa:16:3e:00:00:01"),
        VmIdentity(UUID, "stale", "libvirt", port_id=OTHER_UUID),
        VmIdentity(UUID, "stale", "libvirt", pid=8),
    ],
)
def test_a_source_that_contradicts_says_nothing_at_all(stale: VmIdentity) -> None:
    ovs = VmIdentity(UUID, None, "ovs", port_id=PORT_ID, mac=MAC, pid=7)
    assert merge_identities((ovs, stale)) == ovs


def test_two_names_without_a_common_uuid_are_two_vms() -> None:
    first = VmIdentity(None, "a", "libvirt")
    assert merge_identities((first, VmIdentity(UUID, "b", "fdinfo", pid=3))) == first


def test_unknown_is_said_to_be_unknown() -> None:
    assert merge_identities(()) is UNKNOWN_VM
    assert merge_identities((None, UNKNOWN_VM)) is UNKNOWN_VM
    assert not UNKNOWN_VM.is_known
    assert msgspec.to_builtins(UNKNOWN_VM)["source"] == "unknown"


IDENTITIES = st.builds(
    VmIdentity,
    uuid=st.sampled_from([None, UUID, OTHER_UUID]),
    name=st.sampled_from([None, "a", "b"]),
    source=st.sampled_from(["ovs", "libvirt", "fdinfo", "neutron", "unknown"]),
    port_id=st.sampled_from([None, PORT_ID, PORT_ID[:11], OTHER_UUID]),
    mac=st.sampled_from([None, MAC]),
    pid=st.sampled_from([None, 1, 2]),
)


@given(st.lists(st.none() | IDENTITIES, max_size=5))
def test_the_first_known_one_is_never_contradicted(ordered: list[VmIdentity | None]) -> None:
    known = [one for one in ordered if one is not None and one.is_known]
    merged = merge_identities(ordered)
    if not known:
        assert merged is UNKNOWN_VM
        return
    for field in fields(VmIdentity):
        first, last = getattr(known[0], field.name), getattr(merged, field.name)
        if field.name == "port_id" and first is not None:
            assert last.startswith(first)
        elif first is not None:
            assert last == first
        # Nothing is made up.
        assert last in [getattr(one, field.name) for one in known]
    assert merge_identities([merged, *ordered]) == merged
