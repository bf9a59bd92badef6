# SPDX-License-Identifier: Apache-2.0
"""The command `tapsentinel`: its words, and who carries them out.

Exit codes: 0 done, 1 refused or not found, 2 usage, 3 no daemon or no answer. Text goes to
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
from collections.abc import Callable, Sequence

from sentinel.cli_output import be_printable, complain, out, out_json, terminal_columns
from sentinel.cli_parser import parse
from sentinel.errors import (
    ConfigError,
    ControlError,
    NoAnswerError,
    NoDaemonError,
    NotArmedError,
    ProtocolError,
    TapsentinelError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sentinel.cli_client import Client
    from sentinel.cli_paths import Paths
    from sentinel.cli_text import Style
    from sentinel.config import Config

DONE, REFUSED, USAGE, NO_DAEMON = 0, 1, 2, 3

_NO_DAEMON_HINT = (
    "see `systemctl status tapsentinel`, or start it with `tapsentinel daemon`; "
    "what is pinned in the kernel goes on guarding meanwhile"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    args = parse(argv)
    be_printable()
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
        complain(str(error))
        if isinstance(error, NoDaemonError):
            complain(_NO_DAEMON_HINT)
        return _code_for(error)
    return code


def _code_for(error: TapsentinelError) -> int:
    if isinstance(error, NoDaemonError | NotArmedError | NoAnswerError):
        return NO_DAEMON
    if isinstance(error, ConfigError | ProtocolError):
        return USAGE
    return REFUSED


def _daemon(args: argparse.Namespace) -> int:
    text, file = _config_text(args)
    from sentinel.without_openssl import leave_out_openssl

    leave_out_openssl()
    from sentinel.daemon import main as daemon_main

    return daemon_main(file, text)


def _mqtt(args: argparse.Namespace) -> int:
    from sentinel.mqtt.command import run

    return run(*_whole_config(args))


def _status(args: argparse.Namespace) -> int:
    result = _asked(args, "status")
    if not args.json:
        from sentinel.cli_status import status_lines

        out(status_lines(result, time.time_ns(), _style()))
    return DONE


def _ports(args: argparse.Namespace) -> int:
    result = _asked(args, "ports")
    if not args.json:
        from sentinel.cli_ports import ports_lines

        out(ports_lines(result, time.time_ns(), _style()))
    return DONE


def _show(args: argparse.Namespace) -> int:
    result = _asked(args, "show", port=args.port)
    if not args.json:
        from sentinel.cli_ladder import paper_for
        from sentinel.cli_ports import show_lines

        paper = paper_for(terminal_columns(), sys.stdout.encoding)
        out(show_lines(result, time.time_ns(), _style(), args.verbose, paper=paper))
    return DONE


def _dhcp(args: argparse.Namespace) -> int:
    result = _asked(args, "dhcp", port=args.port)
    if args.json:
        return DONE
    from sentinel.cli_dhcp import exchanges_lines, leases_lines

    if args.port is None:
        out(leases_lines(result, _style()))
    else:
        from sentinel.cli_ladder import paper_for

        paper = paper_for(terminal_columns(), sys.stdout.encoding)
        out(exchanges_lines(result, time.time_ns(), _style(), paper))
    return DONE


def _audit(args: argparse.Namespace) -> int:
    result = _asked(args, "audit")
    if not args.json:
        from sentinel.cli_audit import audit_lines

        now_ns, encoding = time.time_ns(), sys.stdout.encoding
        out(audit_lines(result, now_ns, _style(), terminal_columns(), encoding))
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

        out(incidents_lines(result, _style(), args.verbose))
    return DONE


def _watch_fleet(args: argparse.Namespace) -> int:
    from sentinel.cli_incidents import event_line
    from sentinel.cli_text import clip
    from sentinel.mqtt.fleet import follow

    style = _style()

    def told(entry: dict[str, Any]) -> None:
        if args.json:
            out_json(json.dumps(entry).encode())
        else:
            out([f"{style.paint('bold', clip(entry.get('host'), 60))} {event_line(entry, style)}"])
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):
        follow(*_whole_config(args), told, complain)
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
                    out_json(event)
                else:
                    out([event_line(_decoded(event), style)])
                sys.stdout.flush()
    except KeyboardInterrupt:
        return DONE
    complain("the daemon has ended the watch: it stops, or nothing was read for too long")
    return NO_DAEMON


def _order(args: argparse.Namespace) -> int:
    hold_ns = getattr(args, "hold_ns", None)
    if args.on is not None:
        return _order_done(args, _from_afar(args, args.port, hold_ns, args.reason))
    paths = _paths(args, thorough=not args.json)
    try:
        with _connect(args, paths) as client:
            document = client.ask(args.command, port=args.port, for_ns=hold_ns, reason=args.reason)
    except NoDaemonError as absent:
        from sentinel.cli_orders import Order, order_directly

        done = order_directly(
            Order(args.command, args.port, hold_ns, args.reason), paths.bpffs_dir, absent
        )
        complain(f"{absent}: the kernel was told directly, and the next daemon journals it")
        document = json.dumps(done).encode()
    return _order_done(args, document)


def _order_done(args: argparse.Namespace, document: bytes) -> int:
    if args.json:
        out_json(document)
        return DONE
    from sentinel.cli_ports import order_lines

    result = _decoded(document)
    out(order_lines(args.command, result, time.time_ns(), _style()))
    if result.get("daemon") and not result.get("journaled"):
        complain("done in the kernel, but not on disk yet: see the journal in `status`")
    return DONE


def _reload(args: argparse.Namespace) -> int:
    from sentinel.cli_reload import ask_reload, reload_lines

    document = ask_reload(args.config)
    if args.json:
        out_json(document)
    else:
        out(reload_lines(_decoded(document), _style()))
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
            out_json(json.dumps(bad).encode())
        complain(str(error))
        return REFUSED
    if args.json:
        out_json(json.dumps({"ok": True, "file": file, **summary(config)}).encode())
    else:
        there = "" if text is not None else " does not exist: the defaults hold"
        out([f"ok: {file}{there}", *summary_lines(config)])
    return DONE


def _doctor(args: argparse.Namespace) -> int:
    from sentinel.doctor import examine, finding_lines, findings_json

    text, file = _config_text(args)
    findings = examine(text or "", file)
    if args.json:
        out_json(findings_json(findings))
    else:
        out(finding_lines(findings, _style()))
    return REFUSED if any(finding.level == "fail" for finding in findings) else DONE


def _disarm(args: argparse.Namespace) -> int:
    from pathlib import Path

    from sentinel.loader.disarm import disarm

    root = _paths(args, thorough=not args.json).bpffs_dir
    devices = disarm(Path(root))
    if args.json:
        out_json(json.dumps({"pins": root, "devices": devices}).encode())
    else:
        out([f"the guard of {devices} devices is out of the kernel; its pins in {root} are gone"])
    return DONE


def _asked(args: argparse.Namespace, op: str, **members: object) -> Any:
    """The daemon's result, decoded; with --json it is printed as it came instead."""
    if getattr(args, "on", None) is not None:
        document = _from_afar(args)
    else:
        with _connect(args, _paths(args, thorough=not args.json)) as client:
            document = client.ask(op, **members)
    if args.json:
        out_json(document)
        return None
    return _decoded(document)


def _from_afar(
    args: argparse.Namespace, port: str = "", hold_ns: int | None = None, reason: str = ""
) -> bytes:
    """The result of another host's daemon, through the broker."""
    from sentinel.mqtt.order_client import Ask, order

    whom = (args.on, args.principal, args.key, args.wait)
    return order(*_whole_config(args), Ask(args.command, *whom, port, hold_ns, reason))


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
        complain(str(paths.complaint))
    return paths


def _whole_config(args: argparse.Namespace) -> tuple[Config, str]:
    """The configuration and the name of its file."""
    from sentinel.config import parse_config

    text, file = _config_text(args)
    return parse_config(text or "", file), file


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
