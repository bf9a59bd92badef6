# SPDX-License-Identifier: Apache-2.0
"""Bytes of maps and of the ring into records, and records into bytes.

Pure, and the only reader of `sentinel.abi`'s layouts beside the loader. A ring
record carries bytes that a guest wrote: lengths are clamped, nothing is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sentinel import abi
from sentinel.decode_counters import (
    BPDU_KINDS,
    CHECKS,
    COUNTER_WORDS,
    DHCP6_TYPES,
    DHCP_TYPES,
    DROPS,
    NO_COUNTERS,
    Counters,
    decode_counters,
    message_name,
    name_of,
)

__all__ = [
    "ACTIONS",
    "BPDU_KINDS",
    "CHECKS",
    "COUNTER_WORDS",
    "DHCP6_TYPES",
    "DHCP_TYPES",
    "DROPS",
    "NO_COUNTERS",
    "ROLES",
    "VERDICTS",
    "CheckSetting",
    "Counters",
    "Cut",
    "KernelConfig",
    "KernelEvent",
    "Order",
    "PortSlot",
    "Talk",
    "check_bits",
    "decode_counters",
    "decode_cut",
    "decode_event",
    "decode_order",
    "decode_port",
    "decode_ports",
    "decode_talk",
    "frame_on_wire",
    "latch_cause",
    "latch_value",
]

VERDICTS: Final = ("passed", "dropped", "latched", "fused")
ACTIONS: Final = ("count", "drop", "quarantine")
ROLES: Final = ("free", "port", "uplink")


@dataclass(frozen=True, slots=True)
class PortSlot:
    """One slot of the port map; `latch` 0 is open."""

    slot: int
    ifindex: int
    latch: int
    latched_at_ns: int
    role: int
    mtu_bytes: int
    trusted_checks: int
    sent_ns: int = 0
    """When it last sent more than ARP, neighbour discovery or DHCP; 0: never."""
    received_ns: int = 0

    @property
    def cause(self) -> str | None:
        """The check that shut it, "order", or None while it is open."""
        return latch_cause(self.latch)


def latch_cause(latch: int) -> str | None:
    """What a latch value stands for: a check's name, "order", None for open."""
    if latch == abi.TAP_LATCH_OPEN:
        return None
    if latch == abi.TAP_LATCH_ORDER:
        return "order"
    return name_of(CHECKS, latch - abi.TAP_LATCH_CHECK)


def latch_value(cause: str) -> int:
    """The latch of a cause as `latch_cause` names it; ValueError for another word."""
    if cause == "order":
        return abi.TAP_LATCH_ORDER
    return abi.TAP_LATCH_CHECK + CHECKS.index(cause)


def check_bits(checks: frozenset[str]) -> int:
    """A bit per check, as tap_port.trusted_checks holds them."""
    return sum(1 << index for index, name in enumerate(CHECKS) if name in checks)


def decode_ports(memory: bytes) -> list[PortSlot]:
    """The slots in use, of the whole port map."""
    found = []
    for slot, fields in enumerate(abi.TAP_PORT.iter_unpack(memory)):
        if fields[0]:
            found.append(_slot(slot, fields))
    return found


def decode_port(slot: int, value: bytes) -> PortSlot:
    """One slot, in use or not."""
    return _slot(slot, abi.TAP_PORT.unpack(value))


def _slot(slot: int, fields: tuple[int, ...]) -> PortSlot:
    (
        ifindex, latch, latched_at_ns, role, mtu_bytes, trusted, _reserved, sent_ns, received_ns,
    ) = fields[:9]  # fmt: skip
    return PortSlot(
        slot, ifindex, latch, latched_at_ns, role, mtu_bytes, trusted, sent_ns, received_ns
    )


@dataclass(frozen=True, slots=True)
class Talk:
    """What a slot keeps about DHCP beside its counters. Times are CLOCK_MONOTONIC."""

    missed: int
    """Messages that the port's leases depend on and that were never told, so far."""
    quiet_sent_ns: int
    """When it last sent ARP, neighbour discovery or DHCP; 0: never."""
    quiet_received_ns: int


def decode_talk(value: bytes) -> Talk:
    """From a tap_talk."""
    *_windows, missed, _reserved, sent_ns, received_ns, _tick, _tick = abi.TAP_TALK.unpack(value)
    return Talk(missed, sent_ns, received_ns)


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """One ring record. `head` are the frame's first bytes as they were on the wire."""

    time_ns: int
    """CLOCK_MONOTONIC."""
    ifindex: int
    offender_ifindex: int
    frame_bytes: int
    wire_bytes: int
    check: str
    kind: str
    direction: int
    role: str
    verdict: str
    tags: int
    head: bytes

    @property
    def source_mac(self) -> str | None:
        """Who sent the frame, as the frame says; None for a runt."""
        return self.head[6:12].hex(":") if len(self.head) >= 12 else None


def _kind(check: str, kind: int) -> str:
    if check == "bpdu":
        return name_of(BPDU_KINDS, kind)
    if check in ("rogue_dhcp", "dhcp_flood"):
        return message_name(kind)
    return f"{kind} tag" if kind == 1 else f"{kind} tags"


def decode_event(record: bytes) -> KernelEvent:
    """A ring record; ValueError if it is too short to be one."""
    if len(record) < abi.TAP_EVENT.size:
        raise ValueError(f"a ring record of {len(record)} bytes; {abi.TAP_EVENT.size} are one")
    (
        time_ns, ifindex, offender_ifindex, frame_bytes, wire_bytes,
        check_index, kind, direction, role, verdict, tags, head_bytes,
        outer_tpid, outer_tci, _reserved, head,
    ) = abi.TAP_EVENT.unpack_from(record)  # fmt: skip
    check = name_of(CHECKS, check_index)
    return KernelEvent(
        time_ns=time_ns,
        ifindex=ifindex,
        offender_ifindex=offender_ifindex,
        frame_bytes=frame_bytes,
        wire_bytes=wire_bytes,
        check=check,
        kind=_kind(check, kind),
        direction=direction,
        role=name_of(ROLES, role),
        verdict=name_of(VERDICTS, verdict),
        tags=tags,
        head=frame_on_wire(head[: min(head_bytes, abi.TAP_HEAD_BYTES)], outer_tpid, outer_tci),
    )


def frame_on_wire(frame: bytes, outer_tpid: int, outer_tci: int) -> bytes:
    """A frame with the tag that the kernel keeps in metadata back in its place.

    `outer_tpid` is a __be16 as unpacked; 0: there was no such tag.
    """
    if not outer_tpid or len(frame) < 12:
        return frame
    # Read as a host number, its bytes are in wire order already.
    tag = outer_tpid.to_bytes(2, "little") + outer_tci.to_bytes(2, "big")
    return frame[:12] + tag + frame[12:]


@dataclass(frozen=True, slots=True)
class Cut:
    """Who cut a port and for how long, as it stands beside the latch. hold_ns 0: no end."""

    latch: int
    ifindex: int
    uid: int
    relapses: int
    since_wall_ns: int
    hold_ns: int
    reason: str

    def encode(self) -> bytes:
        """As tap_cut; the reason is cut at TAP_REASON_BYTES."""
        return abi.TAP_CUT.pack(
            self.latch, self.ifindex, self.uid, self.relapses, self.since_wall_ns,
            self.hold_ns, _text(self.reason, abi.TAP_REASON_BYTES),
        )  # fmt: skip


def decode_cut(value: bytes) -> Cut:
    """From a tap_cut."""
    latch, ifindex, uid, relapses, since_wall_ns, hold_ns, reason = abi.TAP_CUT.unpack(value)
    return Cut(latch, ifindex, uid, relapses, since_wall_ns, hold_ns, _untext(reason))


@dataclass(frozen=True, slots=True)
class Order:
    """An order carried out while no daemon ran. hold_ns 0: until released."""

    kind: int
    ifindex: int
    uid: int
    changed: bool
    at_wall_ns: int
    hold_ns: int
    name: str
    reason: str

    def encode(self) -> bytes:
        """As tap_order."""
        return abi.TAP_ORDER.pack(
            self.kind, self.ifindex, self.uid, int(self.changed), self.at_wall_ns, self.hold_ns,
            _text(self.name, abi.TAP_NAME_BYTES), _text(self.reason, abi.TAP_REASON_BYTES),
        )  # fmt: skip


def decode_order(value: bytes) -> Order:
    """From a tap_order."""
    kind, ifindex, uid, changed, at_wall_ns, hold_ns, name, reason = abi.TAP_ORDER.unpack(value)
    return Order(
        kind, ifindex, uid, bool(changed), at_wall_ns, hold_ns, _untext(name), _untext(reason)
    )


def _text(text: str, size: int) -> bytes:
    """UTF-8 that fits, never ending inside a character."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


def _untext(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class CheckSetting:
    """One check as the kernel gets it."""

    action: str
    threshold: int
    window_ns: int
    """Rounded up to the kernel's ticks."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """All that the programs are told: the checks in the order of CHECKS, and the bounds."""

    checks: tuple[CheckSetting, ...]
    host_bpdu_action: str
    events_per_window: int
    event_window_ns: int
    max_quarantined: int
    messages_per_window: int = 20
    """DHCP messages told of one port and direction in an event window."""

    def encode(self, tick_ns: int) -> bytes:
        """As tap_config; `tick_ns` is how long the kernel's jiffy is."""
        checks = b"".join(
            abi.TAP_CHECK_POLICY.pack(
                ACTIONS.index(c.action), c.threshold, _ticks(c.window_ns, tick_ns)
            )
            for c in self.checks
        )
        return abi.TAP_CONFIG.pack(
            checks, ACTIONS.index(self.host_bpdu_action), self.events_per_window,
            _ticks(self.event_window_ns, tick_ns), self.max_quarantined,
            self.messages_per_window,
        )  # fmt: skip


def _ticks(duration_ns: int, tick_ns: int) -> int:
    return -(-duration_ns // tick_ns)
