# SPDX-License-Identifier: Apache-2.0
"""Reads the XML that libvirt keeps of a running domain: who it is, how it reaches the network.

Every text here is untrusted: see sentinel/vm.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from xml.parsers import expat

from sentinel.pci import pci_address
from sentinel.vm import (
    LONGEST_TEXT_CHARS,
    PortKind,
    VmIdentity,
    VmPort,
    clean_mac,
    clean_text,
    clean_uuid,
    identity_from_neutron,
)

LARGEST_XML_BYTES: Final = 4 << 20
DEEPEST_XML: Final = 64
MOST_PORTS: Final = 256
_NOVA_XMLNS: Final = "http://openstack.org/xmlns/libvirt/nova/"
_PORT_KINDS: Final[Mapping[str, PortKind]] = {
    "vhostuser": "vhost-user",
    "hostdev": "vf",
    "direct": "macvtap",
}
"""Of `<interface type=…>`: those that no tap shows."""


@dataclass(frozen=True, slots=True)
class LibvirtInterface:
    """One `<interface>`; `tap` is its host side's name."""

    tap: str
    mac: str | None
    port_id: str | None


@dataclass(frozen=True, slots=True)
class LibvirtDomain:
    """A running domain as libvirt's status file tells it."""

    uuid: str | None
    name: str | None
    pid: int | None
    display_name: str | None
    project: str | None
    interfaces: tuple[LibvirtInterface, ...]
    ports: tuple[VmPort, ...] = ()
    """Its ways to the network that are no taps."""
    pci_devices: tuple[str, ...] = ()
    """Addresses of `<hostdev>`s, which may be anything from a NIC to a graphics card."""

    @property
    def vm(self) -> VmIdentity:
        """Whose they are, apart from what differs from port to port."""
        return self.identity_of(LibvirtInterface("", None, None))

    def identity_of(self, interface: LibvirtInterface) -> VmIdentity:
        """Identity of the port behind one of the interfaces."""
        return VmIdentity(
            uuid=self.uuid,
            name=self.name,
            source="libvirt",
            port_id=interface.port_id,
            project=self.project,
            mac=interface.mac,
            pid=self.pid,
            display_name=self.display_name,
        )


def parse_domain_xml(document: bytes) -> LibvirtDomain:
    """Read a live domain: `<domstatus>` around a `<domain>`, or a bare `<domain>`.

    Raises ValueError for anything else, for a document type declaration
    (libvirt writes none, and only one could define entities that grow), and
    for what is too large or too deep.
    """
    if len(document) > LARGEST_XML_BYTES:
        raise ValueError(f"more than {LARGEST_XML_BYTES} bytes")
    reader = _DomainReader()
    try:
        reader.parser.Parse(document, True)
    except expat.ExpatError as problem:
        raise ValueError(f"not XML: {problem}") from None
    return reader.domain()


class _DomainReader:
    """Collects the few wanted texts and attributes while expat walks the document."""

    _TEXTS: Final = frozenset(
        {
            "name",
            "uuid",
            "metadata/nova:instance/nova:name",
            "metadata/nova:instance/nova:owner/nova:project",
        }
    )

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self._path: list[str] = []
        self._texts: dict[str, str] = {}
        self._seen_domain = False
        self._pid: int | None = None
        self._project_id: str | None = None
        self._port_ids: list[str] = []
        self._interface: dict[str, str | None] = {}
        self._interfaces: list[dict[str, str | None]] = []
        self._pci_devices: list[str] = []

    def domain(self) -> LibvirtDomain:
        if not self._seen_domain:
            raise ValueError("holds no <domain>")
        domain = LibvirtDomain(
            uuid=clean_uuid(self._texts.get("uuid")),
            name=clean_text(self._texts.get("name")),
            pid=self._pid,
            display_name=clean_text(self._texts.get("metadata/nova:instance/nova:name")),
            project=clean_text(self._texts.get("metadata/nova:instance/nova:owner/nova:project"))
            or self._project_id,
            interfaces=tuple(
                LibvirtInterface(tap, clean_mac(found.get("mac")), self._port_id(tap, found))
                for found in self._interfaces
                if (tap := clean_text(found.get("tap")))
            ),
            pci_devices=tuple(self._pci_devices[:MOST_PORTS]),
        )
        ports = (self._port(domain, found) for found in self._interfaces[:MOST_PORTS])
        return replace(domain, ports=tuple(port for port in ports if port is not None))

    def _port(self, domain: LibvirtDomain, found: Mapping[str, str | None]) -> VmPort | None:
        kind = _PORT_KINDS.get(found.get("type") or "")
        if kind is None:
            return None
        name = clean_text(found.get("tap")) or ""
        source = clean_text(found.get("source")) or ""
        if not (name if kind == "macvtap" else source or name):
            return None
        interface = LibvirtInterface(
            name, clean_mac(found.get("mac")), clean_uuid(found.get("port_id"))
        )
        return VmPort(kind, domain.identity_of(interface), name, source)

    def _port_id(self, tap: str, found: Mapping[str, str | None]) -> str | None:
        by_ovs = clean_uuid(found.get("port_id"))
        part = identity_from_neutron(tap)
        if by_ovs or part is None or part.port_id is None:
            return by_ovs
        matching = [one for one in self._port_ids if one.startswith(part.port_id)]
        return matching[0] if len(matching) == 1 else None

    def _where(self) -> str | None:
        """Path below the domain; None outside of it."""
        below = self._path[1:] if self._path[:1] == ["domstatus"] else self._path
        return "/".join(below[1:]) if below[:1] == ["domain"] else None

    def _doctype(self, *_: object) -> None:
        raise ValueError("has a document type declaration, which libvirt never writes")

    def _start(self, qualified: str, attributes: dict[str, str]) -> None:
        namespace, _, local = qualified.rpartition(" ")
        self._path.append(f"nova:{local}" if namespace.startswith(_NOVA_XMLNS) else local)
        if len(self._path) > DEEPEST_XML:
            raise ValueError(f"nested deeper than {DEEPEST_XML}")
        if self._path == ["domstatus"]:
            pid = attributes.get("pid", "")
            self._pid = int(pid) if re.fullmatch(r"[1-9][0-9]{0,9}", pid) else None
        where = self._where()
        if where is None:
            return
        self._seen_domain = True
        if where in self._TEXTS:
            self._texts[where] = ""
        match where:
            case "devices/interface":
                self._interface = {"type": attributes.get("type")}
            case "devices/interface/actual":
                # Of type "network": what libvirt made of it.
                self._interface["type"] = attributes.get("type")
            case "devices/interface/source" | "devices/interface/actual/source":
                self._interface["source"] = attributes.get("path") or attributes.get("dev")
            case "devices/interface/source/address" | "devices/interface/actual/source/address":
                self._interface["source"] = _address(attributes)
            case "devices/hostdev/source/address":
                address = _address(attributes)
                self._pci_devices += [address] if address else []
            case "devices/interface/target":
                self._interface["tap"] = attributes.get("dev")
            case "devices/interface/mac":
                self._interface["mac"] = attributes.get("address")
            case "devices/interface/virtualport/parameters":
                self._interface["port_id"] = attributes.get("interfaceid")
            case "metadata/nova:instance/nova:owner/nova:project":
                self._project_id = clean_text(attributes.get("uuid"))
            case "metadata/nova:instance/nova:ports/nova:port":
                port_id = clean_uuid(attributes.get("uuid"))
                self._port_ids += [port_id] if port_id else []

    def _end(self, _: str) -> None:
        if self._where() == "devices/interface":
            self._interfaces.append(self._interface)
        self._path.pop()

    def _characters(self, text: str) -> None:
        where = self._where()
        if where in self._TEXTS and len(self._texts[where]) < LONGEST_TEXT_CHARS:
            self._texts[where] += text


def _address(attributes: Mapping[str, str]) -> str | None:
    """Of a device on the host's PCI bus; None for USB, SCSI and other buses."""
    parts = [attributes.get(part, "") for part in ("domain", "bus", "slot", "function")]
    if not all(re.fullmatch(r"0x[0-9a-f]{1,8}", part) for part in parts):
        return None
    domain, bus, slot, function = (part[2:] for part in parts)
    return pci_address(
        f"{domain.rjust(4, '0')}:{bus.rjust(2, '0')}:{slot.rjust(2, '0')}.{function}"
    )
