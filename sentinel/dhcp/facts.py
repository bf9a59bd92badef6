# SPDX-License-Identifier: Apache-2.0
"""What is read about a port when a doubt arises. Times are CLOCK_MONOTONIC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueReading:
    """How far the guest's side has got with what was sent to it."""

    passed: int
    """Frames that our program let pass towards the guest, ever."""
    taken: int
    """tx_packets of the device: a tap counts a frame when it is read."""
    dropped: int
    """tx_dropped of the device: its queue was full."""
    backlog_packets: int | None
    """In the device's qdisc; None: it has none that counts."""
    backlog_bytes: int | None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """One reading of one port."""

    ifindex: int
    time_ns: int
    sent_ns: int
    """When it last sent more than ARP, neighbour discovery or DHCP; 0: never."""
    received_ns: int
    missed: int
    """Messages that its leases depend on and that were never told, so far."""
    is_cut: bool
    """Its latch is shut: nothing of it passes."""
    queue: QueueReading | None
    """None: it could not be read."""
