# SPDX-License-Identifier: Apache-2.0
"""`status` as a person reads it."""

from __future__ import annotations

import copy
from typing import Any

from sentinel.cli_status import status_lines
from tests.harness.canned_control import NOON_NS, STATUS
from tests.harness.cli_facts import CUT, PLAIN, SECOND_NS, text


def status(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(STATUS), **changed}


class TestStatus:
    def test_says_what_cuts_and_what_only_counts(self) -> None:
        said = text(status_lines(status(), NOON_NS + 90 * SECOND_NS, PLAIN))
        assert "for 1m30s" in said
        assert "98 ports watched, 1 quarantined, 2 trusted, 1 uplink" in said
        assert "spanning-tree frames: the first frame shuts the port" in said
        assert "DHCP floods: dropped, 100 within 10s shut the port" in said
        assert "oversized frames: dropped" in said
        assert "only counts       nested VLAN tags" in said
        assert "1 of at most 9 ports quarantined" in said
        assert "10 told, 999,990 over the rate, 0 lost" in said
        assert said.endswith("no problems")

    def test_orders_over_mqtt_and_notices_where_they_are_on(self) -> None:
        orders = {"enabled": True, "principals": 1, "done": 2, "repeated": 3, "refused": 4}
        fleet = {
            **{"publish": True, "follow": True, "action": "quarantine", "issued": 1},
            **{"known": 5, "matched": 1, "waiting": 0},
        }
        said = text(status_lines(status(orders=orders, fleet=fleet), NOON_NS, PLAIN))
        assert "1 principal may give them; 2 done, 3 repeated, 4 refused" in said
        assert "1 notice given; 5 known from others, 1 port matched (quarantine), 0 waiting" in said
        off = {"publish": False, "follow": False}
        said = text(status_lines(status(orders={"enabled": False}, fleet=off), NOON_NS, PLAIN))
        assert "orders over MQTT" not in said
        assert "notices" not in said

    def test_nothing_cuts(self) -> None:
        checks = {"bpdu": {"action": "count", "threshold": 1, "window_ns": 1}}
        assert "nothing: every check only counts" in text(
            status_lines(status(checks=checks), NOON_NS, PLAIN)
        )

    def test_problems_come_first(self) -> None:
        lines = status_lines(
            status(
                problems=["the disk is full\x1b[2J"],
                fuse={"limit": 1, "quarantined": 1, "refusals": 4, "blown": True},
                journal={
                    "ok": False,
                    "problem": "disk full",
                    "entries": 1,
                    "size_bytes": 5,
                    "pending": 3,
                    "lost": 2,
                },
            ),
            NOON_NS,
            PLAIN,
        )
        assert lines[2] == "PROBLEMS (2)"
        assert lines[3].startswith("  ! the fuse is blown")
        assert lines[4] == "  ! the disk is full\\x1b[2J"
        said = text(lines)
        assert "NOT WELL: disk full; 1 entry, 5 bytes, 3 waiting for the disk, 2 lost" in said
        assert "4 frames would have shut another" in said
        assert "no problems" not in said

    def test_unattached_ports_are_shouted(self) -> None:
        guard = {"watched": 1, "unattached": 3, "trusted": 0, "quarantined": 0, "uplinks": 0}
        said = text(status_lines(status(guard=guard), NOON_NS, PLAIN))
        assert "1 port watched, 3 NOT attached, 0 uplinks" in said

    def test_what_is_held_though_its_port_is_away(self) -> None:
        said = text(status_lines(status(away=[{**CUT, "port": "tap9"}]), NOON_NS, PLAIN))
        assert "held though away  tap9 (5m left)" in said

    def test_a_status_of_which_everything_is_missing(self) -> None:
        assert status_lines({}, NOON_NS, PLAIN)
