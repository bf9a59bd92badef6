# SPDX-License-Identifier: Apache-2.0
"""What an operator reads: the right words, in the right order, and harmless."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from sentinel import event
from sentinel.cli_incidents import event_line, incidents_lines, vm_text
from sentinel.cli_ports import held_text, order_lines, ports_lines, show_lines
from sentinel.cli_text import Style
from sentinel.event import Entry, Event, Incident, Quarantine
from sentinel.vm import UNKNOWN_VM, VmIdentity
from tests.harness.canned_control import NOON_NS, counts, incident, port, uplink
from tests.harness.cli_facts import CUT, EVIL, PLAIN, SECOND_NS, text


class TestPorts:
    def test_quarantined_ports_stand_first_with_what_is_left(self) -> None:
        lines = ports_lines(
            [
                port("tap1", 1),
                port("tap2", 2, state="trusted"),
                port(
                    "tap3",
                    3,
                    state="quarantined",
                    quarantine=CUT,
                    counters={"from_guest": counts(10, 7, 7), "to_guest": counts(1, 0, 2)},
                ),
                uplink("bond0", 4),
                port("tap4", 5, state="unattached", counters={}),
            ],
            NOON_NS + 48 * SECOND_NS,
            PLAIN,
        )
        assert [line.split()[0] for line in lines if line] == [
            "PORT",
            "tap3",
            "tap4",
            "tap1",
            "tap2",
            "UPLINK",
            "bond0",
        ]
        assert lines[1].split()[2:] == [
            "quarantined",
            "10",
            "1",
            "7",
            "0",
            "0",
            "0",
            "9",
            "4m12s",
            "left",
        ]
        assert lines[2].split()[3:] == ["-"] * 7
        for column in ("FROM GUEST", "TO GUEST", "BPDUS", "OVERSIZED", "NESTED", "DHCP", "DROPPED"):
            assert lines[2][lines[0].index(column) + len(column) - 1] == "-"
        assert lines[-1].split() == ["bond0", "watched", "3,000", "4,000", *"00000"]

    def test_why_one_is_not_attached(self) -> None:
        lines = ports_lines([port("tap1", 1, state="unattached", problem=EVIL)], NOON_NS, PLAIN)
        assert "web\\x1b]0;gotcha" in lines[1]
        assert lines[1].isprintable()

    def test_the_quarantined_are_red(self) -> None:
        lines = ports_lines([port("tap3", 3, state="quarantined")], NOON_NS, Style(True))
        assert lines[1].startswith("\x1b[31mtap3")

    def test_none(self) -> None:
        assert "no ports" in text(ports_lines([], NOON_NS, PLAIN))

    def test_names_are_harmless(self) -> None:
        evil = port("tap1", 1, vm={"name": EVIL, "uuid": None, "source": "ovs"}, state=EVIL)
        for line in ports_lines([evil], NOON_NS, PLAIN):
            assert line.isprintable()

    @pytest.mark.parametrize(
        ("quarantine", "now_ns", "shown"),
        [
            (None, NOON_NS, ""),
            ({**CUT, "until_wall_ns": None}, NOON_NS, "until released"),
            (CUT, NOON_NS, "5m left"),
            (CUT, NOON_NS + 299 * SECOND_NS, "1s left"),
            (CUT, NOON_NS + 301 * SECOND_NS, "ends now"),
        ],
    )
    def test_what_is_left(self, quarantine: object, now_ns: int, shown: str) -> None:
        assert held_text(quarantine, now_ns) == shown


class TestShow:
    def test_all_about_a_port(self) -> None:
        shown = {
            "port": port(
                "tap7",
                7,
                state="quarantined",
                quarantine={**CUT, "relapses": 2},
                vm={"name": "instance-7", "uuid": "u-u-i-d", "source": "libvirt", "project": "p"},
                counters={"from_guest": counts(10, 7, 7), "to_guest": counts(1)},
            ),
            "incidents": [incident(3)],
            "path": {"bridge": "br0", "path_mtu_bytes": 1500, "trusted_checks": []},
        }
        said = text(show_lines(shown, NOON_NS, PLAIN, verbose=False))
        for words in (
            "tap7  quarantined  (port, ifindex 7)",
            "instance-7 (by libvirt)",
            "UUID u-u-i-d",
            "project p",
            "by the bpdu check, since",
            "held 5m left",
            "reason: first BPDU",
            "relapses: 2",
            "path mtu bytes  1500",
            "trusted checks  none",
            "from guest",
            "7  (rstp 7)",
            "bpdu (rstp) at port tap7",
        ):
            assert words in said
        assert "0000:" not in said
        assert "0000:" in text(show_lines(shown, NOON_NS, PLAIN, verbose=True))

    def test_who_ordered(self) -> None:
        shown = {"port": port("tap7", 7, quarantine={**CUT, "cause": "order", "uid": 1000})}
        assert "by an order of uid 1000" in text(show_lines(shown, NOON_NS, PLAIN, False))

    def test_harmless(self) -> None:
        vm = dict.fromkeys(("name", "uuid", "source", "project", "port_id", "mac"), EVIL)
        shown = {
            "port": port("tap7", 7, vm=vm, quarantine={**CUT, "reason": EVIL, "cause": EVIL}),
            "incidents": [incident(1, summary=EVIL, mac=EVIL, detail=EVIL, verdict=EVIL)],
            "path": {EVIL: EVIL},
        }
        for line in show_lines(shown, NOON_NS, PLAIN, verbose=True):
            assert line.isprintable()


class TestIncidents:
    def test_a_block_says_it_all(self) -> None:
        lines = incidents_lines([incident(3)], PLAIN, verbose=True)
        assert "bpdu (rstp) at port tap7  [#3, still open]" in lines[0]
        said = text(lines)
        for words in (
            "a guest speaks rapid spanning tree",
            "instance-00000007",
            "52:54:00:00:00:07",
            "1,000,000, the last at",
            "dropped in the kernel, and the port shut with it",
            "    0000: 0180 c200 0000 5254 0000 0007 0027 4242  ......RT.....'BB",
        ):
            assert words in said

    def test_closed_and_at_an_uplink(self) -> None:
        lines = incidents_lines(
            [incident(3, closed_wall_ns=NOON_NS, uplink=True, port="bond0")], PLAIN, False
        )
        assert "at uplink bond0  [#3, over since" in lines[0]

    @pytest.mark.parametrize(
        ("verdict", "said"),
        [
            ("passed", "counted and let through"),
            ("dropped", "dropped in the kernel"),
            ("latched", "and the port shut with it"),
            ("fused", "the fuse kept the port open"),
        ],
    )
    def test_what_was_done(self, verdict: str, said: str) -> None:
        assert said in text(incidents_lines([incident(1, verdict=verdict)], PLAIN, False))

    def test_none(self) -> None:
        assert incidents_lines([], PLAIN, False) == ["no incidents"]

    def test_harmless(self) -> None:
        evil = {name: EVIL for name in incident(1) if name != "frames"}
        for line in incidents_lines([evil], PLAIN, verbose=True):
            assert line.isprintable()


VM = VmIdentity(uuid="u", name="web-1", source="libvirt")
AN_INCIDENT = Incident(
    id=3,
    check="bpdu",
    detail="rstp",
    port="tap7",
    ifindex=7,
    vm=VM,
    mac=None,
    opened_wall_ns=NOON_NS,
    updated_wall_ns=NOON_NS,
    closed_wall_ns=None,
    frames=7,
    action="drop",
    verdict="dropped",
    frame_hex="00",
    summary=EVIL,
)
A_CUT = Quarantine(
    port="tap7",
    ifindex=7,
    vm=VM,
    cause="order",
    reason=EVIL,
    uid=1000,
    since_wall_ns=NOON_NS,
    hold_ns=5,
    until_wall_ns=NOON_NS + 5,
)
OF_PORT: tuple[int, str, int, VmIdentity] = (NOON_NS, "tap7", 7, VM)


class TestEvents:
    @pytest.mark.parametrize(
        "one",
        [
            event.port_appeared(*OF_PORT, role="port"),
            event.port_gone(*OF_PORT, role="port"),
            event.port_renamed(*OF_PORT, old_name=EVIL),
            event.guard_attached(*OF_PORT, role="port", hook="tcx"),
            event.guard_failed(*OF_PORT, role="port", problem=EVIL),
            event.incident_opened(AN_INCIDENT),
            event.incident_closed(AN_INCIDENT),
            event.quarantine_set(A_CUT),
            event.quarantine_released(NOON_NS, A_CUT, by="hold"),
            event.quarantine_refused(*OF_PORT, cause="bpdu", problem=EVIL, quarantined=1, limit=1),
            event.order_refused(NOON_NS, order=EVIL, uid=7, gid=7, pid=7, problem=EVIL, times=30),
            event.daemon_started(NOON_NS, version="1", pid=7, adopted=0),
            event.journal_damaged(NOON_NS, problem=EVIL, aside=None, salvaged=0),
            Event(EVIL, NOON_NS, EVIL, 7, UNKNOWN_VM, {EVIL: [EVIL, {EVIL: EVIL}]}),
        ],
        ids=lambda one: ascii(str(one.kind)),
    )
    def test_one_harmless_line(self, one: Event) -> None:
        told = json.loads(json.dumps(Entry(12, one).to_dict()))
        line = event_line(told, PLAIN)
        assert line.isprintable()
        assert line.startswith("#12 ")

    def test_what_matters_is_in_it(self) -> None:
        said = event_line(Entry(1, event.incident_updated(AN_INCIDENT)).to_dict(), PLAIN)
        assert "incident.updated tap7 (web-1)" in said
        assert said.endswith("[7 frames]")
        refused = event.order_refused(
            NOON_NS, order="", uid=7, gid=7, pid=1, problem="no right", times=30
        )
        assert event_line(Entry(1, refused).to_dict(), PLAIN).endswith(
            "order.refused no right [uid 7, 30 times]"
        )
        attached = event.guard_attached(*OF_PORT, role="port", hook="tcx")
        assert event_line(Entry(1, attached).to_dict(), PLAIN).endswith(
            "role=port hook=tcx adopted=no"
        )


class TestVm:
    @pytest.mark.parametrize(
        ("vm", "shown"),
        [
            (None, "unknown"),
            ("", "unknown"),
            ("web-1", "web-1"),
            ({}, "unknown"),
            (asdict(UNKNOWN_VM), "unknown"),
            (asdict(VM), "web-1"),
            ({"name": None, "uuid": "u-1"}, "u-1"),
            ({"name": "i-1", "display_name": "my \x1bweb"}, "i-1 (my \\x1bweb)"),
            ({"port_id": "0123"}, "unknown (Neutron port 0123)"),
            ({"pid": 7}, "unknown (pid 7)"),
        ],
    )
    def test_in_words(self, vm: object, shown: str) -> None:
        assert vm_text(vm) == shown


class TestOrders:
    @pytest.mark.parametrize(
        ("op", "result", "said"),
        [
            (
                "quarantine",
                {"changed": True, "until_wall_ns": None},
                "tap7 is quarantined until it is released",
            ),
            (
                "quarantine",
                {"changed": False, "until_wall_ns": None},
                "tap7 was already quarantined until it is released",
            ),
            ("quarantine", {"changed": True, "until_wall_ns": NOON_NS + 3600 * SECOND_NS}, "(1h)"),
            ("release", {"changed": True}, "tap7 is released: its frames pass again"),
            ("release", {"changed": False}, "tap7 was not quarantined: nothing to release"),
        ],
    )
    def test_said(self, op: str, result: dict[str, Any], said: str) -> None:
        assert said in text(order_lines(op, {"port": "tap7", **result}, NOON_NS, PLAIN))


@pytest.mark.parametrize(
    "lines",
    [
        lambda: ports_lines([{}], NOON_NS, PLAIN),
        lambda: ports_lines([{"role": "port"}, {"role": "uplink"}], NOON_NS, PLAIN),
        lambda: show_lines({}, NOON_NS, PLAIN, True),
        lambda: incidents_lines([{}], PLAIN, True),
        lambda: [event_line({}, PLAIN)],
        lambda: order_lines("quarantine", {}, NOON_NS, PLAIN),
    ],
)
def test_what_is_missing_breaks_nothing(lines: Callable[[], list[str]]) -> None:
    assert all(line.isprintable() for line in lines())
