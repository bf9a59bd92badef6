# SPDX-License-Identifier: Apache-2.0
"""[mqtt.orders] and [mqtt.fleet]: whose word over MQTT counts, and for what. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec

from sentinel.config_values import DURATION, HOST_NAME, PATTERN, Written, read_directory
from sentinel.durations import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, format_duration
from sentinel.signed import read_public_key

OrderName = Literal["status", "quarantine", "release"]
MOST_PRINCIPALS: Final = 64
MOST_HOSTS: Final = 10_000

_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")


def read_principal(text: str) -> str:
    """Keep a name that is a level of a topic, too."""
    if _PRINCIPAL.fullmatch(text) is None:
        raise ValueError(
            f"{text[:64]!r} is no name of a principal; write up to 64 letters, digits and "
            '"_", ".", "@", "-", e.g. "alice"'
        )
    return text


def read_key_file(text: str) -> str:
    """Keep a file from the root; empty: none."""
    return read_directory(text) if text else text


_Key = Annotated[str, Written(read_public_key, "the line of `openssl pkey -pubout` in quotes")]
_Name = Annotated[str, Written(read_principal, 'a name in quotes, such as "alice"')]
_KeyFile = Annotated[str, Written(read_key_file, "a file from the root in quotes")]
_Duration = Annotated[int, DURATION]


class _Keyed(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...


class Principal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of [mqtt.orders] principals: who may order what, at which ports."""

    name: _Name
    key: _Key
    may: tuple[OrderName, ...] = ()
    ports: tuple[Annotated[str, PATTERN], ...] = ("*",)


class OrdersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[mqtt.orders]: off unless enabled; `longest` is how long an order may be valid."""

    enabled: bool = False
    longest_ns: _Duration = msgspec.field(default=5 * MINUTE_NS, name="longest")
    principals: tuple[Principal, ...] = ()

    def keys(self) -> dict[str, str]:
        """Public keys by name."""
        return {one.name: one.key for one in self.principals}


class FleetHost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of [mqtt.fleet] hosts: another host whose notices count here."""

    name: Annotated[str, HOST_NAME]
    key: _Key


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[mqtt.fleet]: what one host learns, the others know; off unless asked for."""

    publish: bool = False
    follow: bool = False
    action: Literal["count", "quarantine"] = "count"
    key_file: _KeyFile = ""
    longest_ns: _Duration = msgspec.field(default=DAY_NS, name="longest")
    hosts: tuple[FleetHost, ...] = ()

    def keys(self) -> dict[str, str]:
        """Public keys by the host's name."""
        return {one.name: one.key for one in self.hosts}


def impossible_orders(orders: OrdersConfig) -> Iterator[tuple[str, str]]:
    """What of [mqtt.orders] cannot be."""
    table = "mqtt.orders"
    if orders.enabled and not orders.principals:
        yield (
            f"{table}.principals",
            'is empty, so nobody could order; write e.g. [{name = "alice", key = "MCow…", '
            'may = ["status"]}], or enabled = false',
        )
    yield from _crowd(f"{table}.principals", orders.principals, MOST_PRINCIPALS)
    for index, one in enumerate(orders.principals):
        key = f"{table}.principals[{index}]"
        if not one.may:
            yield f"{key}.may", 'names no order; write e.g. ["status", "quarantine", "release"]'
        if not one.ports:
            yield f"{key}.ports", 'names no port; write e.g. ["tap*"], or leave it out'
    yield from _outside(f"{table}.longest", orders.longest_ns, SECOND_NS, HOUR_NS)


def impossible_fleet(fleet: FleetConfig) -> Iterator[tuple[str, str]]:
    """What of [mqtt.fleet] cannot be."""
    table = "mqtt.fleet"
    if fleet.publish and not fleet.key_file:
        yield (
            f"{table}.key_file",
            "is empty; notices are signed: make a key with `openssl genpkey -algorithm ed25519` "
            "and write its file here",
        )
    if fleet.follow and not fleet.hosts:
        yield (
            f"{table}.hosts",
            'is empty, so nobody would be followed; write e.g. [{name = "compute-2", '
            'key = "MCow…"}], or follow = false',
        )
    if fleet.action == "quarantine" and not fleet.follow:
        yield f"{table}.follow", 'must be true for action = "quarantine" to mean anything'
    yield from _crowd(f"{table}.hosts", fleet.hosts, MOST_HOSTS)
    for index, one in enumerate(fleet.hosts):
        if not one.name:
            yield f"{table}.hosts[{index}].name", "is empty; write what that host is called"
    yield from _outside(f"{table}.longest", fleet.longest_ns, MINUTE_NS, 30 * DAY_NS)


def _crowd(key: str, many: Sequence[_Keyed], most: int) -> Iterator[tuple[str, str]]:
    if len(many) > most:
        yield key, f"has {len(many)} entries; at most {most}"
    names: dict[str, int] = {}
    keys: dict[str, int] = {}
    for index, one in enumerate(many):
        if names.setdefault(one.name, index) != index:
            yield f"{key}[{index}].name", f"{one.name!r} stands there twice; take one out"
        if keys.setdefault(one.key, index) != index:
            # Who holds it could speak in the name of either.
            yield (
                f"{key}[{index}].key",
                f"is the key of {many[keys[one.key]].name!r} too; everybody needs one of their own",
            )


def _outside(key: str, given_ns: int, least_ns: int, most_ns: int) -> Iterator[tuple[str, str]]:
    if not least_ns <= given_ns <= most_ns:
        yield (
            key,
            f"{format_duration(given_ns)} is not between {format_duration(least_ns)} and "
            f"{format_duration(most_ns)}",
        )
