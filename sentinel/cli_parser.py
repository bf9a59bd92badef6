# SPDX-License-Identifier: Apache-2.0
"""The words of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sentinel import __version__
from sentinel.durations import MINUTE_NS, SECOND_NS, parse_duration

EXIT_CODES = "exit codes: 0 done, 1 refused or not found, 2 usage, 3 no daemon or no answer"

_DEFAULT_WAIT_NS = 15 * SECOND_NS
_SHORTEST_WAIT_NS, _LONGEST_WAIT_NS = SECOND_NS, 5 * MINUTE_NS
_MAX_INCIDENTS = 1000  # protocol.MAX_INCIDENTS, without importing what validates requests


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command and its members; ends the process with code 2 for a wrong usage."""
    parser = grammar()
    args = parser.parse_args(argv)
    wrong = _wrong_afar(args)
    if wrong:
        parser.error(wrong)
    return args


def grammar() -> argparse.ArgumentParser:
    """All of it: for the man page and the shells' completions too."""
    parser = _Parser(
        prog="tapsentinel",
        description="Sees and stops, in the kernel, what a guest must not send.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"tapsentinel {__version__}")
    _takes_config(parser, None)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog="tapsentinel"
    )

    _command(commands, "daemon", "run the daemon in the foreground", json=False)
    _command(
        commands, "mqtt", "publish the events to the MQTT broker, in the foreground", json=False
    )
    status = _command(commands, "status", "how the guard is doing, what is wrong first")
    _takes_afar(status)
    _command(commands, "ports", "every port and uplink with its counters")

    show = _command(commands, "show", "everything about one port")
    show.add_argument("port", metavar="PORT")
    _takes_verbose(show)

    dhcp = _command(commands, "dhcp", "leases as seen on the wire, and what happened to them")
    dhcp.add_argument(
        "port", metavar="PORT", nargs="?", help="draw the last exchange of each client of it"
    )

    _command(commands, "audit", "what is wrong with the host's own network, and the repair")

    incidents = _command(commands, "incidents", "what happened, the newest first")
    incidents.add_argument("--since", type=_duration, metavar="1h", help="not older than this")
    incidents.add_argument("--port", metavar="PORT", help="of one port")
    incidents.add_argument("--limit", type=_limit, default=50, metavar="N", help="at most N (50)")
    incidents.add_argument("--open", action="store_true", help="only those still open")
    _takes_verbose(incidents)

    watch = _command(commands, "watch", "events as they happen")
    watch.add_argument(
        "--after", type=_natural, metavar="SEQ", help="go on after the event of this number"
    )

    watch.add_argument(
        "--fleet", action="store_true", help="of all hosts, as the MQTT broker tells them"
    )

    quarantine = _command(commands, "quarantine", "cut a port off, in the kernel")
    quarantine.add_argument("port", metavar="PORT")
    quarantine.add_argument(
        "--for", dest="hold_ns", type=_duration, metavar="1h", help="release it after this"
    )
    _takes_reason(quarantine)
    _takes_afar(quarantine)

    release = _command(commands, "release", "end a port's quarantine")
    release.add_argument("port", metavar="PORT")
    _takes_reason(release)
    _takes_afar(release)

    _command(commands, "reload", "have the daemon read its configuration anew, without a gap")

    config = commands.add_parser("config", help="the configuration", epilog=EXIT_CODES)
    jobs = config.add_subparsers(
        dest="job", metavar="check", required=True, prog="tapsentinel config"
    )
    check = _command(jobs, "check", "is it right, and what does it amount to?")
    check.add_argument("file", metavar="FILE", nargs="?", help="instead of the usual one")

    _command(commands, "doctor", "what on this host would keep the guard from working")
    _command(commands, "disarm", "take the guard out of the kernel; stop the daemon first")
    return parser


class _Parser(argparse.ArgumentParser):
    """With a help formatter that does not have to import shutil to know the width."""

    def __init__(self, **given: object) -> None:
        given.setdefault("formatter_class", lambda prog: argparse.HelpFormatter(prog, width=96))
        super().__init__(**given)  # type: ignore[arg-type]


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    help_text: str,
    json: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=EXIT_CODES,
    )
    _takes_config(parser, argparse.SUPPRESS)
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def _takes_config(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help="the configuration (/etc/tapsentinel/tapsentinel.toml)",
    )


def _takes_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="with the frames in hex and all the evidence"
    )


def _takes_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the journal")


def _takes_afar(parser: argparse.ArgumentParser) -> None:
    afar = parser.add_argument_group("another host, through the MQTT broker")
    afar.add_argument("--on", metavar="HOST", help="that host, as its topics call it")
    afar.add_argument("--key", metavar="FILE", help="private key to sign with (Ed25519, PEM)")
    afar.add_argument("--as", dest="principal", metavar="NAME", help="whose key it is there")
    afar.add_argument(
        "--wait", type=_duration, metavar="15s", help="how long for an answer (15s; at most 5m)"
    )


def _wrong_afar(args: argparse.Namespace) -> str:
    """What is wrong with the words of an order to another host; empty: nothing."""
    given = {name: getattr(args, name, None) for name in ("on", "key", "principal", "wait")}
    if given["on"] is None:
        return "--key, --as and --wait are for --on HOST" if any(given.values()) else ""
    if not (given["on"] and given["key"] and given["principal"]):
        return "--on HOST needs --key FILE and --as NAME: orders from afar are signed"
    if args.wait is None:
        args.wait = _DEFAULT_WAIT_NS
    if not _SHORTEST_WAIT_NS <= args.wait <= _LONGEST_WAIT_NS:
        return "--wait is from 1s to 5m"
    return ""


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _limit(text: str) -> int:
    limit = _natural(text)
    if not 1 <= limit <= _MAX_INCIDENTS:
        raise argparse.ArgumentTypeError(f"from 1 to {_MAX_INCIDENTS}")
    return limit


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)
