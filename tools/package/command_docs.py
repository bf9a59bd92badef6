# SPDX-License-Identifier: Apache-2.0
"""Man pages and the shells' completions, from the parser and the default configuration.

Usage: python -m tools.package.command_docs FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from sentinel import __version__
from sentinel.cli_parser import grammar
from tools.package.suites import CHECKOUT

DEFAULTS = CHECKOUT / "packaging" / "tapsentinel.toml"
COMPLETIONS = {
    "bash": "tapsentinel.bash-completion",
    "zsh": "_tapsentinel",
    "fish": "tapsentinel.fish",
}
FILES = {"FILE"}
"""Metavars that stand for a file's name."""

_SEE_ALSO = """.SH FILES
/etc/tapsentinel/tapsentinel.toml
.SH SEE ALSO
.BR tapsentinel.toml (5),
.BR journalctl (1)
"""


def command_page() -> str:
    """tapsentinel(1)."""
    parser = grammar()
    for job in _parsers(parser):
        job.epilog = None  # the exit codes stand once, at the end
    written = Manpage(parser, format="single-commands-section")
    written.source = f"tapsentinel {__version__}"
    written.manual = "User Commands"
    written.section = "1"
    written.description = "sees and stops, in the kernel, what a guest must not send"
    page = str(written)
    page = page.replace(".SH\nPOSITIONAL ARGUMENTS", ".SH COMMANDS")
    return f"{page.rstrip()}\n.SH EXIT STATUS\n{_roff(_exit_codes())}\n{_SEE_ALSO}"


def configuration_page() -> str:
    """tapsentinel.toml(5): the default configuration, which explains itself."""
    lines = DEFAULTS.read_text(encoding="utf-8").splitlines()
    explained = lines[lines.index("#") + 1 :]
    intro = []
    while explained[0].startswith("#"):
        intro.append(explained.pop(0).removeprefix("#").strip())
    text = "\n".join(_roff(line) or ".PP" for line in intro)
    example = "\n".join(_roff(line) for line in explained).strip("\n")
    return (
        f'.TH TAPSENTINEL.TOML "5" "" "tapsentinel {__version__}" "File Formats"\n'
        ".SH NAME\ntapsentinel.toml \\- configuration of tapsentinel\n"
        f".SH DESCRIPTION\n.nf\n{text}\n.fi\n"
        f".SH KEYS AND DEFAULTS\n.nf\n{example}\n.fi\n"
        ".SH SEE ALSO\n.BR tapsentinel (1)\n"
    )


def completion(shell: str) -> str:
    """What a shell reads to complete the command; `shell` as in COMPLETIONS."""
    parser = grammar()
    for job in _parsers(parser):
        for action in job._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell)).rstrip() + "\n"


def write_all(folder: Path) -> None:
    """Every page and completion, by the names that a package installs them from."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tapsentinel.1").write_text(command_page(), encoding="utf-8")
    (folder / "tapsentinel.toml.5").write_text(configuration_page(), encoding="utf-8")
    for shell, name in COMPLETIONS.items():
        (folder / name).write_text(completion(shell), encoding="utf-8")


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for job in action.choices.values():
                yield from _parsers(job)


def _exit_codes() -> str:
    codes = grammar().epilog or ""
    return codes.partition(": ")[2] + "."


def _roff(line: str) -> str:
    escaped = line.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
