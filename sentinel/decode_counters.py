# SPDX-License-Identifier: Apache-2.0
"""What the kernel counts and judges, by name; counters out of their words.

Pure. The tuples stand in the order of the enums in bpf/abi_kern_user.h.
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
DHCP6_TYPES: Final = (
    "other", "solicit", "advertise", "request", "confirm", "renew", "rebind", "reply", "release",
    "decline", "reconfigure", "information_request", "relay_forw", "relay_repl",
)  # fmt: skip
DROPS: Final = (*CHECKS, "quarantine")

if (len(CHECKS), len(BPDU_KINDS), len(DHCP_TYPES), len(DHCP6_TYPES), len(DROPS)) != (
    abi.TAP_CHECKS, abi.TAP_BPDU_KINDS, abi.TAP_DHCP_TYPES, abi.TAP_DHCP6_TYPES, abi.TAP_DROPS,
):  # fmt: skip
    raise ImportError("sentinel/decode_counters.py does not name every kind of sentinel/abi.py")

COUNTER_WORDS: Final = abi.TAP_COUNTERS.size // 8
_AT_BPDU: Final = abi.TAP_COUNTERS__BPDU // 8
_AT_BPDU_HOST: Final = abi.TAP_COUNTERS__BPDU_HOST // 8
_AT_DHCP: Final = abi.TAP_COUNTERS__DHCP // 8
_AT_DHCP6: Final = abi.TAP_COUNTERS__DHCP6 // 8
_AT_DHCP_SERVER: Final = abi.TAP_COUNTERS__DHCP_SERVER // 8
_AT_DROPPED: Final = abi.TAP_COUNTERS__DROPPED // 8
_AT_EVENTS: Final = abi.TAP_COUNTERS__EVENTS_TOLD // 8
_AT_MESSAGES: Final = abi.TAP_COUNTERS__MESSAGES_TOLD // 8


def name_of(names: Sequence[str], index: int) -> str:
    """The name at an index that the kernel wrote, or that it is unknown."""
    return names[index] if 0 <= index < len(names) else f"unknown-{index}"


def message_name(message_type: int) -> str:
    """An enum tap_message_type: "discover" of DHCPv4, "dhcpv6 advertise" of DHCPv6."""
    if message_type < abi.TAP_MESSAGE_DHCP6 or message_type == abi.TAP_MESSAGE_NONE:
        return name_of(DHCP_TYPES, message_type)
    name = name_of(DHCP6_TYPES, message_type - abi.TAP_MESSAGE_DHCP6)
    return "dhcpv6 " + name.replace("_", "-")


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
    dhcp6: tuple[int, ...]
    dhcp_server: int
    """Of both, what only a server sends."""
    dropped: tuple[int, ...]
    events_told: int
    events_suppressed: int
    events_lost: int
    messages_told: int
    messages_suppressed: int
    messages_lost: int

    def offences(self, check: str) -> int:
        """Frames so far that a check is about."""
        if check == "bpdu":
            return sum(self.bpdu)
        if check == "vlan":
            return self.vlan_nested
        if check == "size":
            return self.oversized
        if check == "rogue_dhcp":
            return self.dhcp_server
        return sum(self.dhcp) + sum(self.dhcp6)

    def to_dict(self) -> dict[str, Any]:
        """As `ports --json` shows it; every group with its total."""
        return {
            "frames": self.frames,
            "bytes": self.bytes,
            "oversized": self.oversized,
            "oversized_by_tags": self.oversized_by_tags,
            "vlan_tagged": self.vlan_tagged,
            "vlan_nested": self.vlan_nested,
            "bpdu": _group(BPDU_KINDS, self.bpdu),
            "bpdu_host": self.bpdu_host,
            "dhcp": _other_last(_DHCP_LISTED, self.dhcp),
            "dhcp6": _other_last(_DHCP6_LISTED, self.dhcp6),
            "dhcp_server": self.dhcp_server,
            "dropped": _group(DROPS, self.dropped),
            "events": _group(_FATES, (self.events_told, self.events_suppressed, self.events_lost)),
            "messages": _group(
                _FATES, (self.messages_told, self.messages_suppressed, self.messages_lost)
            ),
        }


# As they are shown: "other" is no type of its own and stands last.
_DHCP_LISTED: Final = (*DHCP_TYPES[1:], DHCP_TYPES[0])
_DHCP6_LISTED: Final = (*DHCP6_TYPES[1:], DHCP6_TYPES[0])
_FATES: Final = ("told", "suppressed", "lost")


def _group(names: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    group = dict(zip(names, counts, strict=True))
    group["total"] = sum(counts)
    return group


def _other_last(names: Sequence[str], counts: tuple[int, ...]) -> dict[str, int]:
    return _group(names, counts[1:] + counts[:1])


def decode_counters(words: Sequence[int]) -> Counters:
    """From the 64-bit words of a tap_counters, in their order."""
    frames, size, oversized, by_tags, tagged, nested = words[:_AT_BPDU]
    told, suppressed, lost = words[_AT_EVENTS:_AT_MESSAGES]
    messages_told, messages_suppressed, messages_lost = words[_AT_MESSAGES:]
    return Counters(
        frames=frames,
        bytes=size,
        oversized=oversized,
        oversized_by_tags=by_tags,
        vlan_tagged=tagged,
        vlan_nested=nested,
        bpdu=tuple(words[_AT_BPDU:_AT_BPDU_HOST]),
        bpdu_host=words[_AT_BPDU_HOST],
        dhcp=tuple(words[_AT_DHCP:_AT_DHCP6]),
        dhcp6=tuple(words[_AT_DHCP6:_AT_DHCP_SERVER]),
        dhcp_server=words[_AT_DHCP_SERVER],
        dropped=tuple(words[_AT_DROPPED:_AT_EVENTS]),
        events_told=told,
        events_suppressed=suppressed,
        events_lost=lost,
        messages_told=messages_told,
        messages_suppressed=messages_suppressed,
        messages_lost=messages_lost,
    )


NO_COUNTERS: Final = decode_counters((0,) * COUNTER_WORDS)
