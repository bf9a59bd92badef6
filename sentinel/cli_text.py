# SPDX-License-Identifier: Apache-2.0
"""How text is laid out for a person: colours, tables, times, hex."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sentinel.durations import format_duration
from sentinel.terminal import columns, harmless

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_HEX_BYTES = 16

Json = dict[str, Any]


class Style:
    """Colours, or none."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def paint(self, colour: str, text: str) -> str:
        """A harmless text in a colour, or as it is."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._coloured else text


def style_for(is_terminal: bool) -> Style:
    """Colours on a terminal that has any, unless NO_COLOR is set (no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
    return Style(is_terminal and wanted)


def clip(text: object, width: int) -> str:
    """A harmless text of at most so many cells, with `…` where it was cut."""
    shown = harmless(str(text))
    if columns(shown) <= width:
        return shown
    kept = ""
    for char in shown:
        if columns(kept + char) >= width:
            break
        kept += char
    return kept + "…"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()
) -> list[str]:
    """Lines of aligned columns; `right` are the columns that hold numbers. Cells are harmless."""
    numbers = set(right)
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(columns(line[at]) for line in lines) for at in range(len(head))]
    out = []
    for line in lines:
        cells = []
        for at, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - columns(cell))
            cells.append(space + cell if at in numbers else cell + space)
        out.append("  ".join(cells).rstrip())
    return out


def number(value: object) -> str:
    """A count with its thousands apart; `-` for what is not known."""
    return f"{value:,}" if isinstance(value, int) else "-"


def several(value: object, one: str, many: str) -> str:
    """A count with its noun."""
    return f"{number(value)} {one if value == 1 else many}"


def size(size_bytes: object) -> str:
    """Bytes in the largest decimal unit that leaves a number of at least one."""
    if not isinstance(size_bytes, int):
        return "unknown size"
    amount = float(size_bytes)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def moment(wall_ns: object) -> str:
    """A time since the epoch as local date, time and zone."""
    if not isinstance(wall_ns, int):
        return "unknown time"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(wall_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):
        return f"{wall_ns} ns"


def span(duration_ns: object) -> str:
    """A duration in its two largest units; what is over is `no time`."""
    if not isinstance(duration_ns, int):
        return "unknown"
    return format_duration(max(duration_ns, 0))


def seconds(duration_ns: object) -> str:
    """A duration of seconds and more, without fractions of them."""
    if not isinstance(duration_ns, int):
        return "unknown"
    whole_ns = max(duration_ns, 0) // 1_000_000_000 * 1_000_000_000
    return format_duration(whole_ns)


def left(duration_ns: int) -> str:
    """What is left of a time, in seconds and more, rounded up."""
    return seconds(duration_ns + 999_999_999)


def hexdump(frame_hex: str) -> list[str]:
    """Lines of offset, bytes and ASCII, of a frame given in hex."""
    try:
        frame = bytes.fromhex(frame_hex)
    except ValueError:
        return [harmless(frame_hex)]
    lines = []
    for offset in range(0, len(frame), _HEX_BYTES):
        row = frame[offset : offset + _HEX_BYTES]
        pairs = " ".join(row[at : at + 2].hex() for at in range(0, len(row), 2))
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{offset:04x}: {pairs:<39}  {shown}")
    return lines


def part(answer: Json, name: str) -> Json:
    """The object under a name; empty if there is none."""
    part = answer.get(name)
    return part if isinstance(part, dict) else {}


def plain(value: object) -> str:
    """A value of JSON in words, harmless."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{harmless(str(name))} {plain(one)}" for name, one in value.items())
    return harmless(str(value))


def member(name: str, value: object) -> str:
    """A value of JSON in words, by the unit that its name ends with."""
    if isinstance(value, int) and name.endswith("_wall_ns"):
        return moment(value)
    if isinstance(value, int) and name.endswith("_ns"):
        return span(value)
    return plain(value)


def pairs(facts: list[tuple[str, str]]) -> list[str]:
    """Lines of names and values below each other; the values are harmless already."""
    width = max((len(name) for name, _ in facts), default=0)
    return [f"  {harmless(name):<{width}}  {value}".rstrip() for name, value in facts]


def named_once(facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same, where a name that repeats stands only in front of the first."""
    before = ""
    out = []
    for name, value in facts:
        out.append(("" if name == before else name, value))
        before = name
    return out
