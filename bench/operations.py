# SPDX-License-Identifier: Apache-2.0
"""Puts figures between their marks in docs/operations.md, with the machine and the command."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import machine

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


def write_measured(script: str, arguments: str, lines: Sequence[str]) -> None:
    """Replace what the document says of a script's figures, and print it.

    Raises ValueError if it has no place for them.
    """
    begin, end = f"<!-- bench.{script} -->", f"<!-- end of bench.{script} -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    when = time.strftime("%Y-%m-%d")
    told = "\n".join(
        [f"`python -m bench.{script} {arguments}` on {when}: {machine()}.", "", *lines]
    )
    place = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"{DOCUMENT} has no {begin}")
    new = place.sub(lambda _: f"{begin}\n{told}\n{end}", text)
    DOCUMENT.write_text(new, encoding="utf-8")
    print(told)
