# SPDX-License-Identifier: Apache-2.0
"""`ports`, `show` and the answers to orders as lines.

Pure: answers, a clock and a style in, lines out. Every text that a guest, a
tenant or a file chose goes through `clip` or `harmless`.
"""

from __future__ import annotations

from sentinel.cli_dhcp import lease_lines
from sentinel.cli_incidents import incident_lines, vm_text
from sentinel.cli_ladder import Paper
from sentinel.cli_path import PLAIN_PAPER, path_lines
from sentinel.cli_text import (
    Json,
    Style,
    clip,
    exact_ago,
    left,
    member,
    moment,
    named_once,
    number,
    pairs,
    part,
    plain,
    table,
)
from sentinel.terminal import harmless

_COUNTED = ("bpdu", "oversized", "vlan_nested")
_STATE_ORDER = {"quarantined": 0, "unattached": 1, "watched": 2, "trusted": 3}
_STATE_COLOURS = {"quarantined": "red", "unattached": "yellow", "trusted": "dim"}
_IN_THE_TREE = ("mtu_bytes", "carries_bytes", "narrowest", "tree")
_TROUBLE_HEAD = ("BPDUS", "OVERSIZED", "NESTED", "DHCP", "DROPPED")


def ports_lines(ports: list[Json], now_ns: int, style: Style) -> list[str]:
    """Ports, the quarantined first, then the uplinks."""
    mine = [port for port in ports if port.get("role") == "port"]
    uplinks = [port for port in ports if port.get("role") == "uplink"]
    mine.sort(key=lambda port: (_STATE_ORDER.get(str(port.get("state")), 9), str(port.get("name"))))
    if not ports:
        return ["no ports: no device matches ports.include (see `tapsentinel doctor`)"]
    lines = []
    if mine:
        head = ("PORT", "VM", "STATE", "FROM GUEST", "TO GUEST", *_TROUBLE_HEAD, "NOTE")
        rows = [
            (
                clip(port.get("name"), 15),
                clip(vm_text(port.get("vm")), 28),
                clip(port.get("state"), 12),
                number(_counter(port, "from_guest", "frames")),
                number(_counter(port, "to_guest", "frames")),
                *_trouble(port, "from_guest"),
                held_text(port.get("quarantine"), now_ns) or clip(port.get("problem") or "", 60),
            )
            for port in mine
        ]
        lines += _painted(table(head, rows, range(3, 10)), mine, style)
    if uplinks:
        uplink_head = ("UPLINK", "STATE", "TO WIRE", "FROM WIRE", *_TROUBLE_HEAD)
        uplink_rows = [
            (
                clip(uplink.get("name"), 15),
                clip(uplink.get("state"), 12),
                number(_counter(uplink, "to_wire", "frames")),
                number(_counter(uplink, "from_wire", "frames")),
                *_trouble(uplink, "to_wire"),
            )
            for uplink in uplinks
        ]
        lines += [""] if mine else []
        lines += _painted(table(uplink_head, uplink_rows, range(2, 9)), uplinks, style)
    return lines


def show_lines(
    shown: Json, now_ns: int, style: Style, verbose: bool, paper: Paper = PLAIN_PAPER
) -> list[str]:
    """Everything about one port."""
    port = part(shown, "port")
    state = str(port.get("state"))
    title = style.paint("bold", clip(port.get("name"), 15))
    word = style.paint(_STATE_COLOURS.get(state, "green"), clip(state, 12))
    lines = [f"{title}  {word}  ({clip(port.get('role'), 10)}, ifindex {port.get('ifindex')})"]
    facts = [("VM", value) for value in _vm_facts(port.get("vm"))]
    if port.get("problem"):
        facts.append(("problem", style.paint("red", harmless(str(port["problem"])))))
    if port.get("trusted_checks"):
        facts.append(("trusted with", plain(port["trusted_checks"])))
    quarantine = port.get("quarantine")
    if isinstance(quarantine, dict):
        facts += _quarantine_facts(quarantine, now_ns)
    facts += _fleet_facts(part(shown, "fleet"))
    path = part(shown, "path")
    for name, value in path.items():
        if name not in _IN_THE_TREE or "tree" not in path:
            facts.append((name.removesuffix("_ns").replace("_", " "), member(name, value)))
    for name in ("last_sent", "last_received"):
        if f"{name}_wall_ns" in port:
            facts.append((name.replace("_", " "), exact_ago(port[f"{name}_wall_ns"], now_ns)))
    lines += pairs(named_once(facts))
    if tree := path_lines(path, style, paper):
        lines += ["", style.paint("bold", "path"), *tree]
    if "leases" in shown:
        lines += ["", style.paint("bold", "leases")]
        lines += [f"  {line}" for line in lease_lines(shown, style)] or ["  none seen"]
    counters = part(port, "counters")
    for direction, counts in counters.items():
        if isinstance(counts, dict):
            lines += ["", style.paint("bold", direction.replace("_", " "))]
            lines += pairs(_counter_facts(counts))
    incidents = [one for one in shown.get("incidents") or [] if isinstance(one, dict)]
    lines += ["", style.paint("bold", "last incidents")]
    if not incidents:
        lines.append("  none")
    for incident in incidents:
        lines += ["  " + line for line in incident_lines(incident, style, verbose)]
    return lines


def order_lines(op: str, result: Json, now_ns: int, style: Style) -> list[str]:
    """What became of an order."""
    port = clip(result.get("port"), 15)
    changed = bool(result.get("changed"))
    if op == "release":
        if changed:
            return [f"{port} is released: its frames pass again"]
        return [f"{port} was not quarantined: nothing to release"]
    until = result.get("until_wall_ns")
    length = "until it is released"
    if isinstance(until, int):
        length = f"until {moment(until)} ({left(until - now_ns)})"
    word = "is" if changed else "was already"
    return [f"{port} {word} {style.paint('red', 'quarantined')} {length}"]


def held_text(quarantine: object, now_ns: int) -> str:
    """How long a quarantine still lasts; empty without one."""
    if not isinstance(quarantine, dict):
        return ""
    until = quarantine.get("until_wall_ns")
    if not isinstance(until, int):
        return "until released"
    return f"{left(until - now_ns)} left" if until > now_ns else "ends now"


def _painted(lines: list[str], ports: list[Json], style: Style) -> list[str]:
    out = [style.paint("bold", lines[0])]
    for line, port in zip(lines[1:], ports, strict=True):
        colour = _STATE_COLOURS.get(str(port.get("state")))
        out.append(style.paint(colour, line) if colour else line)
    return out


def _counter(port: Json, direction: str, name: str) -> object:
    return _total(part(part(port, "counters"), direction).get(name))


def _total(value: object) -> object:
    return value.get("total") if isinstance(value, dict) else value


def _trouble(port: Json, offending: str) -> tuple[str, ...]:
    """What offends is counted where it comes from; what is dropped, in both directions."""
    counters = part(port, "counters")
    dropped = [
        total
        for counts in counters.values()
        if isinstance(counts, dict) and isinstance(total := _total(counts.get("dropped")), int)
    ]
    dhcp = [
        total
        for name in ("dhcp", "dhcp6")
        if isinstance(total := _counter(port, offending, name), int)
    ]
    return (
        *(number(_counter(port, offending, name)) for name in _COUNTED),
        number(sum(dhcp) if dhcp else None),
        number(sum(dropped) if dropped else None),
    )


def _counter_facts(counts: Json) -> list[tuple[str, str]]:
    facts = []
    for name, value in counts.items():
        text = number(_total(value))
        if isinstance(value, dict):
            parts = [
                f"{harmless(str(kind))} {number(count)}"
                for kind, count in value.items()
                if kind != "total" and count
            ]
            text += f"  ({', '.join(parts)})" if parts else ""
        facts.append((str(name).replace("_", " "), text))
    return facts


def _vm_facts(vm: object) -> list[str]:
    if not isinstance(vm, dict):
        return [vm_text(vm)]
    known = [
        f"{label} {clip(vm[member], 80)}"
        for member, label in (
            ("uuid", "UUID"),
            ("project", "project"),
            ("port_id", "Neutron port"),
            ("mac", "MAC"),
            ("pid", "pid"),
        )
        if vm.get(member)
    ]
    source = vm.get("source")
    named = vm_text(vm) + (f" (by {clip(source, 20)})" if source and source != "unknown" else "")
    return [named, *known]


def _fleet_facts(notice: Json) -> list[tuple[str, str]]:
    """The notice that a port's guest is known from, if there is one."""
    if not notice:
        return []
    host, cause = clip(notice.get("host"), 60), clip(notice.get("cause"), 20)
    why = harmless(clip(notice.get("reason"), 200))
    until = moment(notice.get("expires_ns"))
    return [("known", f"from {host}: {cause}: {why}; until {until}")]


def _quarantine_facts(quarantine: Json, now_ns: int) -> list[tuple[str, str]]:
    uid = quarantine.get("uid")
    cause = str(quarantine.get("cause"))
    by = f"the {clip(cause, 20)} check"
    if cause == "order":
        by = f"an order of uid {uid}" if isinstance(uid, int) else "an order"
    facts = [
        ("quarantine", f"by {by}, since {moment(quarantine.get('since_wall_ns'))}"),
        ("quarantine", f"held {held_text(quarantine, now_ns)}"),
        ("quarantine", f"reason: {harmless(str(quarantine.get('reason') or 'none given'))}"),
    ]
    relapses = quarantine.get("relapses")
    if isinstance(relapses, int) and relapses > 0:
        facts.append(("quarantine", f"relapses: {relapses}"))
    return facts
