# SPDX-License-Identifier: Apache-2.0
"""The path of `show`: its JSON with counters at each step, and the tree drawn of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.cli_ladder import paper_for
from sentinel.cli_path import path_lines
from sentinel.cli_ports import show_lines
from sentinel.cli_text import Style
from sentinel.decode import NO_COUNTERS
from sentinel.link import LinkCounters, LinkFacts
from sentinel.path.document import path_document
from sentinel.path.step import Path
from sentinel.terminal import columns
from tests.unit.test_path_book import STORY, TAP, inventory, vxlan
from tests.unit.test_path_switches import bridges, patched

PLAIN, COLOURED = Style(False), Style(True)
WIDE, NARROW, TYPED = paper_for(120, "utf-8"), paper_for(80, "utf-8"), paper_for(120, "ascii")
SENT = replace(NO_COUNTERS, frames=18_233, bytes=27_423_432, oversized=7, dropped=(1, 2, 0, 0, 0))
GOT = replace(NO_COUNTERS, frames=9_001, bytes=5_000)


def counted(rx: int, tx: int) -> LinkCounters:
    return LinkCounters(rx, rx * 100, 1, tx, tx * 100, 2)


def path_of(*links: LinkFacts) -> Path:
    found = inventory(*links).path_of(20)
    assert found is not None
    return found


def document() -> dict[str, Any]:
    guarded = {20: (SENT, GOT), 5: (GOT, SENT)}
    links = {ifindex: counted(rx=9_000 + ifindex, tx=18_000) for ifindex in (2, 3, 5, 6, 7, 10)}
    return path_document(path_of(*STORY), "br100", guarded, links)


def steps(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(step for below in tree["below"] for step in steps(below))]


def test_the_document_is_the_path() -> None:
    made = document()
    assert json.loads(json.dumps(made)) == made
    assert {name: made[name] for name in made if name != "tree"} == {
        "mtu_bytes": 1500,
        "carries_bytes": 1496,
        "narrowest": "bond0",
        "bridge": "br100",
    }
    vlan20 = steps(made["tree"])[3]
    assert {name: vlan20[name] for name in vlan20 if name not in ("below", "counters")} == {
        "ifindex": 6,
        "name": "vlan20",
        "kind": "vlan",
        "mtu_bytes": 1500,
        "carries_bytes": 1500,
        "tags": [{"tpid": 0x8100, "vid": 20}, {"tpid": 0x8100, "vid": 100}],
        "note": "",
    }


def test_counters_are_told_towards_the_wire_and_from_it() -> None:
    by_name = {step["name"]: step["counters"] for step in steps(document()["tree"])}
    assert by_name["tap7"]["to_wire"] == {
        "frames": 18_233,
        "bytes": 27_423_432,
        "oversized": 7,
        "dropped": 3,
    }
    assert by_name["tap7"]["from_wire"]["frames"] == 9_001
    # What a bridge's own device counts is the host's.
    assert by_name["br100"] is None
    assert by_name["vlan20"]["to_wire"] == {
        "frames": 18_000,
        "bytes": 1_800_000,
        "oversized": None,
        "dropped": 2,
    }
    assert by_name["vlan20"]["from_wire"]["frames"] == 9_006
    # Our own where there are any.
    assert by_name["bond0"]["to_wire"]["oversized"] == 7
    assert by_name["eth0"]["from_wire"]["dropped"] == 1


def test_the_far_end_of_a_veth_pair_gets_what_goes_to_the_wire() -> None:
    nic = LinkFacts(2, "eth0", master=11)
    found = path_of(*bridges(2), nic, *patched(0, 10, 11), TAP)
    links = {100: counted(rx=1, tx=50), 101: counted(rx=50, tx=1), 20: counted(rx=50, tx=1)}
    by_name = {
        step["name"]: step["counters"]
        for step in steps(path_document(found, "br0", {}, links)["tree"])
    }
    for name in ("tap7", "p0a", "p0b"):
        assert by_name[name]["to_wire"]["frames"] == 50
        assert by_name[name]["from_wire"]["frames"] == 1
    assert by_name["eth0"] is None


# --- drawn


def test_the_tree_of_the_double_vlan() -> None:
    lines = path_lines(document(), PLAIN, WIDE)
    assert lines[0] == (
        "  MTU 1,500 bytes, but packets of no more than 1,496 bytes get through bond0"
    )
    # Between columns, as many spaces as it takes.
    assert [re.sub(r"(?<=\S) {2,}", "  ", line) for line in lines[1:]] == [
        "  DEVICE  MTU  CARRIES  TAGS  TO WIRE  FROM WIRE  OVERSIZED  DROPPED",
        "  tap7  9000  1500  -  18,233  9,001  7  3",
        "  └─ br100 (bridge)  1500  1500  -  -  -  -  -",
        "     └─ vlan100 (vlan)  1500  1500  100  18,000  9,007  -  3",
        "        └─ vlan20 (vlan)  1500  1500  20 › 100  18,000  9,006  -  3",
        "           └─ bond0 (bond)  1500  1496  20 › 100  18,233  9,001  7  3 ◀",
        "              ├─ eth0 (active)  1500  1496  20 › 100  18,000  9,002  -  3",
        "              └─ eth1 (backup)  1500  1496  20 › 100  18,000  9,003  -  3",
    ]
    ends = {columns(line.removesuffix(" ◀")) for line in lines[1:]}
    assert len(ends) == 1


def test_the_narrowest_alone_is_marked() -> None:
    lines = path_lines(document(), COLOURED, WIDE)
    assert [("bond0" in line) for line in lines if "\x1b[33m" in line] == [True]
    assert sum("◀" in line for line in lines) == 1


def test_paper() -> None:
    for line in path_lines(document(), PLAIN, NARROW):
        assert columns(line) <= 80
    for line in path_lines(document(), PLAIN, TYPED):
        assert line.isascii()
    typed = "\n".join(path_lines(document(), PLAIN, TYPED))
    assert "`- bond0 (bond)" in typed
    assert "20 > 100" in typed


def test_many_ways_are_told_by_their_number_but_for_the_narrowest() -> None:
    nics = [LinkFacts(100 + number, f"nic{number}", master=10) for number in range(40)]
    nics[30] = replace(nics[30], mtu_bytes=1400)
    made = path_document(path_of(STORY[0], *nics, TAP), "br100", {}, {})
    lines = path_lines(made, PLAIN, WIDE)
    assert len(lines) == 2 + 2 + 12 + 1 + 1
    assert "└─ 27 more" in lines[-1]
    assert "nic30" in lines[-2]
    assert lines[-2].endswith("◀")


def test_a_service_tag_says_so() -> None:
    made = document()
    steps(made["tree"])[3]["tags"][0]["tpid"] = 0x88A8
    assert "20 (802.1ad) › 100" in "\n".join(path_lines(made, PLAIN, WIDE))


def test_a_tunnel() -> None:
    made = path_document(path_of(*STORY[:4], vxlan(tunnel_lower=5), TAP), "br100", {}, {})
    said = "\n".join(path_lines(made, PLAIN, WIDE))
    assert "MTU 1,450 bytes, by vxlan7" in said
    assert "vxlan7 (vxlan)" in said


def test_show_has_the_tree_and_says_nothing_twice() -> None:
    shown = {"port": {"name": "tap7", "role": "port", "state": "watched"}, "path": document()}
    said = show_lines(shown, 0, PLAIN, verbose=False)
    assert "path" in said
    assert any("└─ bond0 (bond)" in line for line in said)
    assert any(line.split() == ["bridge", "br100"] for line in said)
    assert not any("carries bytes" in line or "narrowest" in line for line in said)
    assert not any("{" in line for line in said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tree", "below", "name", "tags", "counters", "to_wire", "vid", "note"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["tree", "narrowest", "mtu_bytes"]), JSON))
def test_whatever_an_answer_holds_is_harmless(answer: dict[str, Any]) -> None:
    for paper in (WIDE, NARROW, TYPED):
        for line in path_lines(answer, PLAIN, paper):
            assert line.isprintable()


@pytest.mark.parametrize("depth", [40, 300])
def test_a_tree_without_end_is_cut(depth: int) -> None:
    tree: dict[str, Any] = {"name": "d", "below": []}
    for _ in range(depth):
        tree = {"name": "d", "below": [tree]}
    assert len(path_lines({"tree": tree}, PLAIN, WIDE)) < 40
