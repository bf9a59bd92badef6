# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's three tables: what their rows say, joined, and which changes count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.identity.ovs_tables import Changed, OvsRows
from sentinel.ovs import NO_OVS, OvsBridge, OvsFacts, OvsInterface, OvsPort

NOTHING = Changed()


def names(*changed: str, tables: bool = False) -> Changed:
    return Changed(frozenset(changed), tables)


def texts(**values: str) -> list[object]:
    return ["map", [[key.replace("_", "-"), value] for key, value in values.items()]]


def uuids(*row_ids: str) -> list[object]:
    """As ovsdb-server writes them: one of them stands alone."""
    found: list[object] = [["uuid", row_id] for row_id in row_ids]
    return ["uuid", row_ids[0]] if len(found) == 1 else ["set", found]


def interface(name: str, **ids: str) -> dict[str, Any]:
    return {"name": name, "type": "", "options": texts(), "external_ids": texts(**ids)}


def new(**rows: object) -> dict[str, object]:
    return {row_id: {"new": row} for row_id, row in rows.items()}


BRIDGE = {
    "name": "br-int",
    "datapath_type": "",
    "other_config": texts(),
    "stp_enable": False,
    "rstp_enable": False,
    "ports": uuids("p1"),
}
PORT = {
    "name": "vnet0",
    "interfaces": uuids("i1"),
    "tag": ["set", []],
    "vlan_mode": ["set", []],
    "trunks": ["set", []],
}


def updates(**changed: Any) -> dict[str, object]:
    """One bridge with one port and one interface; `bridge`, `port`, `interface` say otherwise."""
    return {
        "Bridge": new(b1=BRIDGE | changed.get("bridge", {})),
        "Port": new(p1=PORT | changed.get("port", {})),
        "Interface": new(i1=interface("vnet0") | changed.get("interface", {})),
    }


def facts_of(**changed: Any) -> OvsFacts:
    rows = OvsRows()
    rows.replace(updates(**changed))
    return rows.facts()


def test_three_tables_are_joined_by_their_row_ids() -> None:
    assert facts_of() == OvsFacts(
        bridges={"br-int": OvsBridge("br-int")},
        ports={"vnet0": OvsPort("vnet0", "br-int", ("vnet0",))},
        interfaces={"vnet0": OvsInterface("vnet0")},
    )


def test_a_bond_a_patch_and_a_tunnel() -> None:
    rows = OvsRows()
    rows.replace(
        {
            "Bridge": new(
                b1=BRIDGE | {"name": "br-ex", "ports": uuids("p1", "p2"), "stp_enable": True},
                b2=BRIDGE | {"ports": uuids("p3"), "rstp_enable": True, "datapath_type": "netdev"},
            ),
            "Port": new(
                p1=PORT | {"name": "bond0", "interfaces": uuids("i2", "i1"), "trunks": 7},
                p2=PORT | {"name": "patch-ex", "interfaces": uuids("i3")},
                p3=PORT
                | {"name": "patch-int", "interfaces": uuids("i4"), "tag": 20}
                | {"vlan_mode": "native-untagged", "trunks": ["set", [40, 20, 20]]},
                p9=PORT | {"name": "of no bridge"},
            ),
            "Interface": new(
                i1=interface("eth0"),
                i2=interface("eth1"),
                i3=interface("patch-ex") | {"type": "patch", "options": texts(peer="patch-int")},
                i4=interface("patch-int") | {"type": "patch", "options": texts(peer="patch-ex")},
                i5=interface("vxlan0") | {"type": "vxlan", "options": texts(psk="hidden")},
            ),
        }
    )
    facts = rows.facts()
    assert facts.bridges == {
        "br-ex": OvsBridge("br-ex", speaks_stp=True),
        "br-int": OvsBridge("br-int", "netdev", speaks_rstp=True),
    }
    assert facts.ports == {
        "bond0": OvsPort("bond0", "br-ex", ("eth0", "eth1"), trunks=(7,)),
        "patch-ex": OvsPort("patch-ex", "br-ex", ("patch-ex",)),
        "patch-int": OvsPort(
            "patch-int", "br-int", ("patch-int",), 20, "native-untagged", (20, 40)
        ),
    }
    assert facts.interfaces["patch-ex"].peer == "patch-int"
    assert "hidden" not in repr(facts)
    assert facts.port_of("eth1") is facts.ports["bond0"]
    assert facts.port_of("bond0") is None
    assert facts.bridge_of("eth1") is facts.bridges["br-ex"]
    assert (facts.port_of("vxlan0"), facts.bridge_of("vxlan0")) == (None, None)
    assert facts.bypasses_kernel("patch-int")
    assert not facts.bypasses_kernel("patch-ex")


def test_vhost_user_bypasses_the_kernel_on_any_bridge() -> None:
    facts = facts_of(
        interface={
            "type": "dpdkvhostuserclient",
            "options": texts(vhost_server_path="/run/vhost/a"),
        }
    )
    assert facts.interfaces["vnet0"].socket == "/run/vhost/a"
    assert facts.bypasses_kernel("vnet0")
    assert not facts_of().bypasses_kernel("vnet0")


@pytest.mark.parametrize(
    ("value", "forwards"),
    [("true", True), ("TRUE", True), ("false", False), ("1", False), ("", False), (" true", False)],
)
def test_forward_bpdu_is_read_as_open_vswitch_reads_it(value: str, forwards: bool) -> None:
    facts = facts_of(bridge={"other_config": texts(forward_bpdu=value, mac_table_size="9")})
    assert facts.bridges["br-int"].forwards_bpdu is forwards


HOSTILE: list[tuple[str, dict[str, object]]] = [
    ("bridge", {"name": ""}),
    ("bridge", {"name": "x" * 257}),
    ("bridge", {"name": "\ud800"}),
    ("bridge", {"name": None}),
    ("bridge", {"datapath_type": ["set", ["netdev"]]}),
    ("bridge", {"stp_enable": "true"}),
    ("bridge", {"rstp_enable": 1}),
    ("bridge", {"other_config": {"forward-bpdu": "true"}}),
    ("bridge", {"ports": ["uuid"]}),
    ("bridge", {"ports": "p1"}),
    ("bridge", {"ports": ["set", ["p1"]]}),
    ("port", {"name": ["uuid", "x"]}),
    ("port", {"tag": 4096}),
    ("port", {"tag": -1}),
    ("port", {"tag": True}),
    ("port", {"tag": "20"}),
    ("port", {"tag": 1.5}),
    ("port", {"tag": ["set", [20, 30]]}),
    ("port", {"trunks": ["set", [1, "2"]]}),
    ("port", {"trunks": ["map", []]}),
    ("port", {"vlan_mode": 7}),
    ("port", {"vlan_mode": ["set", ["access", "trunk"]]}),
    ("port", {"interfaces": ["set", [["uuid", ["i1"]]]]}),
    ("interface", {"name": "\udfff"}),
    ("interface", {"type": ["set", []]}),
    ("interface", {"options": ["set", []]}),
    ("interface", {"external_ids": "none"}),
    ("interface", {"options": texts(peer="\ud834")}),
    ("interface", {"options": texts(vhost_server_path="/" * 257)}),
]


@pytest.mark.parametrize(("table", "columns"), HOSTILE)
def test_a_row_of_another_form_is_left_out_and_no_other(
    table: str, columns: dict[str, object]
) -> None:
    facts = facts_of(**{table: columns})
    whole = facts_of()
    assert len(facts.bridges) == (table != "bridge")
    assert len(facts.ports) == (table == "interface")
    assert len(facts.interfaces) == (table != "interface")
    assert facts.bridges.items() <= whole.bridges.items()
    for port in facts.ports.values():
        assert port == replace(whole.ports["vnet0"], interfaces=())
    msgspec.json.encode({name: str(one) for name, one in facts.interfaces.items()})


def test_what_is_no_pair_of_texts_is_left_out_of_a_map() -> None:
    odd = ["map", [["peer", 7], ["peer"], "peer", ["peer", "p", "q"], ["vm-uuid", "u"]]]
    facts = facts_of(interface={"options": odd, "external_ids": odd})
    assert facts.interfaces["vnet0"].peer is None
    assert facts.interfaces["vnet0"].external_ids == {"vm-uuid": "u"}


def test_of_two_bridges_with_the_same_port_the_same_one_always_wins() -> None:
    both = [BRIDGE | {"name": "br-b"}, BRIDGE | {"name": "br-a"}]
    for order in (both, both[::-1]):
        rows = OvsRows()
        rows.replace(updates() | {"Bridge": new(x=order[0], y=order[1])})
        assert rows.facts().ports["vnet0"].bridge == "br-a"


def test_a_port_that_moves_is_on_the_other_bridge() -> None:
    rows = OvsRows()
    other = BRIDGE | {"name": "br-ex", "ports": ["set", []]}
    rows.replace(updates() | {"Bridge": new(b1=BRIDGE, b2=other)})
    assert rows.facts().ports["vnet0"].bridge == "br-int"
    moved = {"b1": BRIDGE | {"ports": ["set", []]}, "b2": other | {"ports": uuids("p1")}}
    assert rows.apply({"Bridge": new(**moved)}) == names(tables=True)
    assert rows.facts().ports["vnet0"].bridge == "br-ex"
    assert rows.facts().bridge_of("vnet0") == OvsBridge("br-ex")


def test_of_two_ports_with_the_same_interface_the_one_of_that_name_has_it() -> None:
    own, bond = OvsPort("eth0", "br0", ("eth0",)), OvsPort("bond0", "br0", ("eth0", "eth1"))
    for order in ((own, bond), (bond, own)):
        facts = OvsFacts(ports={port.name: port for port in order})
        assert facts.port_of("eth0") is own
        assert facts.port_of("eth1") is bond


def test_facts_are_the_same_object_until_a_row_changes() -> None:
    rows = OvsRows()
    assert rows.facts() == NO_OVS
    assert rows.replace(updates()) == names("vnet0", tables=True)
    before = rows.facts()
    assert rows.facts() is before
    assert rows.apply(updates()) == NOTHING
    assert rows.apply({}) == NOTHING
    assert rows.facts() is before
    changed = rows.apply({"Port": new(p1=PORT | {"tag": 20})})
    assert changed == names(tables=True)
    assert rows.facts().ports["vnet0"].tag == 20
    assert before.ports["vnet0"].tag is None


def test_external_ids_are_told_by_name_and_are_no_change_of_tables() -> None:
    rows = OvsRows()
    rows.replace(updates())
    row = interface("vnet0", vm_uuid="1")
    assert rows.apply({"Interface": new(i1=row)}) == names("vnet0")
    assert rows.facts().interfaces["vnet0"].external_ids == {"vm-uuid": "1"}
    # The other way round.
    assert rows.apply({"Interface": new(i1=row | {"type": "internal"})}) == names(tables=True)
    assert rows.apply({"Interface": {"i1": {"old": row}}}) == names("vnet0", tables=True)
    assert rows.facts().interfaces == {}
    assert rows.facts().ports["vnet0"].interfaces == ()
    assert rows.apply({"Bridge": {"b1": {"old": BRIDGE}}}) == names(tables=True)
    assert rows.facts().ports == {}


def test_a_server_that_came_back_tells_what_changed_meanwhile() -> None:
    rows = OvsRows()
    rows.replace(updates())
    before = rows.facts()
    # Row ids may be others; nothing that they say is.
    other_ids = {
        "Bridge": new(x=BRIDGE | {"ports": uuids("y")}),
        "Port": new(y=PORT | {"interfaces": uuids("z")}),
        "Interface": new(z=interface("vnet0")),
    }
    assert rows.replace(other_ids) == NOTHING
    assert rows.facts() == before
    with_ids = other_ids | {"Interface": new(z=interface("vnet0", vm_uuid="1"))}
    assert rows.replace(with_ids) == names("vnet0")
    netdev = {"Bridge": new(x=BRIDGE | {"ports": uuids("y"), "datapath_type": "netdev"})}
    assert rows.replace(with_ids | netdev) == names(tables=True)
    assert rows.replace({}) == names("vnet0", tables=True)
    assert rows.facts() == NO_OVS


def test_a_row_that_became_odd_is_gone_and_comes_back() -> None:
    rows = OvsRows()
    rows.replace(updates())
    assert rows.apply({"Port": new(p1=PORT | {"tag": "x"})}) == names(tables=True)
    assert rows.facts().ports == {}
    assert rows.apply({"Port": new(p1=PORT)}) == names(tables=True)
    assert rows.facts().ports.keys() == {"vnet0"}


def test_rows_of_the_interface_table_alone() -> None:
    rows = OvsRows()
    assert rows.replace({"Interface": new(r1=interface("tap0", a="1"))}).identities == {"tap0"}
    assert rows.external_ids("tap0") == {"a": "1"}
    assert rows.apply({"Interface": new(r1=interface("tap0", a="2"))}) == names("tap0")
    assert rows.apply({"Interface": new(r2=interface("tap1"))}) == names("tap1", tables=True)
    # A name that another row gets.
    assert rows.apply({"Interface": new(r1=interface("tap2", a="2"))}).identities == {
        "tap0",
        "tap2",
    }
    assert rows.external_ids("tap0") == {}
    assert rows.apply({"Interface": {"r1": {"old": {}}}}).identities == {"tap2"}
    assert rows.external_ids("tap2") == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["new", "name", "Port", "i1"]), inner, max_size=3)
        | st.tuples(st.sampled_from(["set", "map", "uuid"]), inner).map(list)
    ),
    max_leaves=12,
)
COLUMNS = st.sampled_from(sorted({*BRIDGE, *PORT, *interface("")}))


@given(JSON, st.sampled_from(["Bridge", "Port", "Interface"]), st.dictionaries(COLUMNS, JSON))
def test_anything_is_read_or_left_out(
    value: object, table: str, columns: Mapping[str, object]
) -> None:
    rows = OvsRows()
    rows.replace(updates())
    for hostile in (value, {table: value}, {table: {"r": value}}, {table: {"r": {"new": value}}}):
        rows.apply(hostile)
        rows.replace(hostile)
    whole = updates()
    rows.replace(whole)
    bases: dict[str, dict[str, Any]] = {"Bridge": BRIDGE, "Port": PORT}
    base = bases.get(table, interface("vnet0"))
    rows.apply({table: new(r=base | dict(columns))})
    facts = rows.facts()
    for port in facts.ports.values():
        assert port.tag is None or 0 <= port.tag <= 4095
        assert set(port.interfaces) <= facts.interfaces.keys()
        assert port.bridge in facts.bridges
    for each in facts.interfaces.values():
        assert all(isinstance(x, str) for pair in each.external_ids.items() for x in pair)
    json.dumps([*facts.bridges, *facts.ports, *facts.interfaces]).encode("utf-8")
