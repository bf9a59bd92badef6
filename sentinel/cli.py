# SPDX-License-Identifier: Apache-2.0
"""The command `tapsentinel`: its words, and who carries them out.

Exit codes: 0 done, 1 refused or not found, 2 usage, 3 no daemon. Text goes to
stdout, complaints to stderr. What a command needs is imported when it is run:
a listing must answer at once, on a host in trouble too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from sentinel.cli_parser import parse
from sentinel.errors import (
    ConfigError,
    ControlError,
    NoDaemonError,
    NotArmedError,
    ProtocolError,
    TapsentinelError,
)
from sentinel.terminal import harmless, harmless_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sentinel.cli_client import Client
    from sentinel.cli_paths import Paths
    from sentinel.cli_text import Style

DONE, REFUSED, USAGE, NO_DAEMON = 0, 1, 2, 3

_NO_DAEMON_HINT = (
    "see `systemctl status tapsentinel`, or start it with `tapsentinel daemon`; "
    "what is pinned in the kernel goes on guarding meanwhile"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = parse(argv)
    _be_printable()
    try:
        code = _RUN[args.command](args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough; keep the interpreter from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except TapsentinelError as error:
        _complain(str(error))
        if isinstance(error, NoDaemonError):
            _complain(_NO_DAEMON_HINT)
        return _code_for(error)
    return code


def _code_for(error: TapsentinelError) -> int:
    if isinstance(error, NoDaemonError | NotArmedError):
        return NO_DAEMON
    if isinstance(error, ConfigError | ProtocolError):
        return USAGE
    return REFUSED


def _daemon(args: argparse.Namespace) -> int:
    text, file = _config_text(args)
    from sentinel.daemon import main as daemon_main

    return daemon_main(file, text)


def _mqtt(args: argparse.Namespace) -> int:
    from sentinel.config import parse_config
    from sentinel.mqtt.command import run

    text, file = _config_text(args)
    return run(parse_config(text or "", file), file)


def _status(args: argparse.Namespace) -> int:
    result = _asked(args, "status")
    if not args.json:
        from sentinel.cli_status import status_lines

        _out(status_lines(result, time.time_ns(), _style()))
    return DONE


def _ports(args: argparse.Namespace) -> int:
    result = _asked(args, "ports")
    if not args.json:
        from sentinel.cli_ports import ports_lines

        _out(ports_lines(result, time.time_ns(), _style()))
    return DONE


def _show(args: argparse.Namespace) -> int:
    result = _asked(args, "show", port=args.port)
    if not args.json:
        from sentinel.cli_ladder import paper_for
        from sentinel.cli_ports import show_lines

        paper = paper_for(_terminal_columns(), sys.stdout.encoding)
        _out(show_lines(result, time.time_ns(), _style(), args.verbose, paper=paper))
    return DONE


def _dhcp(args: argparse.Namespace) -> int:
    result = _asked(args, "dhcp", port=args.port)
    if args.json:
        return DONE
    from sentinel.cli_dhcp import exchanges_lines, leases_lines

    if args.port is None:
        _out(leases_lines(result, _style()))
    else:
        from sentinel.cli_ladder import paper_for

        paper = paper_for(_terminal_columns(), sys.stdout.encoding)
        _out(exchanges_lines(result, time.time_ns(), _style(), paper))
    return DONE


def _audit(args: argparse.Namespace) -> int:
    result = _asked(args, "audit")
    if not args.json:
        from sentinel.cli_audit import audit_lines

        now_ns, encoding = time.time_ns(), sys.stdout.encoding
        _out(audit_lines(result, now_ns, _style(), _terminal_columns(), encoding))
    return DONE


def _incidents(args: argparse.Namespace) -> int:
    result = _asked(
        args,
        "incidents",
        since_wall_ns=None if args.since is None else max(0, time.time_ns() - args.since),
        port=args.port,
        limit=args.limit,
        open=args.open,
    )
    if not args.json:
        from sentinel.cli_incidents import incidents_lines

        _out(incidents_lines(result, _style(), args.verbose))
    return DONE


def _watch_fleet(args: argparse.Namespace) -> int:
    from sentinel.cli_incidents import event_line
    from sentinel.cli_text import clip
    from sentinel.config import parse_config
    from sentinel.mqtt.fleet import follow

    style = _style()

    def told(entry: dict[str, Any]) -> None:
        if args.json:
            _out_json(json.dumps(entry).encode())
        else:
            _out([f"{style.paint('bold', clip(entry.get('host'), 60))} {event_line(entry, style)}"])
        sys.stdout.flush()

    text, file = _config_text(args)
    with contextlib.suppress(KeyboardInterrupt):
        follow(parse_config(text or "", file), file, told, _complain)
    return DONE


def _watch(args: argparse.Namespace) -> int:
    from sentinel.cli_incidents import event_line

    if args.fleet:
        return _watch_fleet(args)
    style = _style()
    try:
        with _connect(args, _paths(args, thorough=not args.json)) as client:
            for event in client.watch(args.after):
                if args.json:
                    _out_json(event)
                else:
                    _out([event_line(_decoded(event), style)])
                sys.stdout.flush()
    except KeyboardInterrupt:
        return DONE
    _complain("the daemon has ended the watch: it stops, or nothing was read for too long")
    return NO_DAEMON


def _order(args: argparse.Namespace) -> int:
    paths = _paths(args, thorough=not args.json)
    hold_ns = getattr(args, "hold_ns", None)
    try:
        with _connect(args, paths) as client:
            document = client.ask(args.command, port=args.port, for_ns=hold_ns, reason=args.reason)
    except NoDaemonError as absent:
        from sentinel.cli_orders import Order, order_directly

        done = order_directly(
            Order(args.command, args.port, hold_ns, args.reason), paths.bpffs_dir, absent
        )
        _complain(f"{absent}: the kernel was told directly, and the next daemon journals it")
        document = json.dumps(done).encode()
    if args.json:
        _out_json(document)
        return DONE
    from sentinel.cli_ports import order_lines

    result = _decoded(document)
    _out(order_lines(args.command, result, time.time_ns(), _style()))
    if result.get("daemon") and not result.get("journaled"):
        _complain("done in the kernel, but not on disk yet: see the journal in `status`")
    return DONE


def _reload(args: argparse.Namespace) -> int:
    from sentinel.cli_reload import ask_reload, reload_lines

    document = ask_reload(args.config)
    if args.json:
        _out_json(document)
    else:
        _out(reload_lines(_decoded(document), _style()))
    return DONE


def _config_check(args: argparse.Namespace) -> int:
    from sentinel.cli_config import summary, summary_lines
    from sentinel.config import parse_config

    if args.file is not None:
        args.config = args.file
    text, file = _config_text(args)
    try:
        config = parse_config(text or "", file)
    except ConfigError as error:
        if args.json:
            bad = {"ok": False, "file": error.file, "key": error.key, "problem": error.problem}
            _out_json(json.dumps(bad).encode())
        _complain(str(error))
        return REFUSED
    if args.json:
        _out_json(json.dumps({"ok": True, "file": file, **summary(config)}).encode())
    else:
        there = "" if text is not None else " does not exist: the defaults hold"
        _out([f"ok: {file}{there}", *summary_lines(config)])
    return DONE


def _doctor(args: argparse.Namespace) -> int:
    from sentinel.doctor import examine, finding_lines, findings_json

    text, file = _config_text(args)
    findings = examine(text or "", file)
    if args.json:
        _out_json(findings_json(findings))
    else:
        _out(finding_lines(findings, _style()))
    return REFUSED if any(finding.level == "fail" for finding in findings) else DONE


def _disarm(args: argparse.Namespace) -> int:
    from pathlib import Path

    from sentinel.loader.disarm import disarm

    root = _paths(args, thorough=not args.json).bpffs_dir
    devices = disarm(Path(root))
    if args.json:
        _out_json(json.dumps({"pins": root, "devices": devices}).encode())
    else:
        _out([f"the guard of {devices} devices is out of the kernel; its pins in {root} are gone"])
    return DONE


def _asked(args: argparse.Namespace, op: str, **members: object) -> Any:
    """The daemon's result, decoded; with --json it is printed as it came instead."""
    with _connect(args, _paths(args, thorough=not args.json)) as client:
        document = client.ask(op, **members)
    if args.json:
        _out_json(document)
        return None
    return _decoded(document)


def _decoded(document: bytes) -> Any:
    try:
        return json.loads(document)
    except ValueError as error:
        raise ControlError(f"the daemon's answer is no JSON: {error}") from None


def _connect(args: argparse.Namespace, paths: Paths) -> Client:
    from sentinel.cli_client import Client

    try:
        return Client(paths.control_socket)
    except NoDaemonError:
        if args.json:
            # A daemon that refuses its configuration is a likely cause: say so.
            _paths(args, thorough=True)
        raise


def _paths(args: argparse.Namespace, thorough: bool) -> Paths:
    from sentinel.cli_paths import Paths, ordinary_paths

    text, file = _config_text(args)
    if text is None:
        return Paths()
    paths = None if thorough else ordinary_paths(text)
    if paths is None:
        from sentinel.cli_config import checked_paths

        paths = checked_paths(text, file)
    if paths.complaint is not None:
        _complain(str(paths.complaint))
    return paths


def _config_text(args: argparse.Namespace) -> tuple[str | None, str]:
    """The configuration's text and name; None for the text where the defaults hold."""
    from sentinel.cli_paths import DEFAULT_FILE, read_config_text

    file = DEFAULT_FILE if args.config is None else str(args.config)
    text = read_config_text(file)
    if text is None and args.config is not None:
        raise ConfigError(file, "", "does not exist; leave --config out to run with the defaults")
    return text, file


def _style() -> Style:
    from sentinel.cli_text import style_for

    return style_for(sys.stdout.isatty())


def _terminal_columns() -> int | None:
    """How wide the terminal is; None where stdout is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None


def _out(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _out_json(document: bytes) -> None:
    sys.stdout.buffer.write(harmless_json(document) + b"\n")


def _complain(message: str) -> None:
    sys.stderr.write(f"tapsentinel: {harmless(message)}\n")


def _be_printable() -> None:
    """Names that the terminal's encoding lacks are escaped, not fatal."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


_RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "daemon": _daemon,
    "mqtt": _mqtt,
    "status": _status,
    "ports": _ports,
    "show": _show,
    "dhcp": _dhcp,
    "audit": _audit,
    "incidents": _incidents,
    "watch": _watch,
    "quarantine": _order,
    "release": _order,
    "reload": _reload,
    "config": _config_check,
    "doctor": _doctor,
    "disarm": _disarm,
}

if __name__ == "__main__":
    sys.exit(main())
