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
    return _local("%Y-%m-%d %H:%M:%S %z", wall_ns) or f"{wall_ns} ns"


def exact_moment(wall_ns: object) -> str:
    """The same with milliseconds: "2025-10-09 02:13:07.412 +0200"."""
    if not isinstance(wall_ns, int) or not clock(wall_ns):
        return moment(wall_ns)
    return f"{day(wall_ns)} {clock(wall_ns)} {zone(wall_ns)}"


def clock(wall_ns: object) -> str:
    """Local time of day of a time since the epoch, with milliseconds; empty if unknown."""
    at = _local("%H:%M:%S", wall_ns)
    return f"{at}.{wall_ns // 1_000_000 % 1000:03}" if at and isinstance(wall_ns, int) else ""


def day(wall_ns: object) -> str:
    """Local date of a time since the epoch; empty if unknown."""
    return _local("%Y-%m-%d", wall_ns)


def zone(wall_ns: object) -> str:
    """The zone that local times are told in, "+0200"; empty if unknown."""
    return _local("%z", wall_ns)


def _local(form: str, wall_ns: object) -> str:
    if not isinstance(wall_ns, int):
        return ""
    try:
        return time.strftime(form, time.localtime(wall_ns // 1_000_000_000))
    except (OverflowError, ValueError, OSError):
        return ""


def exact_ago(wall_ns: object, now_ns: int) -> str:
    """A time since the epoch, and how long ago; None is "never"."""
    if wall_ns is None:
        return "never"
    if not isinstance(wall_ns, int):
        return moment(wall_ns)
    return f"{exact_moment(wall_ns)} ({ago(wall_ns, now_ns)})"


def ago(wall_ns: int, now_ns: int) -> str:
    """How far a time is from now: "4m12s ago", "380ms ago", "in 12s"."""
    if wall_ns > now_ns:
        return f"in {left(wall_ns - now_ns)}"
    past_ns = now_ns - wall_ns
    return f"{span(past_ns) if past_ns < 1_000_000_000 else seconds(past_ns)} ago"


def difference(later_ns: object, earlier_ns: object) -> int | None:
    """Between two times; None unless both are known."""
    if isinstance(later_ns, int) and isinstance(earlier_ns, int):
        return later_ns - earlier_ns
    return None


def gap(duration_ns: object) -> str:
    """How long after what was before, in at most 9 cells: "+0.1 ms", "+12.004 s", "+4m12s"."""
    if not isinstance(duration_ns, int):
        return ""
    sign, long_ns = ("-", -duration_ns) if duration_ns < 0 else ("+", duration_ns)
    if long_ns < 9_950_000:
        return f"{sign}{long_ns / 1e6:.1f} ms"
    thousandths = (long_ns + 500_000) // 1_000_000
    if thousandths < 1000:
        return f"{sign}{thousandths} ms"
    if thousandths < 60_000:
        return f"{sign}{thousandths // 1000}.{thousandths % 1000:03} s"
    return clip(f"{sign}{format_duration(long_ns)}", 9)


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


def parts(answer: object, name: str) -> list[Json]:
    """The objects in the list under a name; empty if there is none."""
    listed = answer.get(name) if isinstance(answer, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def wrapped(text: object, width: int) -> list[str]:
    """A harmless text in lines of at most so many cells, broken at spaces where there are any."""
    lines = [""]
    for word in harmless(str(text)).split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if columns(lines[-1] + char) > width:
                lines.append("")
            lines[-1] += char
    return lines


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
