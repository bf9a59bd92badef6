# SPDX-License-Identifier: Apache-2.0
"""Who holds an address beside whom, and who is to be looked at when."""

from __future__ import annotations

from sentinel.dhcp.alarms import Alarms
from sentinel.dhcp.claims import Claims
from sentinel.dhcp.lease import lease_of
from sentinel.dhcp.step import Act
from tests.harness.dhcp_steps import MAC, step

OTHER = "fa:16:3e:00:00:08"


def test_alarms() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.set("a", 30)
    alarms.set("b", 20)
    alarms.set("a", 10)
    alarms.set("a", 40)
    alarms.set("c", 10)
    assert alarms.due(9) == []
    assert alarms.due(10) == ["a", "c"]
    alarms.drop("b")
    assert alarms.due(100) == []
    for at_ns in range(100_000, 0, -1):
        alarms.set("a", at_ns)
    assert len(alarms._heap) < 100
    assert alarms.due(1) == ["a"]
    assert alarms.due(1 << 62) == []


def test_claims() -> None:
    lease = lease_of(step(Act.ACK, lease_s=60, addresses=("fd00::1", "fd00::2")))
    one, other = (7, (4, MAC)), (8, (4, OTHER))
    claims = Claims()
    claims.change(one, None, lease)
    assert list(claims.others(one, lease)) == []
    claims.change(other, None, lease)
    assert list(claims.others(one, lease)) == [other, other]
    assert list(claims.others(one, None)) == []
    claims.change(one, lease, None)
    claims.change(other, lease, None)
    assert len(claims) == 0
