# SPDX-License-Identifier: Apache-2.0
"""What a guest's packet has taken on by the time it reaches a device: tags, headers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sentinel.link import LinkFacts
from sentinel.ovs import OvsPort
from sentinel.tag import TAG_BYTES, TPID_8021Q, Tag


@dataclass(frozen=True, slots=True)
class Burden:
    """On a frame that the guest sent untagged: tags, outermost first, and what hides inside.

    `hidden_bytes` is what tunnels and encryption put around the guest's IP packet, the
    tags inside them included. In a tunnel, what is below carries the host's own packets.
    """

    tags: tuple[Tag, ...] = ()
    hidden_bytes: int = 0
    is_in_tunnel: bool = False

    def through(self, link: LinkFacts) -> Burden:
        """After a device has sent it on downwards."""
        if link.tag is not None:
            return replace(self, tags=(link.tag, *self.tags))
        if not link.tunnel_overhead_bytes:
            return self
        inside_bytes = link.tunnel_overhead_bytes + TAG_BYTES * len(self.tags)
        return Burden(
            (), self.hidden_bytes + inside_bytes, self.is_in_tunnel or link.kind != "macsec"
        )

    def into(self, port: OvsPort | None) -> Burden:
        """After it came into a bridge of Open vSwitch by this port of it.

        An untagged frame belongs to the port's VLAN and bears its tag from then on
        (ovs-vswitchd.conf.db(5), Port: VLAN configuration).
        """
        if port is None or not port.tag or (self.tags and port.vlan_mode != "dot1q-tunnel"):
            return self
        return replace(self, tags=(Tag(TPID_8021Q, port.tag), *self.tags))

    def out_of(self, port: OvsPort | None) -> Burden:
        """After it left such a bridge by this port: an access port takes its tag off."""
        if port is None or not port.tag or port.vlan_mode in ("trunk", "native-tagged"):
            return self
        if self.tags[:1] != (Tag(TPID_8021Q, port.tag),):
            return self
        return replace(self, tags=self.tags[1:])

    def cost_bytes(self, service_vids: frozenset[int]) -> int:
        """How much less of a guest's packet fits into an MTU.

        One tag is free: IEEE 802.3 lets a frame with one be four bytes longer. So is a
        service tag that is meant to be one (802.1ad, or by configuration), for which
        there are envelope frames (IEEE 802.3as-2006).
        """
        if len(self.tags) < 2:
            return self.hidden_bytes
        paid = sum(
            1
            for at, tag in enumerate(self.tags)
            if not tag.is_service and not (tag.vid in service_vids and at < len(self.tags) - 1)
        )
        return self.hidden_bytes + TAG_BYTES * max(0, paid - 1)
