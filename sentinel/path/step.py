# SPDX-License-Identifier: Apache-2.0
"""A path: one step per device, from the tap down to what has nothing below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sentinel.tag import Tag


@dataclass(frozen=True, slots=True)
class Step:
    """One device on the way from a guest to the wire.

    `tags` are on the frame as it leaves this device towards the wire, outermost
    first, for a frame that the guest sent untagged; below a tunnel, those of the
    packet outside. `carries_bytes` is the largest IP packet of a guest that passes
    here: the device's MTU less the tags behind the first that is free (a service tag
    that is configured as such is free as well) and less the tunnel's headers. The
    tag that a vlan device adds itself is not part of its own MTU. A switch, and a
    port that sends into one, let pass what any way behind them does: frames that are
    switched are measured against the member they leave by alone.
    """

    ifindex: int
    name: str
    kind: str
    """"tap", "bridge", "openvswitch", "vlan", "macvlan", "veth", "bond", "nic", "vxlan", …"""
    mtu_bytes: int
    carries_bytes: int
    tags: tuple[Tag, ...]
    below: tuple[Step, ...]
    """The next ones towards the wire: a bond's slaves, a bridge's ways out."""
    note: str = ""
    """What else matters of it, e.g. "down", "leaves this namespace"."""

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Step]]:
        """Every step with its depth, this one first."""
        yield depth, self
        for step in self.below:
            yield from step.walk(depth + 1)


@dataclass(frozen=True, slots=True)
class Path:
    """All ways of one port to the wire."""

    port: Step
    mtu_bytes: int
    """The smallest MTU on the way: what "oversized" is measured against."""
    carries_bytes: int
    """The largest IP packet that passes all of it; less than the MTU where tags are in the way."""
    narrowest: Step
    """The first step that carries no more than that."""
