# SPDX-License-Identifier: Apache-2.0
"""The journal's rows to and from the types of `event`.

Writing never raises, whatever an event holds. Reading is forgiving: a row of
another version or with damaged text is still an entry, since a journal that
cannot be shown helps nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from sentinel.detect.evidence import MOST_MOMENTS, bounded
from sentinel.event import NO_EPOCH, Entry, Epoch, Event, Incident, Json, Moment, Quarantine
from sentinel.vm import UNKNOWN_VM, VmIdentity

LARGEST_BODY_BYTES: Final = 16_384
LARGEST_EVIDENCE_BYTES: Final = 12_288
LARGEST_LEASE_BYTES: Final = 16_384
LARGEST_MEMO_BYTES: Final = 4096
LONGEST_KEY_CHARS: Final = 1024
_FEWER: Final = (MOST_MOMENTS, MOST_MOMENTS // 2, MOST_MOMENTS // 4, MOST_MOMENTS // 8, 2)
"""Moments to try with, until what they are part of is no longer too large."""

Row = tuple[Any, ...]

INCIDENT_PORT: Final = 3
INCIDENT_UPDATED: Final = 8
"""Where updated_wall_ns stands in an incident's row; likewise below."""
INCIDENT_CLOSED: Final = 9
CUT_SINCE: Final = 1
CUT_PORT: Final = 2
CUT_VM_UUID: Final = 3
CUT_CAUSE: Final = 5
CUT_RELEASED: Final = 11
CUT_RELEASED_BY: Final = 12


class KeptLease(NamedTuple):
    """The state of a DHCP client as it was kept; `state` is empty if it is damaged."""

    key: str
    port: str
    saved_wall_ns: int
    state: dict[str, Json]


class Memo(NamedTuple):
    """What counts until a moment; `state` is empty if it is damaged."""

    key: str
    until_wall_ns: int
    state: dict[str, Any]


def event_row(seq: int, event: Event) -> Row:
    """An event as it is stored; never raises, whatever the event holds."""
    body = _json(event.body)
    evidence = event.body.get("evidence")
    if isinstance(evidence, list | tuple) and (
        len(evidence) > MOST_MOMENTS or len(body) > LARGEST_BODY_BYTES
    ):
        body = _with_less_evidence(event.body)
    if len(body) > LARGEST_BODY_BYTES:
        body = _json({"message": "too large to be kept", "bytes": len(body)})
    return (
        seq,
        _integer(event.time_ns),
        _text(event.kind),
        None if event.port is None else _text(event.port),
        None if event.ifindex is None else _integer(event.ifindex),
        _vm_text(event.vm),
        body,
    )


def entry_of(row: Row, epoch: Epoch = NO_EPOCH) -> Entry:
    """The entry in a row, which `epoch` numbered."""
    seq, time_ns, kind, port, ifindex, vm, body = row
    try:
        content = orjson.loads(body)
    except (orjson.JSONDecodeError, TypeError):
        content = None
    if not isinstance(content, dict):
        content = {"problem": "this entry's text in the journal is damaged"}
    event = Event(str(kind), _number(time_ns), port, ifindex, _vm(vm), content)
    return Entry(seq, event, epoch)


def incident_row(number: int, incident: Incident) -> Row:
    """An incident as it is stored, under its number."""
    return (
        number,
        _text(incident.check),
        _text(incident.detail),
        _text(incident.port),
        _integer(incident.ifindex),
        _vm_text(incident.vm),
        None if incident.mac is None else _text(incident.mac),
        _integer(incident.opened_wall_ns),
        _integer(incident.updated_wall_ns),
        None if incident.closed_wall_ns is None else _integer(incident.closed_wall_ns),
        _integer(incident.frames),
        _text(incident.action),
        _text(incident.verdict),
        _text(incident.frame_hex),
        _text(incident.summary),
        int(incident.uplink),
        _evidence_text(incident.evidence),
    )


def incident_of(row: Row) -> Incident:
    """The incident in a row."""
    closed = row[INCIDENT_CLOSED]
    return Incident(
        id=row[0],
        check=str(row[1]),
        detail=str(row[2]),
        port=str(row[3]),
        ifindex=_number(row[4]),
        vm=_vm(row[5]) or UNKNOWN_VM,
        mac=row[6],
        opened_wall_ns=_number(row[7]),
        updated_wall_ns=_number(row[INCIDENT_UPDATED]),
        closed_wall_ns=None if closed is None else _number(closed),
        frames=_number(row[10]),
        action=str(row[11]),
        verdict=str(row[12]),
        frame_hex=str(row[13]),
        summary=str(row[14]),
        uplink=bool(row[15]),
        evidence=_evidence_of(row[16]) if len(row) > 16 else (),
    )


def quarantine_row(quarantine: Quarantine) -> Row:
    """A quarantine as it is stored, not released."""
    return (
        _integer(quarantine.ifindex),
        _integer(quarantine.since_wall_ns),
        _text(quarantine.port),
        None if quarantine.vm.uuid is None else _text(quarantine.vm.uuid),
        _vm_text(quarantine.vm),
        _text(quarantine.cause),
        _text(quarantine.reason),
        quarantine.uid,
        None if quarantine.hold_ns is None else _integer(quarantine.hold_ns),
        None if quarantine.until_wall_ns is None else _integer(quarantine.until_wall_ns),
        quarantine.relapses,
        None,
        None,
    )


def quarantine_of(row: Row) -> Quarantine:
    """The quarantine in a row."""
    return Quarantine(
        port=str(row[2]),
        ifindex=_number(row[0]),
        vm=_vm(row[4]) or UNKNOWN_VM,
        cause=str(row[5]),
        reason=str(row[6]),
        uid=row[7],
        since_wall_ns=_number(row[1]),
        hold_ns=row[8],
        until_wall_ns=row[9],
        relapses=_number(row[10]),
    )


def lease_row(key: str, port: str, saved_wall_ns: int, state: Mapping[str, Json]) -> Row | None:
    """A DHCP client's state as it is stored; None if it is too large to be."""
    kept_key, text = lease_key(key), _json(state)
    if kept_key is None or len(text.encode()) > LARGEST_LEASE_BYTES:
        return None
    return (kept_key, _text(port), _integer(saved_wall_ns), text)


def lease_key(key: str) -> str | None:
    """A key as it is stored; None if it is too long to be."""
    text = _text(key)
    return text if len(text) <= LONGEST_KEY_CHARS else None


def lease_of(row: Row) -> KeptLease:
    """The state in a row."""
    try:
        state = orjson.loads(row[3])
    except (orjson.JSONDecodeError, TypeError):
        state = None
    kept = state if isinstance(state, dict) else {}
    return KeptLease(str(row[0]), str(row[1]), _number(row[2]), kept)


def memo_row(kind: str, key: str, until_wall_ns: int, state: Mapping[str, Any]) -> Row | None:
    """A memo as it is stored; None if it is too large to be."""
    text = _json(state)
    if lease_key(key) is None or len(text.encode()) > LARGEST_MEMO_BYTES:
        return None
    return (_text(kind), _text(key), _integer(until_wall_ns), text)


def memo_of(row: Row) -> Memo:
    """The memo in a row."""
    try:
        state = orjson.loads(row[3])
    except (orjson.JSONDecodeError, TypeError):
        state = None
    return Memo(str(row[1]), _number(row[2]), state if isinstance(state, dict) else {})


def _evidence_text(evidence: Sequence[Moment]) -> str:
    """The time line as JSON that fits, of as many moments as can be."""
    for most in _FEWER:
        text = _json(bounded(evidence, most))
        if len(text.encode()) <= LARGEST_EVIDENCE_BYTES:
            return text
    return "[]"


def _with_less_evidence(body: Mapping[str, Json]) -> str:
    """A body that is too large, with as much of its evidence as there is room for."""
    found = body["evidence"]
    evidence = _moments(found if isinstance(found, list | tuple) else ())
    for most in _FEWER:
        text = _json({**body, "evidence": [asdict(one) for one in bounded(evidence, most)]})
        if len(text) <= LARGEST_BODY_BYTES:
            return text
    return _json({**body, "evidence": []})


def _evidence_of(text: object) -> tuple[Moment, ...]:
    """What can be read of a time line."""
    try:
        found = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        found = None
    return bounded(_moments(found if isinstance(found, list) else ()))


def _moments(found: Sequence[object]) -> list[Moment]:
    return [
        Moment(_number(one.get("time_ns")), str(one.get("place")), str(one.get("text")))
        for one in found
        if isinstance(one, dict) and "text" in one
    ]


_vm_decoder = msgspec.json.Decoder(VmIdentity)


def _vm(text: object) -> VmIdentity | None:
    if text is None:
        return None
    try:
        return _vm_decoder.decode(str(text))
    except msgspec.MsgspecError:
        return UNKNOWN_VM


def _vm_text(vm: VmIdentity | None) -> str | None:
    return None if vm is None else _json(vm)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return orjson.dumps(_plain(msgspec.to_builtins(value, enc_hook=str))).decode()


def _plain(value: object) -> Json:
    """What JSON can carry: no lone surrogates, no numbers beyond 64 bits."""
    if isinstance(value, dict):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 64 else str(value)
    return _text(value)


def _text(value: object) -> str:
    """Text as SQLite can hold it: a device's name may be no UTF-8."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _integer(value: int) -> int:
    return max(-(1 << 63), min(value, (1 << 63) - 1))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def cuts_of(rows: Iterable[Row], port: str, uuid: str | None, since_ns: int) -> list[Row]:
    """Rows of cuts that began since then, of a VM or of a port whose VM is not known.

    The newest first.
    """
    cuts = [
        row
        for row in rows
        if row[CUT_SINCE] >= since_ns
        and (
            # Names are used again: a cut of another VM is none of this one's.
            row[CUT_VM_UUID] == uuid
            if uuid is not None and row[CUT_VM_UUID] is not None
            else row[CUT_PORT] == port
        )
    ]
    return sorted(cuts, key=lambda row: row[CUT_SINCE], reverse=True)
