# SPDX-License-Identifier: Apache-2.0
"""Records of the message ring: DHCP messages, where and when they were seen.

Pure. A record carries bytes that a guest wrote: lengths are clamped, nothing is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from sentinel import abi
from sentinel.decode import ROLES, VERDICTS, frame_on_wire
from sentinel.decode_counters import name_of

HEADER_BYTES: Final = abi.TAP_MESSAGE__FRAME
"""A record without a byte of its frame."""

# A record is as long as its frame, so only what stands before that is unpacked at once.
_HEADER: Final = Struct(abi.TAP_MESSAGE.format.removesuffix(f"{abi.TAP_MESSAGE_BYTES}s"))
if _HEADER.size != HEADER_BYTES:
    raise ImportError("sentinel/decode_message.py: a frame is not the end of a tap_message")


@dataclass(frozen=True, slots=True)
class KernelMessage:
    """One record. Times are CLOCK_MONOTONIC; `frame` is as it was on the wire."""

    time_ns: int
    ifindex: int
    """Of the device whose program saw it."""
    port_ifindex: int
    """Of the port whose exchange it belongs to; 0: unknown."""
    role: str
    """ "port" or "uplink", of the device that saw it."""
    direction: int
    """abi.TAP_IN: from the guest, or from the wire."""
    verdict: str
    """ "passed" or "dropped"."""
    sent_ns: int
    """When the port last sent more than ARP, neighbour discovery or DHCP; 0: never or unknown."""
    received_ns: int
    missed: int
    """Messages of that port that were never told, so far."""
    frame_bytes: int
    """Of the whole frame; `frame` may hold less."""
    frame: bytes


def decode_message(record: bytes) -> KernelMessage:
    """A record of the message ring; ValueError if it is too short to be one."""
    if len(record) < HEADER_BYTES:
        raise ValueError(f"a message record of {len(record)} bytes; {HEADER_BYTES} are its header")
    (
        time_ns, sent_ns, received_ns, ifindex, port_ifindex, missed, frame_bytes,
        head_bytes, _type, direction, role, verdict, outer_tpid, outer_tci, *_reserved,
    ) = _HEADER.unpack_from(record)  # fmt: skip
    # A slice ends where the record does.
    head = record[HEADER_BYTES : HEADER_BYTES + min(head_bytes, abi.TAP_MESSAGE_BYTES)]
    return KernelMessage(
        time_ns=time_ns,
        ifindex=ifindex,
        port_ifindex=port_ifindex,
        role=name_of(ROLES, role),
        direction=direction,
        verdict=name_of(VERDICTS, verdict),
        sent_ns=sent_ns,
        received_ns=received_ns,
        missed=missed,
        frame_bytes=frame_bytes,
        frame=frame_on_wire(head, outer_tpid, outer_tci),
    )
