# SPDX-License-Identifier: Apache-2.0
"""What `audit` says to a person who was woken for it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sentinel.audit.document import audit_document
from sentinel.audit.finding import UnseenPort
from sentinel.audit.rules import run_audit
from sentinel.cli_audit import audit_lines
from sentinel.cli_text import Style
from sentinel.terminal import columns
from sentinel.vm import VmIdentity
from tests.harness.audit_host import AT_1430, SECOND, AuditHost, bonded, bridged, q, story

PLAIN, COLOURED = Style(False), Style(True)
EVIL = "wéb東\x1b]0;gotcha\x07\x9b2J\u202e\n1"


@pytest.fixture(autouse=True)
def _at_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def answer(host: AuditHost, *, unseen: list[UnseenPort] | None = None, **more: Any) -> Any:
    facts = host.facts(unseen=unseen or [])
    told = {"took_ns": 31_000_000, "drops": "on", **more}
    return json.loads(json.dumps(audit_document(facts, run_audit(facts), **told)))


def drawn(document: object, style: Style = PLAIN, width: int = 100) -> str:
    return "\n".join(audit_lines(document, AT_1430 + 2 * SECOND, style, width))


def test_the_story() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=18_233, frames=40_000)
    assert drawn(answer(host), width=88).splitlines() == [
        "1 finding: 1 critical",
        "",
        "CRITICAL: frames are being lost",
        "",
        "  vlan-on-vlan/vlan100",
        "    vlan100 is stacked on vlan20 (vlan100@vlan20 → bond0): every tenant frame leaves",
        "    bond0 with two tags, 1504 bytes where eth0 carries 1500. Since 14:02, 18,233 frames",
        "    were oversized by exactly 4 bytes.",
        "    > Attach vlan100 to bond0.",
        "        # a VLAN device cannot be moved: delete it and add it again",
        "        ip address show dev vlan100  # addresses and routes go with it: note them",
        "        ip link delete dev vlan100",
        "        ip link add link bond0 name vlan100 mtu 1500 type vlan id 100",
        "        ip link set dev vlan100 master br100",
        "        ip link set dev vlan100 up",
        "        # and in the file that makes it, or it comes back as it was",
        "        # meant to be so? [audit] service_vlans = [20]",
        "    seen on 2025-10-09",
        "      14:02:00.000  bond0    the first frame with VLAN 100 inside VLAN 20",
        "      14:29:59.000  bond0    the latest of 40,000 frames with VLAN 100 inside VLAN 20;",
        "                             18,233 oversized by exactly 4 bytes, the largest had 1,518",
        "                             bytes",
        "      14:30:00.000  vlan100  2 ports have their way to the wire through it, of 2",
        "    last seen 2025-10-09 14:29:59.000 +0000 (3s ago)",
        "",
        "looked at 8 devices, 2 ports and 1 uplink in 31ms, 2025-10-09 14:30:00.000 +0000 (2s",
        "ago)",
    ]


def test_nothing_found_says_what_was_looked_at() -> None:
    lines = drawn(answer(bridged(taps=5))).splitlines()
    assert lines[0] == "nothing found"
    assert lines[2].startswith("looked at 7 devices, 5 ports and 1 uplink in 31ms")
    assert len(lines) == 3


def test_what_could_not_be_looked_at_is_said() -> None:
    said = drawn(answer(bonded(), drops="off", why="this kernel has no reasons", beyond=3))
    assert "not looked at: frames that the kernel itself drops (this kernel has no reasons)" in said
    assert "no port is watched" in said
    assert "3 findings have no incident: too many at once" in said


def test_the_gravest_first_and_what_is_accepted_last() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=5)
    host.change("br100", stp=True, group_fwd_mask=0x100)
    said = drawn(
        answer(host, unseen=[UnseenPort("vhu1", "vhost-user")], accepted=["host-stp/*"])
    ).splitlines()
    assert said[0] == "3 findings: 1 critical, 1 warning, 1 notice; 1 accepted"
    at = [
        said.index(line)
        for line in (
            "CRITICAL: frames are being lost",
            "WARNING: frames will be lost, or the host is at risk",
            "  forwards-bpdu/br100",
            "NOTICE: good to know",
            "  unseen-port/vhu1",
            "accepted by the configuration",
            "  host-stp/br100",
        )
    ]
    assert at == sorted(at)


def test_whose_guest_it_is() -> None:
    host = bridged()
    host.vms["tap0"] = VmIdentity(uuid=None, name="web-1", source="libvirt")
    host.lost("tap0", "FULL_RING")
    assert "    VM web-1" in drawn(answer(host)).splitlines()


def test_commands_are_never_broken() -> None:
    host = story()
    lines = drawn(answer(host), width=40).splitlines()
    assert "        ip link add link bond0 name vlan100 mtu 1500 type vlan id 100" in lines


@pytest.mark.parametrize("style", [PLAIN, COLOURED])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", None, "no such"])
def test_no_name_reaches_the_terminal_raw(style: Style, encoding: str | None) -> None:
    host = bonded()
    host.vlan(EVIL, "bond0", q(20))
    host.vlan(EVIL[:12] + "2", EVIL, q(100))
    host.tap("tap0", EVIL)
    host.vms["tap0"] = VmIdentity(uuid=None, name=EVIL, source="libvirt", display_name=EVIL)
    host.lost("tap0", EVIL, EVIL)
    host.seen("bond0", q(20), q(100), oversized=4)
    document = answer(
        host, unseen=[UnseenPort(EVIL, EVIL, parent=EVIL)], accepted=["unseen-port/*"],
        drops="off", why=EVIL,
    )  # fmt: skip
    assert EVIL in json.dumps(document, ensure_ascii=False).replace("\\u001b", "\x1b").replace(
        "\\u0007", "\x07"
    ).replace("\\n", "\n")
    for line in audit_lines(document, 0, style, 80, encoding):
        clean = line
        for code in ("31", "32", "33", "1", "2", "0"):
            clean = clean.replace(f"\x1b[{code}m", "")
        assert clean.isprintable()
        if encoding in ("ascii", None, "no such"):
            assert line.isascii()


def test_text_stays_on_the_paper() -> None:
    host = story()
    host.seen("bond0", q(20), q(100), oversized=18_233)
    for width in (60, 80, 100, 200):
        for line in audit_lines(answer(host), 0, PLAIN, width):
            is_command = line.startswith("        ")
            assert is_command or columns(line) <= min(width, 110), line


@pytest.mark.parametrize(
    "document",
    [
        None, [], "x", {}, {"findings": 3}, {"findings": [{}, 4, {"severity": 5, "what": None}]},
        {"findings": [{"commands": "x", "evidence": [{}, {"time_ns": "a", "place": 4}]}]},
        {"drops": 4, "ports": "many", "took_ns": "long", "checked_wall_ns": 2**80},
    ],
)  # fmt: skip
def test_any_answer_is_drawn(document: object) -> None:
    assert all(line.isprintable() for line in audit_lines(document, 0, PLAIN))


def test_the_document_says_what_it_rests_on() -> None:
    host = story()
    for vid in range(60):
        host.seen("bond0", q(20), q(vid), oversized=vid)
    host.lost("eth0", "FULL_RING", "tun_net_xmit", source="tap0")
    document = answer(host, accepted=["vlan-on-vlan/vlan100"])
    found = {one["id"]: one for one in document["findings"]}
    assert found["vlan-on-vlan/vlan100"]["accepted"] is True
    assert found["losses/eth0"]["accepted"] is False
    assert found["vlan-on-vlan/vlan100"]["severity"] == "warning"
    assert found["losses/eth0"].keys() == {
        "id", "rule", "severity", "device", "ifindex", "what", "repair", "commands", "vm",
        "frames", "since_wall_ns", "last_wall_ns", "evidence", "opens_incident", "accepted",
    }  # fmt: skip
    assert (document["devices"], document["ports"], document["uplinks"]) == (8, 2, 1)
    assert document["checked_wall_ns"] == AT_1430
    assert document["drops"] == {"state": "on", "why": ""}
    assert len(document["pairs"]) == 50
    worst = document["pairs"][0]
    assert (worst["device"], worst["direction"], worst["oversized"]) == ("bond0", "to_wire", 59)
    assert worst["inner"] == {"tpid": 0x8100, "vid": 59}
    assert worst["excess"] == {"1-4": 59, "5-8": 0, "9-50": 0, "more": 0}
    (loss,) = document["losses"]
    assert (loss["from"], loss["at"], loss["symbol"]) == ("tap0", "eth0", "tun_net_xmit")
