# SPDX-License-Identifier: Apache-2.0
"""`dhcp` as lines: the leases as a table, and one port's clients with what they said last.

Pure: answers, a clock and a style in, lines out. A client's names, a server's notes
and every address are a stranger's: all of them go through `clip` or `wrapped`.
"""

from __future__ import annotations

from sentinel.cli_incidents import cause_name, cause_sentence, vm_text
from sentinel.cli_ladder import Paper, ladder_lines, typeable
from sentinel.cli_text import (
    Json,
    Style,
    clip,
    exact_ago,
    left,
    pairs,
    parts,
    plain,
    several,
    span,
    table,
    wrapped,
)

_HEAD = ("PORT", "VM", "MAC", "ADDRESS", "SERVER", "REMAINING", "STATE", "TROUBLE")
_REMAINING = _HEAD.index("REMAINING")
_STATE_COLOURS = {"lost": "red", "refused": "red", "declined": "red", "rebinding": "yellow"}


def leases_lines(leases: object, style: Style) -> list[str]:
    """One line for each lease, by port and then MAC; those in trouble are red."""
    found = _by_port(parts({"leases": leases}, "leases"))
    if not found:
        return ["no leases: no DHCP message of a guest has been seen yet"]
    rows = [
        (
            clip(lease.get("port") or "?", 15),
            clip(vm_text(lease.get("vm")), 24),
            clip(lease.get("mac") or "-", 17),
            _address(lease),
            clip(_server(lease), 24),
            _remaining(lease),
            clip(lease.get("state") or "unknown", 10),
            clip(", ".join(map(cause_name, _trouble(lease))), 60),
        )
        for lease in found
    ]
    head, *lines = table(_HEAD, rows, [_REMAINING])
    return [
        style.paint("bold", head),
        *(
            style.paint("red", line) if _trouble(lease) else line
            for line, lease in zip(lines, found, strict=True)
        ),
    ]


def lease_lines(shown: Json, style: Style) -> list[str]:
    """The leases of one port, as `show` lists them: one line each."""
    lines = []
    for lease in _by_port(parts(shown, "leases")):
        words = [_address(lease), f"from {clip(_server(lease), 24)}"]
        words += [f"to {clip(lease.get('mac') or '-', 17)}", clip(lease.get("state") or "?", 10)]
        if _remaining(lease) != "-":
            words.append(f"remaining {_remaining(lease)}")
        line = ", ".join(words)
        trouble = ", ".join(map(cause_name, _trouble(lease)))
        lines.append(style.paint("red", f"{line}: {clip(trouble, 60)}") if trouble else line)
    return lines


def exchanges_lines(answer: object, now_ns: int, style: Style, paper: Paper) -> list[str]:
    """One port: when it was last heard of, and each client's last exchange as a ladder."""
    document = typeable(answer, paper)
    if not isinstance(document, dict):
        document = {}
    port = clip(document.get("port") or "?", 15)
    lines = [f"{style.paint('bold', port)}  (ifindex {clip(document.get('ifindex', '?'), 12)})"]
    facts = [
        ("VM", clip(vm_text(document.get("vm")), 60)),
        ("last sent", exact_ago(document.get("last_sent_wall_ns"), now_ns)),
        ("last received", exact_ago(document.get("last_received_wall_ns"), now_ns)),
    ]
    if "silent_since_wall_ns" in document:
        # Without ARP, neighbour discovery and DHCP, which go on when all else has stopped.
        facts.append(("last traffic", exact_ago(document["silent_since_wall_ns"], now_ns)))
    lines += pairs(facts)
    missed = document.get("missed")
    if isinstance(missed, int) and missed > 0:
        were = several(missed, "message was", "messages were")
        lines.append(style.paint("yellow", f"  {were} not looked at: over the rate"))
    clients = parts(document, "clients")
    if not clients:
        lines += ["", "no DHCP message of this port has been seen yet"]
    for client in clients:
        lines += ["", *_client_lines(client, now_ns, style, paper), ""]
        exchange = parts(client, "exchange")
        if exchange:
            lines += ladder_lines(exchange, port, style, paper)
            left_out = client.get("left_out")
            if isinstance(left_out, int) and left_out > 0:
                found = several(left_out, "sighting", "sightings")
                lines.append(f"  {found} between the first and the last found no room")
        else:
            lines.append("  none of its messages have been seen since the daemon began")
    return [paper.fit(line) for line in lines]


def _client_lines(client: Json, now_ns: int, style: Style, paper: Paper) -> list[str]:
    state = clip(client.get("state") or "unknown", 12)
    colour = _STATE_COLOURS.get(state, "green" if state == "bound" else "bold")
    title = style.paint("bold", clip(client.get("mac") or "unknown MAC", 17))
    lines = [f"{title}  {style.paint(colour, state)}"]
    for cause in _trouble(client):
        said = wrapped(cause_sentence(cause), paper.width - 4)
        lines += [
            style.paint("red", f"  {'!' if at == 0 else ' '} {line}")
            for at, line in enumerate(said)
        ]
    return lines + pairs([*_who_facts(client), *_lease_facts(client, now_ns)])


def _who_facts(client: Json) -> list[tuple[str, str]]:
    is_v6 = client.get("family") == 6
    facts = []
    for name, label in (
        ("client", "DUID" if is_v6 else "hardware"),
        ("client_id", "IAIDs" if is_v6 else "client id"),
        ("host_name", "host name"),
        ("vid", "VLAN"),
        ("relay", "relay"),
    ):
        value = client.get(name)
        if value not in (None, "") and not (name == "client" and value == client.get("mac")):
            facts.append((label, clip(plain(value), 60)))
    return facts


def _lease_facts(client: Json, now_ns: int) -> list[tuple[str, str]]:
    facts = []
    addresses = client.get("addresses")
    several_of_them = isinstance(addresses, list) and len(addresses) > 1
    shown = addresses if several_of_them else client.get("address")
    facts.append(("address", clip(plain(shown) if shown else "none", 60)))
    server, server_mac = client.get("server"), client.get("server_mac")
    if server or server_mac:
        beside = f" ({clip(server_mac, 17)})" if server and server_mac else ""
        facts.append(("server", clip(server or server_mac, 40) + beside))
    lease_ns, remaining = client.get("lease_ns"), _remaining(client)
    if remaining == "no end":
        facts.append(("lease", "has no end"))
    elif isinstance(lease_ns, int):
        rest = {"-": "", "over": ", over"}.get(remaining, f", {remaining} remaining")
        facts.append(("lease", f"{span(lease_ns)}{rest}"))
    for name, label in (
        ("acked_wall_ns", "acknowledged"),
        ("t1_wall_ns", "renews (T1)"),
        ("t2_wall_ns", "rebinds (T2)"),
        ("expires_wall_ns", "ends"),
    ):
        if client.get(name) is not None:
            facts.append((label, clip(exact_ago(client[name], now_ns), 60)))
    return facts


def _by_port(leases: list[Json]) -> list[Json]:
    return sorted(leases, key=lambda lease: (str(lease.get("port")), str(lease.get("mac"))))


def _trouble(lease: Json) -> list[object]:
    trouble = lease.get("trouble")
    return trouble if isinstance(trouble, list) else []


def _address(lease: Json) -> str:
    """The first address, and how many there are beside it."""
    addresses = lease.get("addresses")
    known = addresses if isinstance(addresses, list) else []
    first = lease.get("address") or (known[0] if known else None)
    if not first:
        return "-"
    return clip(first, 39) + (f" +{len(known) - 1}" if len(known) > 1 else "")


def _server(lease: Json) -> str:
    """Its address; of DHCPv6, where servers have a DUID instead, its MAC."""
    names = ("server_mac", "server") if lease.get("family") == 6 else ("server", "server_mac")
    return next((str(lease[name]) for name in names if lease.get(name)), "-")


def _remaining(lease: Json) -> str:
    remaining_ns = lease.get("remaining_ns")
    if isinstance(remaining_ns, int):
        return left(remaining_ns) if remaining_ns > 0 else "over"
    is_held = lease.get("state") in ("bound", "renewing", "rebinding")
    is_known = isinstance(lease.get("acked_wall_ns"), int)
    if is_held and is_known and lease.get("expires_wall_ns") is None:
        return "no end"
    return "-"
