# SPDX-License-Identifier: Apache-2.0
"""Reads the status files that libvirt keeps of its running domains.

Blocking: belongs in a worker thread.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from sentinel.domain_xml import LARGEST_XML_BYTES, LibvirtDomain, parse_domain_xml
from sentinel.identity.pci_nics import port_with_nic, ports_with_nics
from sentinel.vm import VmIdentity, VmPort

log = logging.getLogger(__name__)

MOST_FILES: Final = 20_000

_Stamp = tuple[int, int, int]
_Claimed = TypeVar("_Claimed", VmIdentity, VmPort)


@dataclass(frozen=True, slots=True)
class _File:
    """A file as last read; without identities and with a problem if it was not understood."""

    stamp: _Stamp
    identities: dict[str, VmIdentity]
    problem: str | None = None
    ports: tuple[VmPort, ...] = ()


class LibvirtDomains:
    """Identities by tap name, and ports without one. A file that did not change is not read again.

    Not to be used by two threads at a time.
    """

    def __init__(
        self, directory: Path, proc_root: Path, pci_root: Path = Path("/sys/bus/pci/devices")
    ) -> None:
        self.problem: str | None = None
        """Why the directory or one of its files cannot be used; None where all is well."""
        self._directory = directory
        self._proc_root = proc_root
        self._pci_root = pci_root
        self._files: dict[str, _File] = {}
        self._seen: _Stamp | None = None
        self._is_settled = False

    def has_changed(self) -> bool:
        """Whether files came, went or were replaced since last asked; costs one system call.

        True once more the time after, for what comes within the same tick of the
        kernel's clock leaves the directory's time as it is. libvirt replaces files
        and never writes into one.
        """
        try:
            status = self._directory.stat()
            seen: _Stamp | None = (status.st_mtime_ns, status.st_ino, status.st_dev)
        except OSError:
            seen = None
        is_other, self._seen = seen != self._seen, seen
        is_changed = is_other or not self._is_settled
        self._is_settled = not is_other
        return is_changed

    def ports(self) -> list[VmPort]:
        """Ways to the network that no tap shows, as of the last `read`."""
        claims: dict[tuple[str, str], list[tuple[int, VmPort]]] = {}
        for file in self._files.values():
            for port in file.ports:
                claims.setdefault(port.key, []).append((file.stamp[0], port))
        return [self._believed(claimed) for claimed in claims.values()]

    def read(self) -> dict[str, VmIdentity]:
        """All taps that libvirt knows of now; empty where there is no libvirt."""
        names, problem = self._names()
        files = {name: file for name in names if (file := self._read_file(name)) is not None}
        self._files = files
        self._say(next((file.problem for file in files.values() if file.problem), problem))
        claims: dict[str, list[tuple[int, VmIdentity]]] = {}
        for file in files.values():
            for tap, identity in file.identities.items():
                claims.setdefault(tap, []).append((file.stamp[0], identity))
        return {tap: self._believed(claimed) for tap, claimed in claims.items()}

    def _believed(self, claimed: Sequence[tuple[int, _Claimed]]) -> _Claimed:
        # A file that libvirt left behind may name a port that is another VM's by now:
        # the VM that runs has it, or else the one that was written last.
        if len(claimed) == 1:
            return claimed[0][1]
        return max(claimed, key=lambda claim: (self._runs(claim[1]), claim[0]))[1]

    def _runs(self, claim: VmIdentity | VmPort) -> bool:
        identity = claim.vm if isinstance(claim, VmPort) else claim
        return identity.pid is not None and (self._proc_root / str(identity.pid)).exists()

    def _names(self) -> tuple[list[str], str | None]:
        try:
            with os.scandir(self._directory) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".xml"))
        except FileNotFoundError:
            return [], None
        except OSError as problem:
            return [], f"{self._directory}: {problem.strerror}"
        if len(names) > MOST_FILES:
            return names[:MOST_FILES], f"{self._directory}: more than {MOST_FILES} files"
        return names, None

    def _read_file(self, name: str) -> _File | None:
        path = self._directory / name
        try:
            # No links out of the directory, and no pipe that would make us wait.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as problem:
            return _File((0, 0, 0), {}, f"{path}: {problem.strerror}")
        try:
            return self._read_open(name, path, fd)
        finally:
            os.close(fd)

    def _read_open(self, name: str, path: Path, fd: int) -> _File:
        status = os.fstat(fd)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._files.get(name)
        if known is not None and known.stamp == stamp:
            return known
        if not stat.S_ISREG(status.st_mode):
            return _File(stamp, {}, f"{path}: no regular file")
        try:
            with os.fdopen(fd, "rb", closefd=False) as file:
                domain = parse_domain_xml(file.read(LARGEST_XML_BYTES + 1))
        except (OSError, ValueError) as problem:
            return _File(stamp, {}, f"{path}: {problem}")
        identities = {one.tap: domain.identity_of(one) for one in domain.interfaces}
        return _File(stamp, identities, ports=self._ports_of(domain))

    def _ports_of(self, domain: LibvirtDomain) -> tuple[VmPort, ...]:
        # What libvirt calls an interface is one, whatever /sys says or keeps to itself.
        interfaces = (port_with_nic(self._pci_root, port) or port for port in domain.ports)
        devices = (VmPort("vf", domain.vm, source=address) for address in domain.pci_devices)
        return (*interfaces, *ports_with_nics(self._pci_root, devices))

    def _say(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            log.warning("libvirt's %s; what it says of VMs is not known", problem)
        self.problem = problem
