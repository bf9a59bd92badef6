# SPDX-License-Identifier: Apache-2.0
"""From a kernel record to a finding: which cause, at which port, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sentinel import abi
from sentinel.decode import KernelEvent
from sentinel.inventory import Device
from sentinel.vm import UNKNOWN_VM, VmIdentity

_BPDU_WORDS: Final = {
    "stp": "spanning tree (STP)",
    "rstp": "rapid spanning tree (RSTP)",
    "mstp": "multiple spanning tree (MSTP)",
    "pvst": "per-VLAN spanning tree (PVST+)",
    "other": "spanning tree of an unknown kind",
}

_DHCP_REPLIES: Final = ("offer", "ack", "nak")
_DHCPV6: Final = "dhcpv6 "

_OUTCOMES: Final = {
    "passed": "passed, as the check only counts",
    "dropped": "dropped in the kernel",
    "latched": "dropped in the kernel, and the port cut with it",
    "fused": "dropped in the kernel; the fuse kept the port from being cut",
}

Key = tuple[int, int, str]
"""(ifindex that saw it, ifindex it came from, check): one incident at a time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause at one port. `seen_at` is the device whose counters tell how often."""

    key: Key
    check: str
    detail: str
    port: str
    ifindex: int
    vm: VmIdentity
    mac: str | None
    verdict: str
    frame_hex: str
    summary: str
    uplink: bool
    direction: int
    place: str = ""
    """The device that saw it; "": not known any more."""
    sight: str = ""
    """What was seen there, in a few words: a line of the incident's evidence."""


def find(record: KernelEvent, devices: Mapping[int, Device]) -> Finding | None:
    """What a record says; None if another record says it better, or its device is gone.

    A BPDU that a watched port lets pass is seen again at the uplink: one cause,
    so only the port's own record counts.
    """
    seen_at = devices.get(record.ifindex)
    if seen_at is None:
        return None
    offender = devices.get(record.offender_ifindex)
    at_uplink = record.role == "uplink"
    if at_uplink and offender is not None and record.verdict == "passed":
        return None
    port = offender or seen_at
    return Finding(
        key=(record.ifindex, record.offender_ifindex, record.check),
        check=record.check,
        detail=record.kind,
        port=port.name,
        ifindex=port.ifindex,
        vm=port.vm if port.role == "port" else UNKNOWN_VM,
        mac=record.source_mac,
        verdict=record.verdict,
        frame_hex=record.head.hex(),
        summary=_summary(record, seen_at, offender),
        uplink=at_uplink,
        direction=abi.TAP_OUT if at_uplink else abi.TAP_IN,
        place=seen_at.name,
        sight=_sight(record),
    )


def whose(vm: VmIdentity) -> str:
    """A VM in a sentence."""
    if vm.name and vm.uuid:
        return f"VM {vm.name} ({vm.uuid})"
    if vm.name or vm.uuid:
        return f"VM {vm.name or vm.uuid}"
    if vm.port_id:
        return f"an unknown VM (Neutron port {vm.port_id}…)"
    return "an unknown VM"


def _summary(record: KernelEvent, seen_at: Device, offender: Device | None) -> str:
    mac = record.source_mac or "no MAC"
    outcome = _OUTCOMES.get(record.verdict, record.verdict)
    if record.role != "uplink":
        return f"{seen_at.name}: {whose(seen_at.vm)} sent {_what(record)}, source {mac}; {outcome}"
    if record.offender_ifindex == 0:
        return f"{seen_at.name}: the host itself sent {_what(record)}, source {mac}; {outcome}"
    if offender is not None:
        return (
            f"{offender.name}: {whose(offender.vm)} sent {_what(record)}, source {mac}; "
            f"its own program did not stop it, the uplink {seen_at.name} did: {outcome}"
        )
    return (
        f"{seen_at.name}: device {record.offender_ifindex}, which is not watched, sent "
        f"{_what(record)}, source {mac}; {outcome} before the wire"
    )


def _sight(record: KernelEvent) -> str:
    outcome = _OUTCOMES.get(record.verdict, record.verdict)
    return f"{_thing(record)} from {record.source_mac or 'no MAC'}: {outcome}"


def _what(record: KernelEvent) -> str:
    if record.check == "rogue_dhcp":
        return f"a {_thing(record)}, which only a server sends"
    if record.check == "dhcp_flood":
        return f"more DHCP messages than the check allows, here a {_thing(record)}"
    more = ", more than its path carries" if record.check == "size" else ""
    return f"a {_thing(record)}{more}"


def _thing(record: KernelEvent) -> str:
    if record.check == "bpdu":
        behind = f" behind {_tags(record.tags)}" if record.tags else ""
        return f"BPDU of {_BPDU_WORDS.get(record.kind, record.kind)}{behind}"
    if record.check == "vlan":
        return f"frame with {_tags(record.tags)}"
    if record.check == "size":
        return f"frame of {record.wire_bytes} bytes"
    return _dhcp_name(record.kind, record.check == "rogue_dhcp")


def _dhcp_name(kind: str, is_reply: bool) -> str:
    """A message as its RFC writes it (RFC 2131 section 2, RFC 8415 section 7.3)."""
    if kind.startswith(_DHCPV6):
        name = kind.removeprefix(_DHCPV6).replace("_", "-")
        if name == "other" or name.startswith("unknown"):
            return "DHCPv6 message of an unknown type"
        return f"DHCPv6 {name.capitalize()}"
    if kind == "other" or kind.startswith("unknown"):
        # BOOTP of old has no types (RFC 951), and a type may be anything.
        return "BOOTP reply without a DHCP type" if is_reply else "DHCP message of an unknown type"
    if is_reply and kind not in _DHCP_REPLIES:
        return f"BOOTP reply that calls itself DHCP{kind.upper()}"
    return f"DHCP{kind.upper()}"


def _tags(count: int) -> str:
    return f"{count} VLAN {'tag' if count == 1 else 'tags'}"
