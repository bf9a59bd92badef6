# SPDX-License-Identifier: Apache-2.0
"""Imports point from shell to core, and only daemon.py knows every shell module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sentinel"
GENERATED = {"sentinel.loader._libbpf"}

# What touches the world: no module of the core may know any of it.
WORLD = {
    *("asyncio", "socket", "select", "selectors", "sqlite3", "cffi", "ctypes", "pyroute2"),
    *("subprocess", "threading", "multiprocessing", "concurrent", "signal", "fcntl", "mmap"),
    *("os", "pathlib", "shutil", "tempfile", "time", "logging", "random", "secrets"),
}
CLOCKS = {"now", "utcnow", "today", "time_ns", "monotonic", "monotonic_ns", "perf_counter"}
FILES = {"open", "print", "input"}
ALWAYS_CORE = {
    *("abi", "decode", "errors", "config", "durations", "inventory", "uplinks", "link", "vm"),
    *("detect", "dhcp", "policy", "path", "audit", "tag", "event", "engine", "protocol"),
    *("envelope", "terminal"),
}

# Which shell modules each part of the shell may know beside its own; daemon.py all.
MAY_KNOW: dict[str, set[str]] = {
    "loader": set(),
    "netlink": {"postponed"},
    "identity": set(),
    "notify": set(),
    "heap": set(),
    "postponed": set(),
    "without": {"postponed"},
    "journal": set(),
    "journald": set(),
    "control": set(),
    "config": set(),
    "mqtt": {"config", "journald", "notify"},
    "reload": {"config", "control", "keyfile", "notify"},
    "queues": {"netlink"},
    "scribe": {"journal"},
    "leases": {"loader", "queues", "scribe"},
    "attachments": {"loader"},
    "accounts": {"attachments", "loader", "scribe"},
    "audits": {"identity", "loader"},
    "answers": {"control", "keyfile", "leases", "netlink"},
    "keyfile": set(),
    "kernel": {"loader"},
    "newcomers": {"accounts", "attachments", "loader"},
    "doctor": {"loader", "cli", "control"},
    "cli": {"loader", "doctor", "daemon", "mqtt", "without"},
}


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def core() -> frozenset[str]:
    """The modules that docs/architecture.md lists as core."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## Core.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    patterns = [word.removesuffix("/") for word in re.findall(r"`(sentinel/[\w/*.]+)`", table)]
    names = {
        name
        for name, path in modules().items()
        for pattern in patterns
        if fnmatch(str(path.relative_to(ROOT)), pattern)
        or str(path.relative_to(ROOT)).startswith(f"{pattern}/")
    }
    return frozenset(names | {"sentinel"})


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from runtime_nodes(node)


@cache
def imports(name: str) -> frozenset[str]:
    """Dotted names that a module imports when it runs; `from package import module` resolved."""
    found = set()
    for node in runtime_nodes(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            resolved = inner & (modules().keys() | GENERATED)
            found |= resolved or {node.module}
    return frozenset(found)


def part(name: str) -> str:
    """`sentinel.journal_file` and `sentinel.loader.maps` are `journal` and `loader`."""
    return name.split(".")[1].split("_", maxsplit=1)[0]


def ours(name: str) -> frozenset[str]:
    return frozenset(each for each in imports(name) if each.split(".")[0] == "sentinel")


SHELL = sorted(modules().keys() - core())


def test_the_core_holds_what_it_must() -> None:
    missing = {f"sentinel.{name}" for name in ALWAYS_CORE} - {
        *core(), *(name.rsplit(".", 1)[0] for name in core())
    }  # fmt: skip
    assert not missing


@pytest.mark.parametrize("name", sorted(core()))
def test_core_knows_no_world(name: str) -> None:
    world = {each.split(".")[0] for each in imports(name)} & WORLD
    assert not world, f"{name} is core and imports {', '.join(sorted(world))}"


@pytest.mark.parametrize("name", sorted(core()))
def test_core_knows_no_shell(name: str) -> None:
    shell = ours(name) - core()
    assert not shell, f"{name} is core and imports {', '.join(sorted(shell))}"


@pytest.mark.parametrize("name", sorted(core()))
def test_core_reads_no_clock_and_no_file(name: str) -> None:
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            assert function.attr not in CLOCKS, f"{name}:{node.lineno} reads a clock"
        elif isinstance(function, ast.Name):
            assert function.id not in FILES, f"{name}:{node.lineno} calls {function.id}()"


@pytest.mark.parametrize("name", [each for each in SHELL if each != "sentinel.daemon"])
def test_shell_knows_little_of_the_shell(name: str) -> None:
    mine = part(name)
    assert mine in MAY_KNOW, f"{name} is in neither table: is it core? say so in architecture.md"
    known = {part(each) for each in ours(name) - core() if each.count(".")}
    strangers = known - MAY_KNOW[mine] - {mine}
    assert not strangers, f"{name} imports {', '.join(sorted(strangers))}"


def test_the_rules_are_about_what_there_is() -> None:
    assert set(MAY_KNOW) == {part(name) for name in SHELL} - {"daemon"}


def test_no_module_but_daemon_joins_the_ends() -> None:
    both = {"loader", "netlink", "journal", "control"}
    for name in modules():
        if name != "sentinel.daemon":
            assert len({part(each) for each in ours(name) if each.count(".")} & both) < 3, name


def loaded_by(modules_to_import: list[str]) -> set[str]:
    code = f"import sys, {', '.join(modules_to_import)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_command_starts_light() -> None:
    """What costs time is imported by the subcommand that needs it."""
    heavy = {"asyncio", "pyroute2", "cffi", "msgspec", "sqlite3", "sentinel.loader", "aiomqtt"}
    assert not heavy & loaded_by(["sentinel.cli"])


def test_no_subcommand_but_the_daemon_s_loads_a_loop_or_netlink() -> None:
    commands = [name for name in modules() if part_or_none(name) == "cli"]
    assert not {"asyncio", "pyroute2", "sqlite3", "aiomqtt"} & loaded_by(commands)


def part_or_none(name: str) -> str | None:
    return part(name) if "." in name else None
