# SPDX-License-Identifier: Apache-2.0
"""The words of the command line, and what is refused as usage."""

from __future__ import annotations

import pytest

from sentinel import __version__, cli_parser, protocol
from sentinel.cli import main

COMMANDS = [
    "daemon",
    "status",
    "ports",
    "show",
    "incidents",
    "watch",
    "quarantine",
    "release",
    "dhcp",
]


@pytest.mark.parametrize(
    ("argv", "members"),
    [
        ("status", {"command": "status", "config": None, "json": False}),
        ("--config /c status", {"config": "/c"}),
        ("status --config /c", {"config": "/c"}),
        ("--config /b status --config /c --json", {"config": "/c", "json": True}),
        ("daemon --config /c", {"command": "daemon", "config": "/c"}),
        ("show tap1 -v", {"port": "tap1", "verbose": True}),
        ("incidents", {"since": None, "port": None, "limit": 50, "open": False}),
        (
            "incidents --since 1h --port tap1 --limit 3 --open -v",
            {"since": 3600 * 10**9, "port": "tap1", "limit": 3, "open": True, "verbose": True},
        ),
        ("watch", {"after": None}),
        ("watch --after 0 --json", {"after": 0, "json": True}),
        ("quarantine tap1", {"port": "tap1", "hold_ns": None, "reason": ""}),
        (
            "quarantine tap1 --for 90s --reason x --json",
            {"hold_ns": 90 * 10**9, "reason": "x", "json": True},
        ),
        ("release tap1 --reason x", {"command": "release", "port": "tap1", "reason": "x"}),
        ("config check", {"command": "config", "job": "check", "file": None}),
        ("config check /f --json", {"file": "/f", "json": True}),
        ("dhcp", {"command": "dhcp", "port": None, "json": False}),
        ("dhcp tap1 --json", {"port": "tap1", "json": True}),
        ("doctor --json", {"command": "doctor", "json": True}),
    ],
)
def test_what_is_understood(argv: str, members: dict[str, object]) -> None:
    args = vars(cli_parser.parse(argv.split()))
    assert {name: args[name] for name in members} == members


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "reboot",
        "show",
        "show tap1 tap2",
        "status tap1",
        "daemon --json",
        "config",
        "config chekc",
        "quarantine",
        "quarantine tap1 --for",
        "quarantine tap1 --for 5",
        "quarantine tap1 --for -5s",
        "quarantine tap1 --for 0s",
        "release tap1 --for 5s",
        "incidents --since yesterday",
        "incidents --limit 0",
        "incidents --limit 1001",
        "incidents --limit x",
        "watch --after -1",
        "watch --after 99999999999999999999",
        "dhcp tap1 tap2",
        "dhcp --port tap1",
        "audit tap1",
    ],
)
def test_wrong_usage_is_code_2_on_stderr(argv: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv.split())
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: tapsentinel" in err


def test_a_bad_duration_says_what_would_be_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["quarantine", "tap1", "--for", "5"])
    assert '"90s"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--on", "hv-1"], "--on HOST needs --key FILE and --as NAME"),
        (["release", "tap1", "--on", "hv-1", "--key", "k"], "--on HOST needs"),
        (["release", "tap1", "--key", "k"], "are for --on HOST"),
        (["status", "--as", "alice"], "are for --on HOST"),
        (["status", "--on", "h", "--key", "k", "--as", "a", "--wait", "1h"], "from 1s to 5m"),
    ],
)
def test_an_order_from_afar_is_signed(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_answer_is_waited_for_as_long_as_is_said() -> None:
    words = ["status", "--on", "hv-1", "--key", "k", "--as", "alice"]
    assert cli_parser.parse(words).wait == 15_000_000_000
    assert cli_parser.parse([*words, "--wait", "1m"]).wait == 60_000_000_000


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tapsentinel {__version__}\n"


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(command in said for command in [*COMMANDS, "config", "doctor"])
    assert "0 done, 1 refused or not found, 2 usage, 3 no daemon or no answer" in said


def test_the_limit_is_the_protocols() -> None:
    assert cli_parser._MAX_INCIDENTS == protocol.MAX_INCIDENTS
