# SPDX-License-Identifier: Apache-2.0
"""The documents of `dhcp` and `dhcp PORT`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sentinel.dhcp.client import SECOND_NS
from sentinel.dhcp.step import INFINITE_NS, Act
from tests.harness.canned_dhcp import lease as canned_lease
from tests.harness.canned_dhcp import seen as canned_seen
from tests.harness.dhcp_play import ADDRESS, MAC, PORT, SERVER, SERVER_MAC, Play


def test_they_have_the_members_that_the_command_line_knows() -> None:
    play = Play()
    play.lease(60)
    assert play.document().keys() == canned_lease().keys()
    (row, *_) = play.exchange()
    assert row.keys() == canned_seen(0, "from_guest").keys() | {"act"}
    (client,) = play.watch.exchanges(PORT, play.now_ns, play.dial)
    assert client.keys() - canned_lease().keys() == {"exchange", "left_out"}


def test_a_lease() -> None:
    play = Play()
    play.lease(60, t1_s=20, t2_s=40, vid=7, client_id="01aa")
    acked_ns = play.now_ns
    play.wait(10)
    found = play.document()
    wall_ns = acked_ns + play.epoch_ns
    expected: dict[str, Any] = {
        "port": "tap7",
        "ifindex": PORT,
        "family": 4,
        "mac": MAC,
        "client": MAC,
        "client_id": "01aa",
        "address": ADDRESS,
        "addresses": [ADDRESS],
        "server": SERVER,
        "server_mac": SERVER_MAC,
        "state": "bound",
        "lease_ns": 60 * SECOND_NS,
        "remaining_ns": 50 * SECOND_NS,
        "acked_wall_ns": wall_ns,
        "t1_wall_ns": wall_ns + 20 * SECOND_NS,
        "t2_wall_ns": wall_ns + 40 * SECOND_NS,
        "expires_wall_ns": wall_ns + 60 * SECOND_NS,
        "host_name": None,
        "vid": 7,
        "relay": None,
        "trouble": [],
    }
    assert {name: found[name] for name in expected} == expected
    assert found["vm"]["name"] == "web"


def test_a_lease_without_an_end() -> None:
    play = Play()
    play.lease(INFINITE_NS / SECOND_NS)
    found = play.document()
    assert found["address"] == ADDRESS
    for name in ("lease_ns", "remaining_ns", "t1_wall_ns", "t2_wall_ns", "expires_wall_ns"):
        assert found[name] is None
    assert found["acked_wall_ns"] is not None


def test_a_client_without_a_lease() -> None:
    play = Play()
    play.ask(Act.FIND)
    found = play.document()
    assert (found["state"], found["address"], found["addresses"]) == ("selecting", None, [])
    assert (found["server"], found["remaining_ns"], found["acked_wall_ns"]) == (None, None, None)


def test_a_lost_lease_shows_what_it_was() -> None:
    play = Play()
    play.lease(60)
    play.wait(80)
    found = play.document()
    assert (found["state"], found["address"], found["remaining_ns"]) == ("lost", ADDRESS, None)
    assert found["trouble"] == ["lease_lost"]
    play.ask(Act.FIND, xid=5)
    assert play.document()["remaining_ns"] is None
    play.wait(4)
    play.ask(Act.FIND, xid=5)
    # Two questions without an answer are no incident yet.
    assert play.document()["trouble"] == ["lease_lost"]


def test_what_is_not_told_as_an_incident_is_no_trouble() -> None:
    play = Play()
    play.lease(60)
    play.wait(30)
    for _ in range(2):
        play.ask(Act.RENEW, xid=2)
        play.wait(4)
    assert play.document()["trouble"] == []
    play.ask(Act.RENEW, xid=2)
    play.wait(4)
    assert play.document()["trouble"] == ["unanswered"]


def test_a_ladder() -> None:
    play = Play()
    play.lease(60)
    rows = play.exchange()
    assert [(one["name"], one["direction"], one["device"], one["place"]) for one in rows] == [
        ("DHCPDISCOVER", "from_guest", "tap7", "port"),
        ("DHCPDISCOVER", "to_wire", "uplink0", "uplink"),
        ("DHCPOFFER", "from_wire", "uplink0", "uplink"),
        ("DHCPOFFER", "to_guest", "tap7", "port"),
        ("DHCPREQUEST", "from_guest", "tap7", "port"),
        ("DHCPREQUEST", "to_wire", "uplink0", "uplink"),
        ("DHCPACK", "from_wire", "uplink0", "uplink"),
        ("DHCPACK", "to_guest", "tap7", "port"),
    ]
    assert rows[0]["gap_ns"] is None
    assert [one["gap_ns"] for one in rows[1:]] == [
        after["time_wall_ns"] - before["time_wall_ns"] for before, after in pairwise(rows)
    ]
    assert rows[0]["xid"] == "00000001"
    assert all(one["passed"] and one["count"] == 1 for one in rows)


def test_retransmissions_are_folded_and_a_removed_device_has_a_name() -> None:
    play = Play()
    for _ in range(3):
        play.ask(Act.FIND)
        play.wait(4)
    play.devices.pop(3)
    rows = play.exchange()
    assert [(one["count"], one["device"]) for one in rows] == [(3, "tap7"), (3, "device 3")]
    assert rows[0]["last_wall_ns"] - rows[0]["time_wall_ns"] > 8 * SECOND_NS


@pytest.mark.parametrize("messages", [10, 100])
def test_a_long_ladder_says_how_much_is_left_out(messages: int) -> None:
    play = Play()
    for xid in range(messages):
        play.ask(Act.FIND, xid=xid, leaves=False)
    (client,) = play.watch.exchanges(PORT, play.now_ns, play.dial)
    assert len(client["exchange"]) + client["left_out"] == messages


def test_the_order_of_leases_and_of_ladders() -> None:
    play = Play()
    play.add_port(9, "tap1")
    play.lease(60, mac="cc", port=9)
    play.lease(60, mac="bb")
    play.lease(60, mac="aa", family=6)
    assert [(one["port"], one["mac"]) for one in play.leases()] == [
        ("tap1", "cc"), ("tap7", "aa"), ("tap7", "bb"),
    ]  # fmt: skip
    found = play.watch.exchanges(PORT, play.now_ns, play.dial)
    assert [one["mac"] for one in found] == ["aa", "bb"]
    assert play.watch.exchanges(77, play.now_ns, play.dial) == []
    assert len(play.watch.leases(play.now_ns, play.dial, 9)) == 1
