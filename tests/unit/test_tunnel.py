# SPDX-License-Identifier: Apache-2.0
"""What tunnels add; tests/kernel/test_netlink_facts.py has the kernel's own opinion."""

from __future__ import annotations

import pytest

from sentinel.tunnel import tunnel_overhead_bytes


@pytest.mark.parametrize(
    ("kind", "facts", "overhead_bytes"),
    [
        ("vxlan", {}, 50),
        ("vxlan", {"over_ipv6": True}, 70),
        ("geneve", {}, 50),
        ("geneve", {"over_ipv6": True}, 70),
        ("gretap", {}, 38),
        ("gretap", {"gre_flags": 0x2000}, 42),
        ("gretap", {"gre_flags": 0xB000}, 50),
        ("ip6gretap", {}, 58),
        ("ip6gretap", {"limits_encapsulation": True}, 66),
        ("erspan", {"gre_flags": 0x3000}, 50),
        ("macsec", {}, 32),
        ("vlan", {}, 0),
        ("", {}, 0),
    ],
)
def test_overhead(kind: str, facts: dict[str, int], overhead_bytes: int) -> None:
    assert tunnel_overhead_bytes(kind, **facts) == overhead_bytes  # type: ignore[arg-type]
