# SPDX-License-Identifier: Apache-2.0
"""The command starts quickly because of what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "asyncio", "pyroute2", "paho", "aiomqtt", "msgspec", "orjson", "cffi", "sqlite3",
    "subprocess", "xml", "ctypes", "email", "sentinel.loader", "sentinel.daemon",
    "sentinel.config", "sentinel.control", "sentinel.journal",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stderr.split("\n")[-2].split())


def test_importing_the_command_imports_nothing_heavy() -> None:
    assert modules_after("import sentinel.cli") & HEAVY == set()


@pytest.mark.parametrize(
    "argv", ["ports --json", "status --json", "watch --json", "dhcp --json", "dhcp tap1 --json"]
)
def test_asking_for_json_imports_nothing_heavy(argv: str) -> None:
    code = (
        "from sentinel import cli_paths\n"
        "cli_paths.DEFAULT_FILE = '/nonexistent/file'\n"
        "cli_paths.Paths.__init__.__defaults__ = ('/nonexistent', '/nonexistent', None)\n"
        "from sentinel.cli import main\n"
        f"assert main({argv.split()!r}) == 3\n"
    )
    assert modules_after(code) & HEAVY == set()


def test_nor_does_drawing_a_ladder() -> None:
    assert modules_after("import sentinel.cli_dhcp") & HEAVY == set()
