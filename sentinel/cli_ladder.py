# SPDX-License-Identifier: Apache-2.0
"""A DHCP exchange as a ladder: guest, host and server, and an arrow for each message.

    02:13:07.450            │── DHCPREQUEST ──┼────────────────▶│  renews 10.0.0.7
    02:13:07.488    +38 ms  │                 x◀─── DHCPACK ────│  not seen at tap7

A message that was seen at the port and at the uplink is one arrow across the host; one
that ends at the host ended there. Pure: JSON, a style and a paper in, lines out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sentinel.cli_exchange import (
    Row,
    devices,
    direction,
    is_cut,
    is_dropped,
    last_seen_ns,
    messages,
)
from sentinel.cli_text import Json, Style, clip, clock, day, difference, gap, number, wrapped, zone
from sentinel.terminal import columns

NARROWEST, WIDEST = 80, 120
_PREFIX_COLUMNS = 26
_SHORTEST_SHAFT, _LONGEST_SHAFT = 17, 25
_AROUND_NAME = 5
_REQUESTS = {
    "take": "takes",
    "reboot": "reboots with",
    "renew": "renews",
    "rebind": "rebinds",
}
"""What a DHCPREQUEST may be about (RFC 2131 section 4.3.2)."""
_EVERYBODY = {"255.255.255.255", "ff02::1:2"}
"""Where a client sends what any server may answer (RFC 8415 section 7.1)."""


class Signs(NamedTuple):
    """What a ladder is drawn with; each is one cell."""

    life: str
    line: str
    cross: str
    right: str
    left: str
    cut: str
    times: str
    more: str


_DRAWN = Signs("│", "─", "┼", "▶", "◀", "x", "×", "…")
_TYPED = Signs("|", "-", "+", ">", "<", "x", "x", "~")


class Paper(NamedTuple):
    """How much room there is, and which signs it shows."""

    width: int
    signs: Signs

    def fit(self, line: str) -> str:
        """A line with the sign of what was cut off in the signs of this paper."""
        return line.replace("…", self.signs.more)


def paper_for(terminal_columns: int | None, encoding: str | None) -> Paper:
    """For a terminal of so many columns (None: no terminal) and stdout's encoding."""
    width = 100 if terminal_columns is None else terminal_columns
    try:
        "".join(_DRAWN).encode(encoding or "ascii")
        signs = _DRAWN
    except (UnicodeEncodeError, LookupError):
        signs = _TYPED
    return Paper(max(NARROWEST, min(width, WIDEST)), signs)


def typeable(document: Any, paper: Paper) -> Any:
    """The same JSON for this paper: what ASCII lacks is escaped before it is measured."""
    if paper.signs is _DRAWN:
        return document
    if isinstance(document, str):
        return document.encode("ascii", "backslashreplace").decode()
    if isinstance(document, list):
        return [typeable(one, paper) for one in document]
    if isinstance(document, dict):
        return {typeable(name, paper): typeable(one, paper) for name, one in document.items()}
    return document


def ladder_lines(exchange: list[Json], port: str, style: Style, paper: Paper) -> list[str]:
    """The exchange, oldest message first, under a line that names who is who."""
    rows = messages(exchange)
    longest = max((columns(_name(row, paper.signs)) for row in rows), default=0)
    shaft = max(_SHORTEST_SHAFT, min(longest + _AROUND_NAME, _LONGEST_SHAFT))
    today = day(exchange[0].get("time_wall_ns")) if exchange else ""
    lines = [style.paint("dim", _head(exchange, port, shaft))]
    uplinks = devices(exchange, "uplink")
    before: Row | None = None
    server: object = None
    for row in rows:
        time_ns = row.seen.get("time_wall_ns")
        if day(time_ns) != today:
            today = day(time_ns)
            lines.append(style.paint("dim", f"  {today or 'unknown time'}"))
        since = gap(_gap_ns(row, before))
        drawn = f"  {clock(time_ns):<12} {since:>9}  {_drawn(row, shaft, paper.signs)}"
        said = "; ".join(_remarks(row, port, uplinks, server, paper.signs))
        lines += _with_remark(drawn, said, _colour(row), style, paper)
        before = row
        server = row.seen.get("server") or server
    return lines


def _head(exchange: list[Json], port: str, shaft: int) -> str:
    first_ns = exchange[0].get("time_wall_ns") if exchange else None
    date = f"  {day(first_ns) or 'unknown time'} {zone(first_ns)}"
    uplinks = devices(exchange, "uplink")
    host = clip(" / ".join([port, *uplinks]), 2 * shaft - 12)
    middle = _PREFIX_COLUMNS + 1 + shaft - columns(host) // 2
    line = f"{date:<{_PREFIX_COLUMNS}}guest"
    line += " " * (middle - columns(line)) + host
    return line + " " * (_PREFIX_COLUMNS + 2 * shaft + 3 - columns(line) - 6) + "server"


def _with_remark(
    drawn: str, said: str, colour: str | None, style: Style, paper: Paper
) -> list[str]:
    """The arrow with what is to be said: beside it where there is room, else below."""
    beneath: list[str] = []
    if said and columns(drawn) + 2 + columns(said) <= paper.width:
        drawn += f"  {said}"
    elif said:
        room = paper.width - _PREFIX_COLUMNS - 2
        beneath = [" " * (_PREFIX_COLUMNS + 2) + line for line in wrapped(said, room)]
    return [style.paint(colour, line) if colour else line for line in (drawn, *beneath)]


def _gap_ns(row: Row, before: Row | None) -> int | None:
    """Since the message before was first seen, or since the last one of several."""
    if before is None:
        return None
    told_ns = row.seen.get("gap_ns")
    if last_seen_ns(before.last) is None and isinstance(told_ns, int):
        return told_ns
    return difference(row.seen.get("time_wall_ns"), last_seen_ns(before.last))


def _drawn(row: Row, shaft: int, signs: Signs) -> str:
    """The three life lines with the arrow between them."""
    sightings = [one for one in (row.seen, row.onward) if one is not None]
    # What our program drops has come to the device, and not got past it.
    got_past = {direction(one) for one in sightings if not is_dropped(one)}
    came_to = {direction(one) for one in sightings}
    crossed = (
        "from_guest" in came_to or "to_guest" in got_past,
        "from_wire" in came_to or "to_wire" in got_past,
    )
    rightward = bool(came_to & {"from_guest", "to_wire"})
    first, last = (0, 1) if rightward else (1, 0)
    named = first if crossed[first] or not crossed[last] else last
    headed = last if crossed[last] else first
    name = _name(row, signs, shaft - _AROUND_NAME)
    links = [
        _link(
            name if link == named else "",
            crossed[link],
            ("right" if rightward else "left") if link == headed else "",
            shaft,
            signs,
        )
        for link in (0, 1)
    ]
    middle = signs.cut if is_cut(row) else signs.cross if all(crossed) else signs.life
    return signs.life + links[0] + middle + links[1] + signs.life


def _link(name: str, is_crossed: bool, head: str, shaft: int, signs: Signs) -> str:
    """What stands between two life lines."""
    line = signs.line if is_crossed else " "
    headed = is_crossed and head
    room = shaft - (1 if headed else 0)
    label = f" {name} " if name else ""
    rest = room - columns(label)
    drawn = line * (rest // 2) + label + line * (rest - rest // 2)
    if not headed:
        return drawn
    return drawn + signs.right if head == "right" else signs.left + drawn


def _name(row: Row, signs: Signs, width: int = _LONGEST_SHAFT - _AROUND_NAME) -> str:
    """The message's name and how often it was seen, in at most so many cells."""
    often = f" {_often(row.times, signs)}" if row.times > 1 else ""
    return clip(row.seen.get("name") or "?", width - columns(often)) + often


def _often(times: int, signs: Signs) -> str:
    """In at most 9 cells."""
    shown = number(times) if times < 1_000_000 else f"{number(times // 1_000_000)}M"
    return signs.times + clip(shown, 8)


def _remarks(row: Row, port: str, uplinks: list[str], server: object, signs: Signs) -> list[str]:
    """What the arrow cannot show, the gravest first."""
    said = [
        f"dropped at {clip(one.get('device') or '?', 15)}"
        for one in (row.seen, row.onward)
        if one is not None and is_dropped(one)
    ]
    said += _where_not_seen(row, port, uplinks, signs)
    about = _about(row.seen, server)
    said += [about] if about else []
    if row.times > 1 and clock(last_seen_ns(row.last)):
        said.append(f"the last at {clock(last_seen_ns(row.last))}")
    if row.seen.get("place") == "port" and row.seen.get("device") not in (None, port):
        said.append(f"seen at {clip(row.seen['device'], 15)}")
    if row.seen.get("note"):
        said.append(f'"{clip(row.seen["note"], 160)}"')
    return said


def _about(item: Json, server: object) -> str:
    """Which address it is about, and which server if that is not the one before."""
    act = str(item.get("act")) if item.get("name") == "DHCPREQUEST" else ""
    words = [_REQUESTS.get(act, ""), clip(item.get("address") or "", 45)]
    what = " ".join(word for word in words if word)
    if not item.get("server") or item["server"] == server:
        return what
    asks = direction(item) in ("from_guest", "to_wire")
    server_name = "everybody" if str(item["server"]) in _EVERYBODY else clip(item["server"], 45)
    who = f"{'to' if asks else 'from'} {server_name}"
    if not what:
        return who
    return f"{what}, {who}" if asks else f"{what} {who}"


def _where_not_seen(row: Row, port: str, uplinks: list[str], signs: Signs) -> list[str]:
    if row.onward is not None:
        if row.onward_times == row.times:
            return []
        device = clip(row.onward.get("device") or "?", 15)
        return [f"{_often(row.onward_times, signs)} at {device}"]
    if direction(row.seen) in ("from_wire", "to_wire"):
        return [f"not seen at {port}"]
    if direction(row.seen) == "from_guest" and uplinks and not is_dropped(row.seen):
        return [f"not seen at {' / '.join(uplinks)}"]
    return []


def _colour(row: Row) -> str | None:
    if is_cut(row):
        return "red"
    name = str(row.seen.get("name")).lower()
    return "yellow" if name in ("dhcpnak", "dhcpdecline", "decline") else None
