# SPDX-License-Identifier: Apache-2.0
"""`status` as lines: what is guarded, what cuts, what only counts, what is wrong."""

from __future__ import annotations

from sentinel.cli_ports import held_text
from sentinel.cli_text import (
    Json,
    Style,
    clip,
    moment,
    named_once,
    number,
    pairs,
    part,
    seconds,
    several,
    size,
    span,
)
from sentinel.terminal import harmless

_PLAIN_CHECKS = {
    "bpdu": "spanning-tree frames",
    "vlan": "nested VLAN tags",
    "size": "oversized frames",
    "rogue_dhcp": "DHCP answers from a guest",
    "dhcp_flood": "DHCP floods",
}


def status_lines(status: Json, now_ns: int, style: Style) -> list[str]:
    """How the guard is doing; what is wrong comes first."""
    guard, fuse = part(status, "guard"), part(status, "fuse")
    since = status.get("since_wall_ns")
    age = f", for {seconds(now_ns - since)}" if isinstance(since, int) else ""
    lines = [
        style.paint(
            "bold",
            f"tapsentinel {clip(status.get('version', '?'), 20)} guards "
            f"{clip(status.get('host', 'this host'), 60)}",
        )
        + f" since {moment(since)}{age} (pid {status.get('pid', '?')})"
    ]
    problems = [str(problem) for problem in status.get("problems") or []]
    if fuse.get("blown"):
        problems.insert(
            0,
            "the fuse is blown: no check shuts another port until some are released "
            "(`tapsentinel ports` lists them first)",
        )
    if problems:
        lines += ["", style.paint("red", f"PROBLEMS ({len(problems)})")]
        lines += [style.paint("red", f"  ! {harmless(problem)}") for problem in problems]
    lines.append("")
    lines += pairs(
        [
            ("guarded", _guarded_text(guard)),
            *_away_facts(status.get("away"), now_ns),
            *_checks_text(part(status, "checks")),
            ("host's own BPDUs", _host_bpdu_text(status.get("host_bpdu"))),
            ("fuse", _fuse_text(fuse)),
            ("journal", _journal_text(part(status, "journal"))),
            ("events", _events_text(part(status, "events"))),
            *_leases_facts(status.get("dhcp")),
            *_audit_facts(status.get("audit")),
            *_mqtt_facts(part(status, "mqtt"), now_ns),
            *_orders_facts(part(status, "orders")),
            *_fleet_facts(part(status, "fleet")),
            ("configuration", clip(status.get("config") or "?", 200)),
            ("netlink", several(part(status, "netlink").get("resyncs"), "resync", "resyncs")),
            (
                "kernel",
                f"programs loaded by {clip(status.get('loader', '?'), 20)}, attached by "
                f"{clip(status.get('attach', '?'), 20)}, ABI {status.get('abi', '?')}",
            ),
        ]
    )
    if not problems:
        lines += ["", style.paint("green", "no problems")]
    return lines


def _away_facts(away: object, now_ns: int) -> list[tuple[str, str]]:
    """Quarantines whose port is not there now."""
    held = [one for one in away if isinstance(one, dict)] if isinstance(away, list) else []
    texts = [f"{clip(one.get('port'), 15)} ({held_text(one, now_ns)})" for one in held]
    return [("held though away", ", ".join(texts))] if texts else []


def _guarded_text(guard: Json) -> str:
    parts = [f"{several(guard.get('watched'), 'port', 'ports')} watched"]
    for name, text in (
        ("quarantined", "quarantined"),
        ("trusted", "trusted"),
        ("unattached", "NOT attached"),
    ):
        if guard.get(name):
            parts.append(f"{number(guard[name])} {text}")
    parts.append(several(guard.get("uplinks"), "uplink", "uplinks"))
    return ", ".join(parts)


def _checks_text(checks: Json) -> list[tuple[str, str]]:
    cuts, counts = [], []
    for name, check in checks.items():
        what = _PLAIN_CHECKS.get(name, name)
        action = str(check.get("action")) if isinstance(check, dict) else "?"
        if action == "drop":
            cuts.append(("cuts", f"{harmless(what)}: dropped"))
        elif action == "quarantine":
            cuts.append(("cuts", f"{harmless(what)}: {_latch_text(check)}"))
        else:
            counts.append(harmless(what))
    if not cuts:
        cuts = [("cuts", "nothing: every check only counts")]
    return named_once([*cuts, ("only counts", ", ".join(counts) or "nothing")])


def _latch_text(check: Json) -> str:
    threshold = check.get("threshold")
    if threshold == 1:
        return "the first frame shuts the port"
    window = span(check.get("window_ns"))
    return f"dropped, {number(threshold)} within {window} shut the port"


def _host_bpdu_text(host_bpdu: object) -> str:
    if host_bpdu == "drop":
        return "dropped at the uplink"
    return "counted and let through"


def _fuse_text(fuse: Json) -> str:
    text = (
        f"{number(fuse.get('quarantined'))} of at most {number(fuse.get('limit'))} "
        "ports quarantined"
    )
    if fuse.get("blown"):
        text = f"BLOWN: {text}"
    if fuse.get("refusals"):
        text += f"; {number(fuse['refusals'])} frames would have shut another"
    return text


def _journal_text(journal: Json) -> str:
    text = (
        f"{several(journal.get('entries'), 'entry', 'entries')}, {size(journal.get('size_bytes'))}"
    )
    if not journal.get("ok", True):
        text = f"NOT WELL: {harmless(str(journal.get('problem') or 'unknown'))}; {text}"
    for name, words in (("pending", "waiting for the disk"), ("lost", "lost")):
        if journal.get(name):
            text += f", {number(journal[name])} {words}"
    return text


def _leases_facts(dhcp: object) -> list[tuple[str, str]]:
    """How many DHCP clients are followed, and what of their messages was not looked at."""
    if not isinstance(dhcp, dict):
        return []
    text = f"{several(dhcp.get('clients'), 'client', 'clients')} followed"
    if dhcp.get("forgotten"):
        text += f", {number(dhcp['forgotten'])} forgotten for want of room"
    text += (
        f"; of their messages {number(dhcp.get('told'))} told, "
        f"{number(dhcp.get('suppressed'))} over the rate, {number(dhcp.get('lost'))} lost"
    )
    return [("DHCP", text)]


def _audit_facts(audit: object) -> list[tuple[str, str]]:
    """What the audit finds, and what it cannot look at."""
    if not isinstance(audit, dict):
        return []
    graver = (("critical", "critical"), ("warning", "warnings"))
    counts = [several(audit[one], one, many) for one, many in graver if audit.get(one)]
    text = f"{', '.join(counts)}: see `tapsentinel audit`" if counts else "nothing is wrong"
    for name, words in (
        ("accepted", "accepted"),
        ("pairs_evicted", "rows of tags given up for others"),
        ("pairs_lost", "frames in no row of tags"),
        ("losses_unlisted", "losses in no row"),
    ):
        if audit.get(name):
            text += f"; {number(audit[name])} {words}"
    if audit.get("drops") == "off":
        text += "; losses are not traced"
    return [("audit", text)]


def _mqtt_facts(mqtt: Json, now_ns: int) -> list[tuple[str, str]]:
    """The publisher, if there is to be one."""
    if not mqtt.get("enabled"):
        return []
    if mqtt.get("heard_wall_ns") is None:
        return [("MQTT", "no publisher has been heard")]
    state = mqtt.get("state")
    since = mqtt.get("connected_since_wall_ns")
    if state == "connected" and isinstance(since, int):
        text = (
            f"connected to {clip(mqtt.get('broker'), 80)} by MQTT {clip(mqtt.get('protocol'), 8)} "
            f"for {seconds(now_ns - since)}"
        )
    else:
        text = f"{clip(state, 16).upper()}: {clip(mqtt.get('broker'), 80)}"
    text += (
        f"; {several(mqtt.get('lag'), 'event', 'events')} behind, "
        f"{number(mqtt.get('acknowledged'))} told, at #{number(mqtt.get('cursor_seq'))}"
    )
    facts = [("MQTT", text)]
    if mqtt.get("last_error"):
        when = moment(mqtt.get("last_error_wall_ns"))
        facts.append(("MQTT's last error", f"{when}: {clip(mqtt['last_error'], 300)}"))
    return facts


def _orders_facts(orders: Json) -> list[tuple[str, str]]:
    """Orders over MQTT, where they are taken."""
    if not orders.get("enabled"):
        return []
    text = (
        f"{several(orders.get('principals'), 'principal', 'principals')} may give them; "
        f"{number(orders.get('done'))} done, {number(orders.get('repeated'))} repeated, "
        f"{number(orders.get('refused'))} refused"
    )
    return [("orders over MQTT", text)]


def _fleet_facts(fleet: Json) -> list[tuple[str, str]]:
    """What this host tells the others of guests it cut, and what it knows from them."""
    texts = []
    if fleet.get("publish"):
        texts.append(f"{several(fleet.get('issued'), 'notice', 'notices')} given")
    if fleet.get("follow"):
        texts.append(
            f"{number(fleet.get('known'))} known from others, "
            f"{several(fleet.get('matched'), 'port', 'ports')} matched "
            f"({clip(fleet.get('action'), 16)}), {number(fleet.get('waiting'))} waiting"
        )
    return [("notices", "; ".join(texts))] if texts else []


def _events_text(events: Json) -> str:
    return (
        f"{number(events.get('told'))} told, {number(events.get('suppressed'))} over the rate, "
        f"{number(events.get('lost'))} lost; counters miss none"
    )
