# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's Bridge, Port and Interface tables, out of a monitor's updates; pure.

Values are as RFC 7047 §5.1 writes them: a set of one element may stand bare, an
optional column is a set of none or one. A column that is not there has its
default; a row that has one of another form is left out as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, TypeVar

from sentinel.ovs import OvsBridge, OvsFacts, OvsInterface, OvsPort

WANTED: Final = {
    "Bridge": ["name", "datapath_type", "other_config", "stp_enable", "rstp_enable", "ports"],
    "Port": ["name", "interfaces", "tag", "vlan_mode", "trunks"],
    "Interface": ["name", "type", "options", "external_ids"],
}
"""Columns by table, for the monitor request."""
LONGEST_TEXT_CHARS: Final = 256
LARGEST_VID: Final = 4095
NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class _BridgeRow:
    bridge: OvsBridge
    port_rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _PortRow:
    port: OvsPort
    interface_rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """What an update changed."""

    identities: frozenset[str] = frozenset()
    """Names of interfaces whose external_ids are others, or that came or went."""
    tables: bool = False
    """Whether anything but external_ids is another."""


class OvsRows:
    """The three tables as told so far."""

    def __init__(self) -> None:
        self._bridges: dict[str, _BridgeRow] = {}
        self._ports: dict[str, _PortRow] = {}
        self._interfaces: dict[str, OvsInterface] = {}
        self._external_ids: dict[str, Mapping[str, str]] = {}
        self._port_by_row: dict[str, tuple[_PortRow, OvsPort]] = {}
        self._facts: OvsFacts | None = None

    def external_ids(self, name: str) -> Mapping[str, str]:
        """Of one interface; empty if there is none."""
        return self._external_ids.get(name, NO_TEXTS)

    def facts(self) -> OvsFacts:
        """The tables joined; the same object for as long as no row changes."""
        if self._facts is None:
            self._facts = self._joined()
        return self._facts

    def replace(self, updates: object) -> Changed:
        """Take a monitor's first answer, which replaces all."""
        ids_before, facts_before = self._external_ids, self.facts()
        self._bridges, self._ports, self._interfaces = {}, {}, {}
        self._facts = None
        self.apply(updates)
        return Changed(
            frozenset(
                name
                for name in ids_before.keys() | self._external_ids.keys()
                if ids_before.get(name) != self._external_ids.get(name)
            ),
            _without_ids(facts_before) != _without_ids(self.facts()),
        )

    def apply(self, updates: object) -> Changed:
        """Take one table-updates object (RFC 7047 §4.1.6)."""
        tables = False
        for row_id, new in _news(updates, "Bridge"):
            tables |= _exchange(self._bridges, row_id, _bridge(new))
        for row_id, new in _news(updates, "Port"):
            tables |= _exchange(self._ports, row_id, _port(new))
        identities: set[str] = set()
        for row_id, new in _news(updates, "Interface"):
            old, row = self._interfaces.get(row_id), _interface(new)
            if not _exchange(self._interfaces, row_id, row):
                continue
            self._facts = None
            if old is None or row is None or _bare(old) != _bare(row):
                tables = True
            if _named_ids(old) != _named_ids(row):
                identities |= {one.name for one in (old, row) if one is not None}
        if tables:
            self._facts = None
        if self._facts is None:
            self._external_ids = {one.name: one.external_ids for one in self._interfaces.values()}
        return Changed(frozenset(identities), tables)

    def _joined(self) -> OvsFacts:
        ports: dict[str, OvsPort] = {}
        joined: dict[str, tuple[_PortRow, OvsPort]] = {}
        # In an order of their own, so that of two that claim the same the same one wins.
        bridge_rows = sorted(self._bridges.values(), key=lambda row: row.bridge.name)
        for bridge_row in bridge_rows:
            for port_id in bridge_row.port_rows:
                row = self._ports.get(port_id)
                if row is not None and row.port.name not in ports:
                    port = self._join(port_id, row, bridge_row.bridge.name)
                    ports[port.name] = port
                    joined[port_id] = (row, port)
        self._port_by_row = joined
        return OvsFacts(
            bridges={row.bridge.name: row.bridge for row in bridge_rows},
            ports=ports,
            interfaces={one.name: one for one in self._interfaces.values()},
        )

    def _join(self, port_id: str, row: _PortRow, bridge: str) -> OvsPort:
        """The port with its bridge and interfaces; the same object as before if it is the same."""
        found = (self._interfaces.get(interface_id) for interface_id in row.interface_rows)
        names = tuple(sorted([one.name for one in found if one is not None]))
        known_row, known = self._port_by_row.get(port_id, (None, row.port))
        if known_row is row and known.bridge == bridge and known.interfaces == names:
            return known
        return replace(row.port, bridge=bridge, interfaces=names)


def _exchange(rows: dict[str, _Row], row_id: str, new: _Row | None) -> bool:
    """Put a row in the place of an old one; None is no row. Returns whether they differ."""
    old = rows.pop(row_id, None)
    if new is not None:
        rows[row_id] = new
    return old != new


def _news(updates: object, table: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each row of a table that an update is about, as it is now; None: it is gone."""
    for row_id, update in _object(_object(updates).get(table)).items():
        new = _object(update).get("new")
        yield row_id, new if isinstance(new, dict) else None


def _named_ids(row: OvsInterface | None) -> tuple[str, Mapping[str, str]] | None:
    return None if row is None else (row.name, row.external_ids)


def _bare(row: OvsInterface) -> OvsInterface:
    return replace(row, external_ids=NO_TEXTS)


def _without_ids(facts: OvsFacts) -> OvsFacts:
    bare = {name: _bare(row) for name, row in facts.interfaces.items()}
    return replace(facts, interfaces=bare)


# Rows.


def _bridge(new: Mapping[str, Any] | None) -> _BridgeRow | None:
    try:
        return None if new is None else _BridgeRow(_bridge_columns(new), _uuids(new.get("ports")))
    except ValueError:
        return None


def _bridge_columns(new: Mapping[str, Any]) -> OvsBridge:
    other_config = _map(new.get("other_config"))
    return OvsBridge(
        name=_name(new.get("name")),
        datapath_type=_text(new.get("datapath_type", "")),
        # As Open vSwitch itself reads a value that is false unless it says otherwise.
        forwards_bpdu=other_config.get("forward-bpdu", "").lower() == "true",
        speaks_stp=_truth(new.get("stp_enable", False)),
        speaks_rstp=_truth(new.get("rstp_enable", False)),
    )


def _port(new: Mapping[str, Any] | None) -> _PortRow | None:
    try:
        return None if new is None else _PortRow(_port_columns(new), _uuids(new.get("interfaces")))
    except ValueError:
        return None


def _port_columns(new: Mapping[str, Any]) -> OvsPort:
    tags, modes = _set(new.get("tag")), _set(new.get("vlan_mode"))
    if len(tags) > 1 or len(modes) > 1:
        raise ValueError("more than one in an optional column")
    return OvsPort(
        name=_name(new.get("name")),
        bridge="",
        interfaces=(),
        tag=_vid(tags[0]) if tags else None,
        vlan_mode=_text(modes[0]) if modes else "",
        trunks=tuple(sorted({_vid(one) for one in _set(new.get("trunks"))})),
    )


def _interface(new: Mapping[str, Any] | None) -> OvsInterface | None:
    try:
        return None if new is None else _interface_columns(new)
    except ValueError:
        return None


def _interface_columns(new: Mapping[str, Any]) -> OvsInterface:
    # Nothing else of the options is kept: there may be keys of tunnels among them.
    options = _map(new.get("options"))
    return OvsInterface(
        name=_name(new.get("name")),
        type=_text(new.get("type", "")),
        peer=_optional(options.get("peer")),
        external_ids=_map(new.get("external_ids")),
        socket=_optional(options.get("vhost-server-path")),
    )


# Values. Each raises ValueError for another form.


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT_CHARS:
        raise ValueError("no text, or a long one")
    # JSON can name half a surrogate pair, which nothing could write again.
    value.encode("utf-8")
    return value


def _name(value: object) -> str:
    if not _text(value):
        raise ValueError("no name")
    return _text(value)


def _optional(value: str | None) -> str | None:
    return _text(value) if value else None


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _vid(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_VID:
        raise ValueError("no VID")
    return value


def _set(value: object) -> list[object]:
    match value:
        case None:
            return []
        case ["set", list(values)]:
            return values
        case ["uuid" | "named-uuid", _] | str() | int() | float():
            return [value]
    raise ValueError("no set")


def _uuids(value: object) -> tuple[str, ...]:
    uuids = []
    for one in _set(value):
        match one:
            case ["uuid", str(row_id)]:
                uuids.append(row_id)
            case _:
                raise ValueError("no UUID")
    return tuple(uuids)


def _map(value: object) -> Mapping[str, str]:
    """A map of texts; a pair of another form is left out."""
    match value:
        case None:
            return NO_TEXTS
        case ["map", list(pairs)]:
            return {
                pair[0]: pair[1]
                for pair in pairs
                if isinstance(pair, list) and len(pair) == 2 and all(_is_text(x) for x in pair)
            }
    raise ValueError("no map")


def _is_text(value: object) -> bool:
    return isinstance(value, str)
