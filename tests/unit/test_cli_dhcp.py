# SPDX-License-Identifier: Apache-2.0
"""What `dhcp` says of leases and clients, as a function and as a command."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.cli import main
from sentinel.cli_dhcp import exchanges_lines, lease_lines, leases_lines
from sentinel.cli_ladder import paper_for
from sentinel.cli_ports import ports_lines, show_lines
from sentinel.cli_status import status_lines
from sentinel.cli_text import Style
from sentinel.terminal import columns
from tests.harness.canned_control import STATUS, CannedControl, canned_control, counts, port
from tests.harness.canned_dhcp import (
    ACKED_NS,
    PORT,
    SECOND_NS,
    TOLD_NS,
    lease,
    stalled_port,
)

PLAIN, COLOURED = Style(False), Style(True)
WIDE, NARROW = paper_for(100, "utf-8"), paper_for(80, "utf-8")
EVIL = "wéb東\x1b]0;gotcha\x07\x9b2J\u202e\n1"


@pytest.fixture(autouse=True)
def _at_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def drawn(document: object, style: Style = PLAIN) -> str:
    return "\n".join(exchanges_lines(document, TOLD_NS, style, WIDE))


class TestLeases:
    def test_by_port_and_mac(self) -> None:
        lines = leases_lines(
            [
                lease("tap2", mac="52:54:00:00:00:02"),
                lease("tap1", mac="52:54:00:00:00:09"),
                lease("tap2", mac="52:54:00:00:00:01", remaining_ns=47 * SECOND_NS),
            ],
            PLAIN,
        )
        assert lines[0].split() == [
            "PORT", "VM", "MAC", "ADDRESS", "SERVER", "REMAINING", "STATE", "TROUBLE",
        ]  # fmt: skip
        assert [line.split()[::2][:2] for line in lines[1:]] == [
            ["tap1", "52:54:00:00:00:09"],
            ["tap2", "52:54:00:00:00:01"],
            ["tap2", "52:54:00:00:00:02"],
        ]
        assert lines[2].split() == [
            "tap2", "instance-0000002a", "52:54:00:00:00:01", "10.0.0.7", "10.0.0.1", "47s",
            "bound",
        ]  # fmt: skip

    def test_several_addresses_of_dhcpv6(self) -> None:
        (_, line) = leases_lines(
            [
                lease(
                    family=6,
                    address=None,
                    addresses=["2001:db8::1", "2001:db8::2", "2001:db8:1::/56"],
                    server="00010001deadbeef",
                )
            ],
            PLAIN,
        )
        assert "2001:db8::1 +2" in line
        assert "fa:16:3e:00:00:01" in line
        assert "deadbeef" not in line

    @pytest.mark.parametrize(
        ("members", "shown"),
        [
            ({"remaining_ns": 47 * SECOND_NS - 1}, "47s"),
            ({"remaining_ns": 0}, "over"),
            ({"remaining_ns": -5, "state": "lost"}, "over"),
            ({"remaining_ns": None, "expires_wall_ns": None}, "no end"),
            ({"remaining_ns": None, "expires_wall_ns": None, "state": "renewing"}, "no end"),
            ({"remaining_ns": None, "expires_wall_ns": None, "state": "informed"}, "-"),
            ({"remaining_ns": None, "expires_wall_ns": None, "acked_wall_ns": None}, "-"),
            ({"remaining_ns": "soon"}, "-"),
        ],
    )
    def test_what_remains(self, members: dict[str, Any], shown: str) -> None:
        head, line = leases_lines([lease(**members)], PLAIN)
        end = head.index("REMAINING") + len("REMAINING")
        assert line[:end].split("  ")[-1].strip() == shown

    def test_trouble_is_in_words_and_red(self) -> None:
        well, ill = lease("tap1"), lease("tap2", trouble=["queue_stalled", "new_cause"])
        plain = leases_lines([well, ill], PLAIN)
        assert plain[2].endswith("receive queue stalled, new cause")
        coloured = leases_lines([well, ill], COLOURED)
        assert coloured[1] == plain[1]
        assert coloured[2] == f"\x1b[31m{plain[2]}\x1b[0m"
        assert not any("\x1b" in line for line in plain)

    @pytest.mark.parametrize("nothing", [[], None, {}, [7, None]])
    def test_nothing_seen(self, nothing: object) -> None:
        (said,) = leases_lines(nothing, PLAIN)
        assert said == "no leases: no DHCP message of a guest has been seen yet"


class TestClients:
    def test_who_and_how_the_lease_is(self) -> None:
        said = drawn(stalled_port(missed=3))
        for words in (
            f"{PORT}  (ifindex 42)",
            "VM             instance-0000002a",
            "last sent      2025-10-09 02:13:29.924 +0000 (21s ago)",
            "last received  2025-10-09 02:13:49.912 +0000 (1s ago)",
            "3 messages were not looked at: over the rate",
            "fa:16:3e:3f:2a:9c  lost",
            "! lease lost: the lease ran out before a server had renewed it",
            "! receive queue stalled: replies pass towards the guest, which does not drain",
            "client id     01fa163e3f2a9c",
            "host name     www-1",
            "server        10.0.0.1 (fa:16:3e:00:00:01)",
            "lease         1m, over",
            "acknowledged  2025-10-09 02:12:37.412 +0000 (1m14s ago)",
            "renews (T1)   2025-10-09 02:13:07.412 +0000 (44s ago)",
            "ends          2025-10-09 02:13:37.412 +0000 (14s ago)",
            "02:13:07.450",
        ):
            assert words in said
        assert "hardware" not in said

    def test_one_that_is_well(self) -> None:
        document = stalled_port(clients=[lease(remaining_ns=45 * SECOND_NS)])
        lines = exchanges_lines(document, ACKED_NS + 15 * SECOND_NS, PLAIN, WIDE)
        said = "\n".join(lines)
        assert "1m, 45s remaining" in said
        assert "2025-10-09 02:13:07.412 +0000 (in 15s)" in said
        assert "!" not in said
        assert "not looked at" not in said
        assert lines[-1] == "  none of its messages have been seen since the daemon began"

    def test_dhcpv6_has_other_names(self) -> None:
        six = lease(
            family=6, client="00030001fa163e", client_id="2a", vid=7, relay="2001:db8::9",
            addresses=["2001:db8::1", "2001:db8::2"], remaining_ns=None, expires_wall_ns=None,
        )  # fmt: skip
        said = drawn(stalled_port(clients=[six]))
        for words in (
            "DUID          00030001fa163e",
            "IAIDs         2a",
            "VLAN          7",
            "relay         2001:db8::9",
            "address       2001:db8::1, 2001:db8::2",
            "lease         has no end",
        ):
            assert words in said

    def test_never_heard_of(self) -> None:
        said = drawn({"port": "tap1", "ifindex": 7, "last_sent_wall_ns": None, "clients": []})
        assert "last sent      never" in said
        assert said.endswith("no DHCP message of this port has been seen yet")

    def test_messages_that_found_no_room(self) -> None:
        document = stalled_port()
        document["clients"][0]["left_out"] = 1
        assert "1 sighting between the first and the last found no room" in drawn(document)

    def test_colours_for_trouble_alone(self) -> None:
        coloured = exchanges_lines(stalled_port(missed=1), TOLD_NS, COLOURED, WIDE)
        red = [line for line in coloured if "\x1b[31m" in line]
        assert any("lost" in line for line in red)
        assert any("not looked at" in line for line in coloured if "\x1b[33m" in line)
        plain = exchanges_lines(stalled_port(missed=1), TOLD_NS, PLAIN, WIDE)
        assert not any("\x1b" in line for line in plain)

    @pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", None, "no-such"])
    @pytest.mark.parametrize("width", [None, 20, 80, 100, 500])
    def test_whatever_a_guest_says_is_harmless_and_fits(
        self, width: int | None, encoding: str | None
    ) -> None:
        evil = {name: EVIL * 40 for name, value in lease().items() if isinstance(value, str)}
        exchange = [
            {**one, "name": EVIL, "note": EVIL * 40, "address": EVIL, "server": EVIL,
             "xid": EVIL, "device": EVIL}
            for one in stalled_port()["clients"][0]["exchange"]
        ]  # fmt: skip
        client = lease(**evil, exchange=exchange)
        client["trouble"] = [EVIL, "queue_stalled"]
        client["addresses"] = [EVIL, EVIL]
        document = stalled_port(port=EVIL, ifindex=EVIL, vm={"name": EVIL}, clients=[client])
        paper = paper_for(width, encoding)
        for line in exchanges_lines(document, TOLD_NS, PLAIN, paper):
            assert line.isprintable()
            assert columns(line) <= max(80, min(width or 100, 120))
            if encoding in ("ascii", None, "no-such"):
                assert line.isascii()


class TestShow:
    def test_leases_and_clocks(self) -> None:
        shown = {
            "port": port(
                PORT, 42, last_sent_wall_ns=TOLD_NS - SECOND_NS, last_received_wall_ns=None
            ),
            "leases": [lease(), lease(mac="fa:16:3e:3f:2a:9d", trouble=["ignored"])],
        }
        said = "\n".join(show_lines(shown, TOLD_NS, PLAIN, False))
        assert "last sent      2025-10-09 02:13:50.412 +0000 (1s ago)" in said
        assert "last received  never" in said
        assert "\nleases\n  10.0.0.7, from 10.0.0.1, to fa:16:3e:3f:2a:9c, bound" in said
        assert "to fa:16:3e:3f:2a:9d, bound, remaining 1m: ignored\n" in said

    def test_an_answer_that_says_nothing_of_leases(self) -> None:
        said = show_lines({"port": port(PORT, 42)}, TOLD_NS, PLAIN, False)
        assert "leases" not in said
        assert not any("last sent" in line for line in said)
        assert "  none seen" in show_lines({"port": port(PORT, 42), "leases": []}, 0, PLAIN, False)

    def test_messages_of_both_protocols_are_counted(self) -> None:
        both = counts(10)
        both["dhcp"] = {**both["dhcp"], "request": 3, "total": 3}
        both["dhcp6"] = {"renew": 4, "total": 4}
        both["messages"] = {"told": 6, "suppressed": 1, "lost": 0, "total": 7}
        mine = port("tap1", 1, counters={"from_guest": both, "to_guest": counts(1)})
        head, line = ports_lines([mine], TOLD_NS, PLAIN)
        assert line[: head.index("DHCP") + 4].endswith(" 7")
        said = "\n".join(show_lines({"port": mine}, TOLD_NS, PLAIN, False))
        assert "dhcp6" in said
        assert "4  (renew 4)" in said
        assert "7  (told 6, suppressed 1)" in said


class TestStatus:
    def test_how_many_clients_are_followed(self) -> None:
        dhcp = {"clients": 1, "forgotten": 0, "told": 1234, "suppressed": 5, "lost": 0}
        said = "\n".join(status_lines({**STATUS, "dhcp": dhcp}, TOLD_NS, PLAIN))
        assert "  DHCP " in said
        assert " 1 client followed; of their messages 1,234 told, 5 over the rate, 0 lost" in said
        said = "\n".join(status_lines({**STATUS, "dhcp": {**dhcp, "forgotten": 9}}, 0, PLAIN))
        assert "1 client followed, 9 forgotten for want of room; of" in said
        assert "followed" not in "\n".join(status_lines(STATUS, TOLD_NS, PLAIN))


KEYS = sorted({*lease(), *stalled_port(), *stalled_port()["clients"][0]["exchange"][0], "what"})
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["from_guest", "to_guest", "from_wire", "to_wire", "bound", "port"])
)  # fmt: skip
DAMAGED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8)
    ),
    max_leaves=30,
)


class TestDamage:
    @given(DAMAGED)
    def test_nothing_breaks_it(self, document: object) -> None:
        for line in exchanges_lines(document, TOLD_NS, PLAIN, WIDE):
            assert line.isprintable()
        for line in (
            *leases_lines(document, PLAIN),
            *lease_lines({"leases": document}, PLAIN),
            *show_lines({"port": {}, "leases": document}, TOLD_NS, PLAIN, True),
        ):
            assert line.isprintable()

    @given(DAMAGED)
    def test_nor_a_damaged_exchange(self, exchange: object) -> None:
        for broken in (exchange, [exchange, exchange]):
            drawn(stalled_port(clients=[lease(exchange=broken)]))

    def test_every_member_may_be_missing(self) -> None:
        whole = stalled_port()
        for place in ((), ("clients", 0), ("clients", 0, "exchange", 3)):
            reached: Any = whole
            for step in place:
                reached = reached[step]
            for name in reached:
                damaged: Any = copy.deepcopy(whole)
                holder = damaged
                for step in place:
                    holder = holder[step]
                del holder[name]
                assert drawn(damaged)
                holder[name] = [{"unexpected": None}]
                assert drawn(damaged)

    def test_unknown_members_change_nothing(self) -> None:
        whole, more = stalled_port(), stalled_port(new=1)
        more["clients"][0]["exchange"][0]["new"] = {"a": [1]}
        more["clients"][0]["new"] = EVIL
        assert drawn(whole) == drawn(more)


@pytest.fixture
def control() -> Iterator[CannedControl]:
    with canned_control() as served:
        served.daemon.ports_answer = [port(PORT, 42)]
        served.daemon.leases_answer = [lease()]
        served.daemon.exchanges_answer = {PORT: stalled_port()}
        yield served


def run(control: CannedControl, *argv: str) -> int:
    file = Path(control.path).parent / "c.toml"
    file.write_text(
        f'[paths]\nrun_dir = "{control.path.parent}"\nbpffs_dir = "/sys/fs/bpf/ts-no"\n'
    )
    return main(["--config", str(file), "dhcp", *argv])


class TestCommand:
    def test_a_table_and_a_ladder(
        self, control: CannedControl, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(control) == 0
        assert capsys.readouterr().out.splitlines() == leases_lines([lease()], PLAIN)
        assert run(control, PORT) == 0
        out = capsys.readouterr().out
        assert "│── DHCPREQUEST ──┼────────────────▶│  renews 10.0.0.7, to 10.0.0.1" in out
        assert "\x1b" not in out

    def test_json_is_the_document_as_it_came(
        self, control: CannedControl, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(control, "--json") == 0
        assert json.loads(capsys.readouterr().out) == [lease()]
        assert run(control, PORT, "--json") == 0
        assert json.loads(capsys.readouterr().out) == stalled_port()

    def test_a_port_that_is_not_there(
        self, control: CannedControl, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(control, "nix") == 1
        assert "nix: no such port here" in capsys.readouterr().err

    def test_a_name_that_cannot_be_one_is_usage(self, control: CannedControl) -> None:
        assert run(control, "") == 2

    def test_no_daemon(self, control: CannedControl, capsys: pytest.CaptureFixture[str]) -> None:
        control.stop()
        assert run(control) == 3
        assert run(control, PORT, "--json") == 3
        assert "no daemon answers" in capsys.readouterr().err
