# SPDX-License-Identifier: Apache-2.0
"""A client as the journal keeps it, and back.

Times go down as wall clock and come back as CLOCK_MONOTONIC, so that they mean the
same after a restart of the daemon or the host. A state that another version wrote
or a disk damaged is no state.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

import msgspec

from sentinel.dhcp.client import Client
from sentinel.dhcp.exchange import Exchange
from sentinel.dhcp.lease import Lease
from sentinel.dhcp.sight import MOST_OF_LOSS, MOST_SIGHTS, Sight
from sentinel.event import Json

_VERSION: Final = 1
MOST_BYTES: Final = 16_000
"""Of a state as JSON; a little less than the journal takes."""

_SPANS: Final = frozenset({"lease_ns", "t1_ns", "t2_ns", "gap_ns"})
"""All else whose name ends in _ns is a time; 0 stands for never and stays 0."""
_TIMES: Final = frozenset({"naks"})
_SIGHT: Final = tuple(field.name for field in fields(Sight))
_FEWER: Final = ((MOST_SIGHTS, MOST_OF_LOSS), (16, 8), (6, 4), (2, 2))
"""Sights of the conversation and of a lost one, to try with until all of it fits."""


class _Kept(msgspec.Struct, frozen=True):
    version: int
    client: Client


def key_of(port: str, client: Client) -> str:
    """Under which the journal keeps it."""
    return f"{port}/{client.family}/{client.key}"


def is_worth_keeping(client: Client) -> bool:
    """Whether a restart should not forget it: not one that only ever asked once."""
    exchange = client.exchange
    return (
        client.lease is not None
        or client.granted is not None
        or client.loss is not None
        or bool(client.naks)
        or client.declined_ns != 0
        or client.state in ("released", "superseded")
        or (exchange is not None and (exchange.unanswered > 1 or exchange.ignored > 0))
    )


def dump(client: Client, wall_minus_monotonic_ns: int) -> dict[str, Json]:
    """A client as JSON of at most MOST_BYTES."""
    state: dict[str, Json] = {}
    for most, most_of_loss in _FEWER:
        kept = _Kept(_VERSION, _smaller(client, most, most_of_loss))
        moved = _moved(msgspec.to_builtins(kept), wall_minus_monotonic_ns)
        state = moved if isinstance(moved, dict) else {}
        if len(msgspec.json.encode(state)) <= MOST_BYTES:
            break
    return state


def load(state: object, wall_minus_monotonic_ns: int) -> Client | None:
    """A client from JSON; None if it is no client of this version."""
    try:
        kept = msgspec.convert(_moved(state, -wall_minus_monotonic_ns), _Kept)
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError):
        return None
    if kept.version != _VERSION or not _is_sound(kept.client):
        return None
    kept.client.is_changed = False
    return kept.client


def break_off(client: Client) -> None:
    """Make a client's lease one that may have been renewed unseen: nobody watched for a while."""
    client.lease, client.before, client.granted = (
        None if lease is None else replace(lease, missed=-1)
        for lease in (client.lease, client.before, client.granted)
    )
    if client.exchange is not None:
        client.exchange.doubt(-1)


def _smaller(client: Client, most: int, most_of_loss: int) -> Client:
    loss = client.loss
    if loss is not None and loss.exchange is not None:
        loss = replace(loss, exchange=_with_fewer(loss.exchange, most_of_loss))
    exchange = client.exchange
    if exchange is not None:
        exchange = _with_fewer(exchange, most)
    return replace(client, exchange=exchange, loss=loss, is_changed=False)


def _with_fewer(exchange: Exchange, most: int) -> Exchange:
    if len(exchange.sights.kept) <= most:
        return exchange
    return replace(exchange, sights=exchange.sights.fewer(most))


def _moved(value: object, by_ns: int) -> Json:
    if isinstance(value, dict):
        return {str(name): _member(str(name), item, by_ns) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_moved(item, by_ns) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _member(name: str, value: object, by_ns: int) -> Json:
    if name in _TIMES or (name.endswith("_ns") and name not in _SPANS):
        return _shifted(value, by_ns)
    if name == "kept" and isinstance(value, list):
        # Many and alike: without the names of their members.
        return [_repacked(sight, by_ns) for sight in value]
    return _moved(value, by_ns)


def _repacked(sight: object, by_ns: int) -> Json:
    if isinstance(sight, dict):
        # The two times stand first.
        time_ns, last_ns, *others = (sight[name] for name in _SIGHT)
        return [time_ns + by_ns, last_ns + by_ns, *others]
    if isinstance(sight, list) and len(sight) == len(_SIGHT):
        return {name: _member(name, item, by_ns) for name, item in zip(_SIGHT, sight, strict=True)}
    return None


def _shifted(value: object, by_ns: int) -> Json:
    if isinstance(value, list | tuple):
        return [_shifted(item, by_ns) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value + by_ns if value else 0
    return _moved(value, by_ns)


def _is_sound(client: Client) -> bool:
    leases = [client.lease, client.before, client.granted]
    if client.loss is not None:
        leases.append(client.loss.lease)
    return client.family in (4, 6) and all(_can_be(lease) for lease in leases if lease is not None)


def _can_be(lease: Lease) -> bool:
    return bool(lease.addresses) and lease.lease_ns > 0 and lease.t1_ns >= 0 and lease.t2_ns >= 0
