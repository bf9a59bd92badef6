# SPDX-License-Identifier: Apache-2.0
"""`audit` as lines: what is wrong with the host's network, the gravest first, and the repair.

Pure: an answer, a clock and a style in, lines out. Names of devices and VMs go through
`harmless`; a command is never broken into lines, for it is there to be pasted.
"""

from __future__ import annotations

from typing import Any, Final

from sentinel.cli_incidents import vm_text
from sentinel.cli_text import (
    Json,
    Style,
    clip,
    clock,
    day,
    exact_ago,
    number,
    part,
    parts,
    several,
    span,
    wrapped,
)
from sentinel.terminal import columns, harmless

NARROWEST, WIDEST = 60, 110
_NO_TERMINAL: Final = 100
_GROUPS: Final = (
    ("critical", "red", "CRITICAL: frames are being lost"),
    ("warning", "yellow", "WARNING: frames will be lost, or the host is at risk"),
    ("notice", "bold", "NOTICE: good to know"),
)
_PLURALS: Final = {"critical": "critical", "warning": "warnings", "notice": "notices"}
_MOST_EVIDENCE: Final = 8
_TYPED: Final = {"→": "->", "…": "~"}


def audit_lines(
    answer: object,
    now_ns: int,
    style: Style,
    terminal_columns: int | None = None,
    encoding: str | None = "utf-8",
) -> list[str]:
    """The findings by severity, then those that are accepted, then what was looked at.

    `terminal_columns` None: no terminal; `encoding` is stdout's.
    """
    document: Json = answer if isinstance(answer, dict) else {}
    if not _can_write(encoding):
        lines = _drawn(_typed(document), now_ns, style, terminal_columns)
        return [line.replace("…", _TYPED["…"]) for line in lines]
    return _drawn(document, now_ns, style, terminal_columns)


def _drawn(document: Json, now_ns: int, style: Style, terminal_columns: int | None) -> list[str]:
    wanted = _NO_TERMINAL if terminal_columns is None else terminal_columns
    width = max(NARROWEST, min(wanted, WIDEST))
    found = parts(document, "findings")
    accepted = [one for one in found if one.get("accepted") is True]
    rest = [one for one in found if one.get("accepted") is not True]
    lines = [style.paint("bold", _count_text(rest, len(accepted)))]
    known = {severity for severity, _, _ in _GROUPS}
    for severity, colour, title in _GROUPS:
        is_last = severity == _GROUPS[-1][0]
        group = [
            one
            for one in rest
            if one.get("severity") == severity or (is_last and one.get("severity") not in known)
        ]
        if group:
            lines += ["", style.paint(colour, title)]
        for one in group:
            lines += ["", *_finding_lines(one, colour, now_ns, style, width)]
    if accepted:
        lines += ["", style.paint("dim", "accepted by the configuration")]
        lines += [f"  {harmless(str(one.get('id')))}" for one in accepted]
    return [*lines, "", *_looked_at(document, now_ns, style, width)]


def _count_text(found: list[Json], accepted: int) -> str:
    beside = f"; {number(accepted)} accepted" if accepted else ""
    if not found:
        return f"nothing found{beside}"
    counts = [
        several(of_it, severity, plural)
        for severity, plural in _PLURALS.items()
        if (of_it := sum(1 for one in found if one.get("severity") == severity))
    ]
    kinds = f": {', '.join(counts)}" if counts else ""
    return f"{several(len(found), 'finding', 'findings')}{kinds}{beside}"


def _finding_lines(finding: Json, colour: str, now_ns: int, style: Style, width: int) -> list[str]:
    lines = ["  " + style.paint(colour, harmless(str(finding.get("id") or "unknown")))]
    lines += [f"    {line}" for line in wrapped(finding.get("what") or "", width - 4)]
    if isinstance(finding.get("vm"), dict) and vm_text(finding["vm"]) != "unknown":
        lines.append(f"    VM {vm_text(finding['vm'])}")
    repair = wrapped(finding.get("repair") or "", width - 6)
    lines += [
        f"    {style.paint('green', '>') if at == 0 else ' '} {style.paint('bold', line)}"
        for at, line in enumerate(repair)
        if line
    ]
    commands = finding.get("commands")
    for command in commands if isinstance(commands, list) else []:
        shown = harmless(str(command))
        lines.append("        " + (style.paint("dim", shown) if shown[:1] == "#" else shown))
    evidence = parts(finding, "evidence")
    if evidence:
        lines += _evidence_lines(evidence, style, width)
    if isinstance(finding.get("last_wall_ns"), int):
        lines.append(f"    last seen {exact_ago(finding['last_wall_ns'], now_ns)}")
    return lines


def _evidence_lines(evidence: list[Json], style: Style, width: int) -> list[str]:
    left_out = len(evidence) - _MOST_EVIDENCE
    shown = evidence[-_MOST_EVIDENCE:]
    places = max(columns(_place(one)) for one in shown)
    today = day(shown[0].get("time_ns"))
    lines = [style.paint("dim", f"    seen on {today or 'an unknown day'}")]
    if left_out > 0:
        lines.append(f"      {several(left_out, 'earlier moment', 'earlier moments')} in --json")
    for one in shown:
        if day(one.get("time_ns")) != today:
            today = day(one.get("time_ns"))
            lines.append(style.paint("dim", f"    and on {today or 'an unknown day'}"))
        place = _place(one) + " " * (places - columns(_place(one)))
        head = f"      {clock(one.get('time_ns')):<12}  {place}  "
        said = wrapped(one.get("text") or "", max(20, width - columns(head)))
        lines.append((head + said[0]).rstrip())
        lines += [" " * columns(head) + more for more in said[1:]]
    return lines


def _place(moment: Json) -> str:
    return clip(moment.get("place") or "", 15)


def _looked_at(document: Json, now_ns: int, style: Style, width: int) -> list[str]:
    """What the answer rests on, and what it could not see."""
    took = f" in {span(document['took_ns'])}" if isinstance(document.get("took_ns"), int) else ""
    ports = several(document.get("ports"), "port", "ports")
    said = (
        f"looked at {several(document.get('devices'), 'device', 'devices')}, {ports} and "
        f"{several(document.get('uplinks'), 'uplink', 'uplinks')}{took}, "
        f"{exact_ago(document.get('checked_wall_ns'), now_ns)}"
    )
    lines = wrapped(said, width)
    drops = part(document, "drops")
    if drops.get("state") != "on":
        why = drops.get("why")
        text = "not looked at: frames that the kernel itself drops"
        text += f" ({why})" if why else ""
        lines += [style.paint("yellow", line) for line in wrapped(text, width)]
    if document.get("ports") == 0:
        text = "no port is watched: of guests nothing could be said (see `tapsentinel ports`)"
        lines += [style.paint("yellow", line) for line in wrapped(text, width)]
    beyond = document.get("without_incident")
    if isinstance(beyond, int) and beyond > 0:
        text = f"{several(beyond, 'finding has', 'findings have')} no incident: too many at once"
        lines.append(style.paint("yellow", text))
    return lines


def _can_write(encoding: str | None) -> bool:
    try:
        "".join(_TYPED).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _typed(document: Any) -> Any:
    """The same JSON in ASCII, escaped before it is measured."""
    if isinstance(document, str):
        for sign, typed in _TYPED.items():
            document = document.replace(sign, typed)
        return document.encode("ascii", "backslashreplace").decode()
    if isinstance(document, list):
        return [_typed(one) for one in document]
    if isinstance(document, dict):
        return {name: _typed(one) for name, one in document.items()}
    return document
