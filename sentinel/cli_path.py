# SPDX-License-Identifier: Apache-2.0
"""The way of a port's frames to the wire as a tree, a line for each device.

    DEVICE                       MTU  CARRIES  TAGS      TO WIRE  FROM WIRE  OVERSIZED  DROPPED
    tap7                        1500     1496  -         182,331    190,210     18,233        0
    └─ br100 (bridge)           1500     1496  -               -          -          -        -
       └─ vlan100 (vlan)        1500     1500  100       182,331    190,210          -        0
          └─ vlan20 (vlan)      1500     1500  20 › 100  182,331    190,210          -        0
             └─ bond0 (bond)    1500     1496  20 › 100  182,331    190,210     18,233        0 ◀

Pure: JSON and a style in, lines out.
"""

from __future__ import annotations

from typing import NamedTuple

from sentinel.cli_ladder import Paper, paper_for, typeable
from sentinel.cli_text import Json, Style, clip, number, part, parts, table, wrapped
from sentinel.terminal import columns

PLAIN_PAPER = paper_for(None, "utf-8")
"""100 columns, with box characters."""
_DEEPEST = 32
_MOST_BELOW = 12
"""Of one device; more are told by their number, but for those with the narrowest step."""
_LONGEST_LABEL = 44
_HEAD = ("DEVICE", "MTU", "CARRIES", "TAGS", "TO WIRE", "FROM WIRE", "OVERSIZED", "DROPPED")
_NUMBERS = {"MTU", "CARRIES", "TO WIRE", "FROM WIRE", "OVERSIZED", "DROPPED"}
_FIRST_TO_GO = ("FROM WIRE", "DROPPED", "TO WIRE")
"""Where a terminal is too narrow."""


class _Signs(NamedTuple):
    branch: str
    last: str
    life: str
    inside: str
    mark: str
    more: str


_DRAWN = _Signs("├─ ", "└─ ", "│  ", " › ", "◀", "…")
_TYPED = _Signs("|- ", "`- ", "|  ", " > ", "<-", "~")
_TPID_8021Q, _TPID_8021AD = 0x8100, 0x88A8


class _Row(NamedTuple):
    cells: tuple[str, ...]
    is_narrowest: bool


def path_lines(document: Json, style: Style, paper: Paper = PLAIN_PAPER) -> list[str]:
    """The tree under a sentence that says what the path carries; empty without a tree."""
    document = typeable(document, paper)
    tree = part(document, "tree")
    if not tree:
        return []
    signs = _DRAWN if paper.signs == PLAIN_PAPER.signs else _TYPED
    rows: list[_Row] = []
    _collect(tree, "", "", document, signs, rows, 0)
    narrowest = clip(document.get("narrowest") or "?", 15)
    mtu, carries = number(document.get("mtu_bytes")), number(document.get("carries_bytes"))
    said = f"MTU {mtu} bytes"
    if document.get("carries_bytes") != document.get("mtu_bytes"):
        said += f", but packets of no more than {carries} bytes get through {narrowest}"
    elif len(rows) > 1:
        said += f", by {narrowest}"
    lines = [f"  {line}" for line in wrapped(said, paper.width - 2)]
    dropped: set[str] = set()
    drawn_rows = _laid_out(rows, dropped)
    for name in _FIRST_TO_GO:
        if max(map(columns, drawn_rows)) + 4 + columns(signs.mark) <= paper.width:
            break
        dropped.add(name)
        drawn_rows = _laid_out(rows, dropped)
    lines.append("  " + style.paint("bold", drawn_rows[0]))
    for row, line in zip(rows, drawn_rows[1:], strict=True):
        if not row.is_narrowest:
            lines.append(f"  {line}")
            continue
        lines.append("  " + style.paint("yellow", f"{line} {signs.mark}"))
    return lines


def _laid_out(rows: list[_Row], dropped: set[str]) -> list[str]:
    kept = [at for at, name in enumerate(_HEAD) if name not in dropped]
    head = [_HEAD[at] for at in kept]
    cells = [[row.cells[at] for at in kept] for row in rows]
    return table(head, cells, [at for at, name in enumerate(head) if name in _NUMBERS])


def _collect(
    step: Json,
    stem: str,
    below_stem: str,
    document: Json,
    signs: _Signs,
    rows: list[_Row],
    depth: int,
) -> None:
    rows.append(_row(step, stem, _is_narrowest(step, document), signs))
    below = parts(step, "below")
    if depth == _DEEPEST:
        return
    shown = [
        one
        for at, one in enumerate(below)
        if at < _MOST_BELOW or _holds_narrowest(one, document, depth)
    ]
    left = len(below) - len(shown)
    for at, one in enumerate(shown):
        is_last = at == len(shown) - 1 and not left
        _collect(
            one,
            below_stem + (signs.last if is_last else signs.branch),
            below_stem + ("   " if is_last else signs.life),
            document,
            signs,
            rows,
            depth + 1,
        )
    if left:
        blank = ("",) * (len(_HEAD) - 1)
        rows.append(_Row((f"{below_stem}{signs.last}{number(left)} more", *blank), False))


def _is_narrowest(step: Json, document: Json) -> bool:
    """The document names a device; a device may stand for several steps, with other tags each."""
    return step.get("name") == document.get("narrowest") and step.get(
        "carries_bytes"
    ) == document.get("carries_bytes")


def _holds_narrowest(step: Json, document: Json, depth: int) -> bool:
    if _is_narrowest(step, document):
        return True
    return depth < _DEEPEST and any(
        _holds_narrowest(one, document, depth + 1) for one in parts(step, "below")
    )


def _row(step: Json, stem: str, is_narrowest: bool, signs: _Signs) -> _Row:
    about = [text for name in ("kind", "note") if (text := str(step.get(name) or ""))]
    if about[:1] in (["tap"], ["nic"]):
        about = about[1:]
    label = clip(step.get("name"), 15) + (f" ({', '.join(about)})" if about else "")
    label = clip(label, max(_LONGEST_LABEL - columns(stem), 15)).replace("…", signs.more)
    tags = signs.inside.join(_tag(tag) for tag in parts(step, "tags")[:4]) or "-"
    counters = part(step, "counters")
    ways = [part(counters, name) for name in ("to_wire", "from_wire")]
    frames = [number(way.get("frames")) for way in ways]
    cells = (
        stem + label,
        _bytes(step.get("mtu_bytes")),
        _bytes(step.get("carries_bytes")),
        tags,
        *frames,
        number(_sum(ways, "oversized")),
        number(_sum(ways, "dropped")),
    )
    return _Row(cells, is_narrowest)


def _bytes(value: object) -> str:
    return str(value) if isinstance(value, int) else "-"


def _tag(tag: Json) -> str:
    tpid, vid = tag.get("tpid"), clip(tag.get("vid"), 5)
    if tpid == _TPID_8021Q or not isinstance(tpid, int):
        return vid
    return f"{vid} ({'802.1ad' if tpid == _TPID_8021AD else f'{tpid:#06x}'})"


def _sum(ways: list[Json], name: str) -> int | None:
    known = [value for way in ways if isinstance(value := way.get(name), int)]
    return sum(known) if known else None
