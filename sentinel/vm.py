# SPDX-License-Identifier: Apache-2.0
"""Which virtual machine a port belongs to, and how sources tell it.

Every text here is untrusted: readers return None or raise ValueError, keep
lengths bounded and never let a value through that is not what it should be.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

Source = Literal["ovs", "libvirt", "fdinfo", "neutron", "unknown"]

LONGEST_TEXT_CHARS: Final = 256
NEUTRON_ID_CHARS: Final = 11

_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NEUTRON_TAP: Final = re.compile(r"tap([0-9a-f]{8}-[0-9a-f]{2})")
_NIL_UUID: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class VmIdentity:
    """Whose port it is. What is not known is None; all unknown: `UNKNOWN_VM`.

    `name` is the hypervisor's (`virsh list`), which no tenant chooses;
    `display_name` is Nova's, which a tenant does: show it, decide nothing by it.
    `port_id` is Neutron's, from source "neutron" only its first 11 characters.
    `mac` is the guest's own as the host assigned it, `pid` the VMM's.
    """

    uuid: str | None
    name: str | None
    source: Source
    port_id: str | None = None
    project: str | None = None
    mac: str | None = None
    pid: int | None = None
    display_name: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether any source said anything."""
        return self.source != "unknown"


UNKNOWN_VM: Final = VmIdentity(uuid=None, name=None, source="unknown")


def clean_uuid(text: str | None) -> str | None:
    """Lower-case canonical form (RFC 9562 §4), or None if it is no UUID or all zero."""
    lowered = (text or "").strip().lower()
    return lowered if _UUID.fullmatch(lowered) and lowered != _NIL_UUID else None


def clean_mac(text: str | None) -> str | None:
    """Lower-case `aa:bb:cc:dd:ee:ff`, or None."""
    lowered = (text or "").strip().lower().replace("-", ":")
    return lowered if _MAC.fullmatch(lowered) else None


def clean_text(text: str | None) -> str | None:
    """At most 256 characters that JSON can carry; control characters stay as they are."""
    kept = (text or "").strip()[:LONGEST_TEXT_CHARS]
    return kept.encode("utf-8", "replace").decode("utf-8") or None


def merge_identities(ordered: Iterable[VmIdentity | None]) -> VmIdentity:
    """First known identity, its gaps filled from later ones that mean the same VM.

    A source that contradicts in any field is disregarded as a whole: it speaks
    of another VM (a stale file, a name used again).
    """
    merged = UNKNOWN_VM
    for identity in ordered:
        if identity is None or not identity.is_known:
            continue
        if not merged.is_known:
            merged = identity
        elif not _contradict(merged, identity):
            merged = _filled(merged, identity)
    return merged


def _contradict(known: VmIdentity, other: VmIdentity) -> bool:
    def differ(left: object, right: object) -> bool:
        return left is not None and right is not None and left != right

    same_vm = known.uuid is not None and known.uuid == other.uuid
    return (
        differ(known.uuid, other.uuid)
        or differ(known.mac, other.mac)
        or differ(known.pid, other.pid)
        or (not same_vm and differ(known.name, other.name))
        or not _same_port(known.port_id, other.port_id)
    )


def _same_port(left: str | None, right: str | None) -> bool:
    if left is None or right is None:
        return True
    return left.startswith(right) or right.startswith(left)


def _filled(known: VmIdentity, other: VmIdentity) -> VmIdentity:
    # Neutron's name holds a part of the id: the longer one says more.
    port_ids = [port_id for port_id in (known.port_id, other.port_id) if port_id is not None]
    return replace(
        known,
        uuid=known.uuid or other.uuid,
        name=known.name or other.name,
        port_id=max(port_ids, key=len, default=None),
        project=known.project or other.project,
        mac=known.mac or other.mac,
        pid=known.pid or other.pid,
        display_name=known.display_name or other.display_name,
    )


def identity_from_neutron(tap: str) -> VmIdentity | None:
    """What a name of Neutron's making tells: `tap` and the port id's first 11 characters."""
    match = _NEUTRON_TAP.fullmatch(tap)
    if match is None:
        return None
    return VmIdentity(uuid=None, name=None, source="neutron", port_id=match[1])


def ovs_interface_names(tap: str) -> tuple[str, ...]:
    """Names that the tap's Open vSwitch interface may have.

    With Neutron's hybrid plug the tap is on a Linux bridge of its own and a
    veth, `qvo` and the same 11 characters, is what Open vSwitch knows.
    """
    match = _NEUTRON_TAP.fullmatch(tap)
    return (tap,) if match is None else (tap, f"qvo{match[1]}")


def taps_of_ovs_interface(name: str) -> tuple[str, ...]:
    """Names that a tap behind this Open vSwitch interface may have."""
    return (name, f"tap{name[3:]}") if name.startswith("qvo") else (name,)


def identity_from_ovs(external_ids: Mapping[str, str]) -> VmIdentity | None:
    """Identity in an Interface row; keys as Nova (`vm-uuid`) or libvirt (`vm-id`) write them."""
    identity = VmIdentity(
        uuid=clean_uuid(external_ids.get("vm-uuid")) or clean_uuid(external_ids.get("vm-id")),
        name=None,
        source="ovs",
        port_id=clean_uuid(external_ids.get("iface-id")),
        mac=clean_mac(external_ids.get("attached-mac")),
    )
    return identity if identity.uuid or identity.port_id or identity.mac else None


def tap_of_fdinfo(text: str) -> str | None:
    """Name in the `iff:` line of a tun descriptor's fdinfo; None where there is no device yet."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key == "iff":
            return value.strip() or None
    return None


def identity_from_cmdline(cmdline: bytes, pid: int) -> VmIdentity:
    """Identity of the process that holds a tap: qemu's `-uuid` and `-name`, else only the pid."""
    words = [word.decode("utf-8", "replace") for word in cmdline.split(b"\0")]
    uuid = name = None
    for option, value in itertools.pairwise(words):
        # qemu takes one dash or two.
        match option:
            case "-uuid" | "--uuid":
                uuid = clean_uuid(value)
            case "-name" | "--name":
                name = clean_text(_guest_name(value))
    return VmIdentity(uuid=uuid, name=name, source="fdinfo", pid=pid)


def _guest_name(value: str) -> str | None:
    """Read `-name guest=X,…` or `-name X,…`; a comma in X is written twice."""
    for position, option in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, rest = option.partition("=")
        if equals and key == "guest":
            return rest.replace("\0", ",")
        if position == 0 and not equals:
            return option.replace("\0", ",")
    return None


PortKind = Literal["vhost-user", "vf", "nic", "macvtap"]
"""A socket shared with a switch in user space; a virtual function, or a whole NIC, of the
guest's own; a tap on a device of the host that passes every bridge by."""


@dataclass(frozen=True, slots=True)
class VmPort:
    """A VM's way to the network that is no tap, as libvirt or the VMM's command line tells it."""

    kind: PortKind
    vm: VmIdentity
    name: str = ""
    """Of the host side, where it has one: the macvtap, Open vSwitch's interface."""
    source: str = ""
    """What it is made of: a socket's path, a PCI address, the device below a macvtap."""
    parent: str = ""
    """The NIC that a virtual function belongs to."""

    @property
    def key(self) -> tuple[str, str]:
        """What two sources that mean the same port agree on."""
        return self.kind, self.name if self.kind == "macvtap" else self.source or self.name
