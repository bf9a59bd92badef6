# SPDX-License-Identifier: Apache-2.0
"""Incidents and events as lines, and whose port it was."""

from __future__ import annotations

from sentinel.cli_text import (
    Json,
    Style,
    clip,
    hexdump,
    member,
    moment,
    number,
    pairs,
    part,
    several,
)
from sentinel.terminal import harmless


def incidents_lines(incidents: list[Json], style: Style, verbose: bool) -> list[str]:
    """A block for each incident, in the order they come."""
    if not incidents:
        return ["no incidents"]
    lines: list[str] = []
    for incident in incidents:
        lines += ([""] if lines else []) + incident_lines(incident, style, verbose)
    return lines


def incident_lines(incident: Json, style: Style, verbose: bool) -> list[str]:
    """When, where, who, what, how many frames, what was done; with `verbose` the frame."""
    kind = clip(incident.get("check"), 16)
    detail = incident.get("detail")
    if detail:
        kind += f" ({clip(detail, 16)})"
    closed = incident.get("closed_wall_ns")
    still = f"over since {moment(closed)}" if isinstance(closed, int) else "still open"
    verdict = str(incident.get("verdict"))
    colour = "red" if verdict in ("latched", "passed") else "yellow"
    where = "uplink" if incident.get("uplink") else "port"
    lines = [
        f"{moment(incident.get('opened_wall_ns'))}  "
        + style.paint("bold", f"{kind} at {where} {clip(incident.get('port'), 15)}")
        + f"  [#{clip(incident.get('id', '?'), 20)}, {still}]"
    ]
    if incident.get("summary"):
        lines.append(f"  {harmless(str(incident['summary']))}")
    lines += pairs(
        [
            ("VM", vm_text(incident.get("vm"))),
            ("source MAC", clip(incident.get("mac") or "unknown", 20)),
            (
                "frames",
                f"{number(incident.get('frames'))}, the last at "
                f"{moment(incident.get('updated_wall_ns'))}",
            ),
            ("done", style.paint(colour, _done_text(verdict, str(incident.get("action"))))),
        ]
    )
    if verbose and incident.get("frame_hex"):
        lines += ["    " + line for line in hexdump(str(incident["frame_hex"]))]
    return lines


def event_line(event: Json, style: Style) -> str:
    """One journaled event on one line."""
    kind = str(event.get("kind"))
    body = part(event, "body")
    words = [
        f"#{event.get('seq', '?')}",
        moment(event.get("time_ns")),
        style.paint(_event_colour(kind), clip(kind, 24)),
    ]
    if event.get("port"):
        words.append(clip(event["port"], 15))
    vm = event.get("vm")
    if isinstance(vm, dict):
        words.append(f"({vm_text(vm)})")
    said = body.get("summary") or body.get("message") or body.get("problem")
    if said:
        words.append(clip(said, 300))
        if isinstance(body.get("frames"), int):
            words.append(f"[{several(body['frames'], 'frame', 'frames')}]")
        if kind == "order.refused":
            asked = several(body.get("times"), "time", "times")
            words.append(f"[uid {body.get('uid')}, {asked}]")
    else:
        words += [
            f"{clip(name.removesuffix('_ns'), 30)}={clip(member(name, value), 120)}"
            for name, value in body.items()
            if value is not None
        ]
    return " ".join(words)


def vm_text(vm: object) -> str:
    """A VM in a few words: its name, else its UUID, else its port's id; or `unknown`."""
    if not isinstance(vm, dict):
        return clip(vm, 60) if isinstance(vm, str) and vm else "unknown"
    if vm.get("name"):
        shown = vm.get("display_name")
        return clip(vm["name"], 60) + (f" ({clip(shown, 40)})" if shown else "")
    if vm.get("uuid"):
        return clip(vm["uuid"], 60)
    if vm.get("port_id"):
        return f"unknown (Neutron port {clip(vm['port_id'], 40)})"
    if vm.get("pid"):
        return f"unknown (pid {vm['pid']})"
    return "unknown"


def _done_text(verdict: str, action: str) -> str:
    return {
        "passed": "counted and let through",
        "dropped": "dropped in the kernel",
        "latched": "dropped in the kernel, and the port shut with it",
        "fused": "dropped in the kernel; the fuse kept the port open",
    }.get(verdict, clip(f"{verdict} ({action})", 40))


def _event_colour(kind: str) -> str:
    if kind in ("quarantine.set", "guard.failed", "journal.damaged", "journal.full"):
        return "red"
    if kind.startswith(("incident.", "order.refused", "quarantine.refused")):
        return "yellow"
    return "bold"
