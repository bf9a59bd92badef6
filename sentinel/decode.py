# SPDX-License-Identifier: Apache-2.0
"""Bytes of maps and of the ring into records, and records into bytes.

Pure, and the only reader of `sentinel.abi`'s layouts beside the loader. A ring
record carries bytes that a guest wrote: lengths are clamped, nothing is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sentinel import abi

CHECKS: Final = ("bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood")
BPDU_KINDS: Final = ("stp", "rstp", "mstp", "pvst", "other")
DHCP_TYPES: Final = (
    "other", "discover", "offer", "request", "decline", "ack", "nak", "release", "inform",
)  # fmt: skip
DROPS: Final = (*CHECKS, "quarantine")
_BPDU_KEYS: Final = (*BPDU_KINDS, "total")
_DHCP_KEYS: Final = (*DHCP_TYPES[1:], "other", "total")
_DROP_KEYS: Final = (*DROPS, "total")
VERDICTS: Final = ("passed", "dropped", "latched", "fused")
ACTIONS: Final = ("count", "drop", "quarantine")
ROLES: Final = ("free", "port", "uplink")

if (len(CHECKS), len(BPDU_KINDS), len(DHCP_TYPES), len(DROPS)) != (
    abi.TAP_CHECKS, abi.TAP_BPDU_KINDS, abi.TAP_DHCP_TYPES, abi.TAP_DROPS,
):  # fmt: skip
    raise ImportError("sentinel/decode.py does not name every kind of sentinel/abi.py")

COUNTER_WORDS: Final = abi.TAP_COUNTERS.size // 8
_AT_BPDU: Final = abi.TAP_COUNTERS__BPDU // 8
_AT_BPDU_HOST: Final = abi.TAP_COUNTERS__BPDU_HOST // 8
_AT_DHCP: Final = abi.TAP_COUNTERS__DHCP // 8
_AT_DROPPED: Final = abi.TAP_COUNTERS__DROPPED // 8
_AT_EVENTS: Final = abi.TAP_COUNTERS__EVENTS_TOLD // 8


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"unknown-{index}"


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
    return _name(CHECKS, latch - abi.TAP_LATCH_CHECK)


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
        ifindex, latch, latched_at_ns, role, mtu_bytes, trusted = fields[:6]
        if ifindex:
            found.append(PortSlot(slot, ifindex, latch, latched_at_ns, role, mtu_bytes, trusted))
    return found


def decode_port(slot: int, value: bytes) -> PortSlot:
    """One slot, in use or not."""
    ifindex, latch, latched_at_ns, role, mtu_bytes, trusted = abi.TAP_PORT.unpack(value)[:6]
    return PortSlot(slot, ifindex, latch, latched_at_ns, role, mtu_bytes, trusted)


@dataclass(frozen=True, slots=True)
class Counters:
    """One direction of one device, summed over CPUs; tuples by kind as named above."""

    frames: int
    bytes: int
    oversized: int
    oversized_by_tags: int
    vlan_tagged: int
    vlan_nested: int
    bpdu: tuple[int, ...]
    bpdu_host: int
    dhcp: tuple[int, ...]
    dropped: tuple[int, ...]
    events_told: int
    events_suppressed: int
    events_lost: int

    def offences(self, check: str) -> int:
        """Frames so far that a check is about."""
        if check == "bpdu":
            return sum(self.bpdu)
        if check == "vlan":
            return self.vlan_nested
        if check == "size":
            return self.oversized
        if check == "rogue_dhcp":
            return sum(
                self.dhcp[kind] for kind in (abi.TAP_DHCP_OFFER, abi.TAP_DHCP_ACK, abi.TAP_DHCP_NAK)
            )
        return sum(self.dhcp)

    def to_dict(self) -> dict[str, Any]:
        """As `ports --json` shows it; every group with its total."""
        return {
            "frames": self.frames,
            "bytes": self.bytes,
            "oversized": self.oversized,
            "oversized_by_tags": self.oversized_by_tags,
            "vlan_tagged": self.vlan_tagged,
            "vlan_nested": self.vlan_nested,
            "bpdu": dict(zip(_BPDU_KEYS, (*self.bpdu, sum(self.bpdu)), strict=True)),
            "bpdu_host": self.bpdu_host,
            "dhcp": dict(
                zip(_DHCP_KEYS, (*self.dhcp[1:], self.dhcp[0], sum(self.dhcp)), strict=True)
            ),
            "dropped": dict(zip(_DROP_KEYS, (*self.dropped, sum(self.dropped)), strict=True)),
            "events": {
                "told": self.events_told,
                "suppressed": self.events_suppressed,
                "lost": self.events_lost,
                "total": self.events_told + self.events_suppressed + self.events_lost,
            },
        }


def decode_counters(words: Sequence[int]) -> Counters:
    """From the 64-bit words of a tap_counters, in their order."""
    frames, size, oversized, by_tags, tagged, nested = words[:_AT_BPDU]
    return Counters(
        frames,
        size,
        oversized,
        by_tags,
        tagged,
        nested,
        tuple(words[_AT_BPDU:_AT_BPDU_HOST]),
        words[_AT_BPDU_HOST],
        tuple(words[_AT_DHCP:_AT_DROPPED]),
        tuple(words[_AT_DROPPED:_AT_EVENTS]),
        *words[_AT_EVENTS:],
    )


NO_COUNTERS: Final = decode_counters((0,) * COUNTER_WORDS)


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
        return _name(BPDU_KINDS, kind)
    if check in ("rogue_dhcp", "dhcp_flood"):
        return _name(DHCP_TYPES, kind)
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
    frame = head[: min(head_bytes, abi.TAP_HEAD_BYTES)]
    if outer_tpid and len(frame) >= 12:
        # __be16, read as a host number: its bytes are in wire order already.
        tag = outer_tpid.to_bytes(2, "little") + outer_tci.to_bytes(2, "big")
        frame = frame[:12] + tag + frame[12:]
    check = _name(CHECKS, check_index)
    return KernelEvent(
        time_ns=time_ns,
        ifindex=ifindex,
        offender_ifindex=offender_ifindex,
        frame_bytes=frame_bytes,
        wire_bytes=wire_bytes,
        check=check,
        kind=_kind(check, kind),
        direction=direction,
        role=_name(ROLES, role),
        verdict=_name(VERDICTS, verdict),
        tags=tags,
        head=frame,
    )


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
            _ticks(self.event_window_ns, tick_ns), self.max_quarantined, 0,
        )  # fmt: skip


def _ticks(duration_ns: int, tick_ns: int) -> int:
    return -(-duration_ns // tick_ns)
