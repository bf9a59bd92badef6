# SPDX-License-Identifier: Apache-2.0
"""Sightings of DHCP messages into messages: each once, wherever it was seen.

A daemon tells where it saw what, one sighting after the other. A message that came in
at one end of the host and went on at the other is one message, and so are
retransmissions that nothing stands between. Pure: JSON in.
"""

from __future__ import annotations

from typing import NamedTuple

from sentinel.cli_text import Json, clip, difference

_LONGEST_WAY_NS = 1_000_000_000
"""From the port to the uplink or back: what takes longer is another message."""


class Row(NamedTuple):
    """One message: where it was seen first, and where on its way through the host."""

    seen: Json
    onward: Json | None
    times: int
    onward_times: int
    last: Json


def messages(exchange: list[Json]) -> list[Row]:
    """The messages of an exchange, oldest first."""
    return _folded(_paired(exchange))


def _paired(exchange: list[Json]) -> list[Row]:
    """Each message once: what was seen at both ends of the host is one row."""
    rows: list[Row] = []
    for item in exchange:
        at = _earlier_half(rows, item)
        if at is None:
            rows.append(Row(item, None, times(item), 0, item))
        else:
            rows[at] = rows[at]._replace(onward=item, onward_times=times(item))
    return rows


def _earlier_half(rows: list[Row], item: Json) -> int | None:
    """The row of the same message at the end of the host where it came in."""
    came_in = {"to_wire": "from_guest", "to_guest": "from_wire"}.get(direction(item))
    if came_in is None:
        return None
    for at in range(len(rows) - 1, -1, -1):
        row = rows[at]
        if row.onward is not None or direction(row.seen) != came_in or is_dropped(row.seen):
            continue
        if _message(row.seen) == _message(item) and _may_be_on_its_way(row.seen, item):
            return at
    return None


def _may_be_on_its_way(came_in: Json, onward: Json) -> bool:
    """Whether the times allow that what came in is what was seen further on."""
    last_ns = last_seen_ns(came_in)
    way_ns = difference(onward.get("time_wall_ns"), last_ns)
    return way_ns is None or way_ns <= _LONGEST_WAY_NS


def _folded(rows: list[Row]) -> list[Row]:
    """Retransmissions that nothing stands between, as one row."""
    out: list[Row] = []
    for row in rows:
        if out and _looks(out[-1]) == _looks(row):
            so_far = out[-1]
            out[-1] = so_far._replace(
                times=so_far.times + row.times,
                onward_times=so_far.onward_times + row.onward_times,
                last=row.seen,
            )
        else:
            out.append(row)
    return out


def _message(item: Json) -> tuple[object, ...]:
    return tuple(item.get(name) for name in ("name", "xid", "address", "server"))


def _looks(row: Row) -> list[tuple[object, ...]]:
    return [
        (*_message(one), direction(one), is_dropped(one), one.get("device"), one.get("act"),
         one.get("note"))
        for one in (row.seen, row.onward)
        if one is not None
    ]  # fmt: skip


def is_cut(row: Row) -> bool:
    """Ended at the host: dropped by our program, or come off the wire and not to the port."""
    is_lost = row.onward is None and direction(row.seen) == "from_wire"
    return is_lost or any(is_dropped(one) for one in (row.seen, row.onward) if one is not None)


def direction(item: Json) -> str:
    """from_guest, to_guest, to_wire or from_wire; anything else is not known."""
    return str(item.get("direction"))


def is_dropped(item: Json) -> bool:
    """Whether our program dropped it where it was seen."""
    return item.get("passed") is False


def times(item: Json) -> int:
    """How many identical ones it stands for; at least 1."""
    count = item.get("count")
    return count if isinstance(count, int) and count > 0 else 1


def last_seen_ns(item: Json) -> int | None:
    """When a message was seen, the last time if it was several; None: not known."""
    last_ns = item.get("last_wall_ns" if times(item) > 1 else "time_wall_ns")
    return last_ns if isinstance(last_ns, int) else None


def devices(exchange: list[Json], place: str) -> list[str]:
    """Names of the devices of a kind, in the order in which they were first seen."""
    named = [clip(one["device"], 15) for one in exchange
             if one.get("place") == place and one.get("device")]  # fmt: skip
    return list(dict.fromkeys(named))
