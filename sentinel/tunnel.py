# SPDX-License-Identifier: Apache-2.0
"""How much a tunnel or an encryption adds to a guest's packet on its way out. Pure."""

from __future__ import annotations

from typing import Final

ETHERNET_BYTES: Final = 14
IPV4_BYTES: Final = 20
IPV6_BYTES: Final = 40
UDP_BYTES: Final = 8
VXLAN_BYTES: Final = 8
"""RFC 7348 section 5."""
GENEVE_BYTES: Final = 8
"""RFC 8926 section 3.4, without options: what a device's own configuration never adds."""
GRE_BYTES: Final = 4
"""RFC 2784 section 2.1; four more for each of a checksum, a key and a sequence number
(RFC 2890 section 2)."""
GRE_OPTIONS: Final = (0x8000, 0x2000, 0x1000)
"""Checksum, key, sequence number, as they stand in a GRE header's first two bytes."""
ENCAPSULATION_LIMIT_BYTES: Final = 8
"""The destination options header of RFC 2473 section 4.1.1, in IPv6 tunnels unless turned off."""
ERSPAN_BYTES: Final = 8
"""draft-foschiano-erspan-03 section 4.2, type II; beside GRE with a sequence number."""
MACSEC_BYTES: Final = 32
"""IEEE 802.1AE-2018 section 9.3: a SecTAG with its EtherType and SCI, and an ICV of 16 bytes."""

TUNNEL_KINDS: Final = frozenset({"vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ip6erspan"})


def tunnel_overhead_bytes(
    kind: str, *, over_ipv6: bool = False, gre_flags: int = 0, limits_encapsulation: bool = False
) -> int:
    """How much larger the packet outside is than the IP packet inside; 0 for other kinds.

    The inner Ethernet header travels too, and counts; the outer one does not.
    VXLAN and Geneve over IPv4: 20 + 8 + 8 + 14 = 50 bytes, over IPv6 70; a plain
    gretap: 20 + 4 + 14 = 38. A tunnel whose far end each packet tells for itself
    is taken for one over IPv4.
    """
    if kind == "macsec":
        return MACSEC_BYTES
    if kind not in TUNNEL_KINDS:
        return 0
    outside = IPV6_BYTES if over_ipv6 or kind.startswith("ip6") else IPV4_BYTES
    if kind == "vxlan":
        return outside + UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES
    if kind == "geneve":
        return outside + UDP_BYTES + GENEVE_BYTES + ETHERNET_BYTES
    gre = GRE_BYTES + 4 * sum(1 for option in GRE_OPTIONS if gre_flags & option)
    if "erspan" in kind:
        # Its sequence number is always there, its key never (the kernel's own are inside).
        gre = GRE_BYTES + 4 + ERSPAN_BYTES
    limit = ENCAPSULATION_LIMIT_BYTES if limits_encapsulation else 0
    return outside + gre + limit + ETHERNET_BYTES
