# SPDX-License-Identifier: Apache-2.0
"""Incidents and events as lines, what their causes are called, and whose port it was."""

from __future__ import annotations

from sentinel.cli_text import (
    Json,
    Style,
    clip,
    clock,
    day,
    difference,
    gap,
    hexdump,
    member,
    moment,
    number,
    pairs,
    part,
    parts,
    several,
)
from sentinel.terminal import columns, harmless

_EVIDENCE_ENDS = 4

_DHCP_CAUSES = {
    "unanswered": ("unanswered", "the server does not answer"),
    "reply_lost": (
        "reply lost",
        "the server answers, but its replies do not reach the guest's port",
    ),
    "ignored": ("ignored", "replies pass towards the guest, and it goes on asking"),
    "queue_stalled": (
        "receive queue stalled",
        "replies pass towards the guest, which does not drain its receive queue: "
        "not a fault of DHCP",
    ),
    "guest_silent": ("guest silent", "it did not ask for its renewal when that was due"),
    "lease_lost": ("lease lost", "the lease ran out before a server had renewed it"),
    "nak_loop": ("NAK loop", "the server refuses what the client asks for, again and again"),
    "address_conflict": ("address conflict", "somebody else uses the address, too"),
}


def incidents_lines(incidents: list[Json], style: Style, verbose: bool) -> list[str]:
    """A block for each incident, in the order they come."""
    if not incidents:
        return ["no incidents"]
    lines: list[str] = []
    for incident in incidents:
        lines += ([""] if lines else []) + incident_lines(incident, style, verbose)
    return lines


def incident_lines(incident: Json, style: Style, verbose: bool) -> list[str]:
    """When, where, who, what, how many frames, what was done, and the evidence.

    With `verbose` all of the evidence, and the frame in hex.
    """
    check = str(incident.get("check"))
    of_lease = check == "dhcp"
    kind = clip(check, 16)
    detail = incident.get("detail")
    if detail:
        kind += f" ({cause_name(detail) if of_lease else clip(detail, 16)})"
    closed = incident.get("closed_wall_ns")
    still = f"over since {moment(closed)}" if isinstance(closed, int) else "still open"
    where = "uplink" if incident.get("uplink") else "device" if check == "audit" else "port"
    lines = [
        f"{moment(incident.get('opened_wall_ns'))}  "
        + style.paint("bold", f"{kind} at {where} {clip(incident.get('port'), 15)}")
        + f"  [#{clip(incident.get('id', '?'), 20)}, {still}]"
    ]
    if incident.get("summary"):
        lines.append(f"  {harmless(str(incident['summary']))}")
    lines += _evidence_lines(parts(incident, "evidence"), style, verbose)
    lines += pairs(_facts(incident, check, style))
    if verbose and incident.get("frame_hex"):
        lines += ["    " + line for line in hexdump(str(incident["frame_hex"]))]
    return lines


def _facts(incident: Json, check: str, style: Style) -> list[tuple[str, str]]:
    vm = ("VM", vm_text(incident.get("vm")))
    last = f"the last at {moment(incident.get('updated_wall_ns'))}"
    count = f"{number(incident.get('frames'))}, {last}"
    mac = clip(incident.get("mac") or "unknown", 20)
    verdict = str(incident.get("verdict"))
    nothing = ("done", "nothing: seen, nothing is cut for it")
    if check == "audit":
        # What is wrong with the host concerns a VM only sometimes, and frames not always.
        facts = [vm] if vm[1] != "unknown" else []
        return [*facts, *([("frames", count)] if incident.get("frames") else []), nothing]
    colour = "red" if verdict in ("latched", "passed") else "yellow"
    done = ("done", style.paint(colour, _done_text(verdict, str(incident.get("action")))))
    if check == "dhcp":
        return [
            vm,
            ("client MAC", mac),
            ("messages", count),
            nothing if verdict == "passed" else done,
        ]
    return [vm, ("source MAC", mac), ("frames", count), done]


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
            noun = "message" if body.get("check") == "dhcp" else "frame"
            words.append(f"[{several(body['frames'], noun, f'{noun}s')}]")
        if kind == "order.refused":
            asked = several(body.get("times"), "time", "times")
            words.append(f"[{_asker(body)}, {asked}]")
    else:
        words += [
            f"{clip(name.removesuffix('_ns'), 30)}={clip(member(name, value), 120)}"
            for name, value in body.items()
            if value is not None and name != "evidence"
        ]
    return " ".join(words)


def _asker(body: Json) -> str:
    if "uid" in body:
        return f"uid {body['uid']}"
    return f"by {clip(body.get('by') or 'nobody known', 64)} over MQTT"


def cause_name(cause: object) -> str:
    """What is wrong with a lease, in two or three words."""
    known = _DHCP_CAUSES.get(str(cause))
    return known[0] if known else clip(str(cause).replace("_", " "), 24)


def cause_sentence(cause: object) -> str:
    """The same with what it means; a cause that is not known stands alone."""
    known = _DHCP_CAUSES.get(str(cause))
    return f"{known[0]}: {known[1]}" if known else cause_name(cause)


def _evidence_lines(moments: list[Json], style: Style, verbose: bool) -> list[str]:
    """The time line: all of it, or its first and last moments."""
    if not moments:
        return []
    left_out = 0 if verbose else max(0, len(moments) - 2 * _EVIDENCE_ENDS)
    if left_out == 1:
        left_out = 0
    lines = [style.paint("dim", f"    {day(moments[0].get('time_ns')) or 'unknown time'}")]
    today = day(moments[0].get("time_ns"))
    before_ns: object = None
    places = max(columns(_place(one)) for one in moments)
    for at, one in enumerate(moments):
        time_ns = one.get("time_ns")
        if _EVIDENCE_ENDS <= at < _EVIDENCE_ENDS + left_out:
            if at == _EVIDENCE_ENDS:
                lines.append(f"      … {number(left_out)} more (-v shows them)")
        else:
            if day(time_ns) != today:
                today = day(time_ns)
                lines.append(style.paint("dim", f"    {today or 'unknown time'}"))
            place = _place(one) + " " * (places - columns(_place(one)))
            since = gap(difference(time_ns, before_ns))
            said = f"    {clock(time_ns):<12} {since:>9}  {place}  {clip(one.get('text', ''), 300)}"
            lines.append(said.rstrip())
        before_ns = time_ns
    return lines


def _place(moment_seen: Json) -> str:
    return clip(moment_seen.get("place") or "", 15)


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
