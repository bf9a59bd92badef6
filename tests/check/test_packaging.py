# SPDX-License-Identifier: Apache-2.0
"""What goes into the packages agrees with what the project says of itself."""

from __future__ import annotations

import argparse
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.cli_parser import grammar
from sentinel.config import parse_config
from tools.package.command_docs import COMPLETIONS, command_page, completion, configuration_page
from tools.package.suites import SUITES
from tools.package.wheels import BUILD_BACKEND, DEVELOPMENT, RUNTIME, stanzas

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SPEC = (PACKAGING / "tapsentinel.spec").read_text("utf-8")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def pinned(lock: Path) -> dict[str, str]:
    return {plain(name): text.split("==")[1].split()[0] for name, text in stanzas(lock).items()}


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_what_the_project_depends_on_is_locked_as_it_wants(requirement: str) -> None:
    name, bounds = re.fullmatch(r"([\w.-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
    locked = version(pinned(RUNTIME)[plain(name)])
    for sign, bound in re.findall(r"(>=|<)([\d.]+)", bounds):
        assert locked >= version(bound) if sign == ">=" else locked < version(bound)


def test_the_package_brings_nothing_that_was_not_asked_for() -> None:
    """Each is asked for by the project, or by one that is."""
    asked = {plain(re.split(r"[<>=]", word)[0]) for word in PROJECT["dependencies"]}
    by_others = {
        name
        for name, text in stanzas(RUNTIME).items()
        if (said := re.search(r"# via (\S+)", text)) is None or said[1] != "tapsentinel"
    }
    assert set(pinned(RUNTIME)) - asked <= {plain(name) for name in by_others}
    assert asked <= set(pinned(RUNTIME))


def test_both_locks_are_of_the_same_versions() -> None:
    development = pinned(DEVELOPMENT)
    assert {name: development[name] for name in pinned(RUNTIME)} == pinned(RUNTIME)
    for name in BUILD_BACKEND:
        assert "--hash=sha256:" in stanzas(DEVELOPMENT)[name]


def test_every_pinned_version_has_its_hashes() -> None:
    for name, text in stanzas(RUNTIME).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", text), name


def test_the_releases_have_a_python_that_the_project_takes() -> None:
    least = version(PROJECT["requires-python"].removeprefix(">="))
    named = {word.rpartition(" :: ")[2] for word in PROJECT["classifiers"] if "Python ::" in word}
    for suite in SUITES.values():
        assert suite.python >= least
        assert ".".join(map(str, suite.python)) in named
    (spec_python,) = re.findall(r"^Requires: +python([\d.]+)$", SPEC, re.M)
    assert version(spec_python) >= least


def test_the_distributions_own_libraries_are_named() -> None:
    control = (PACKAGING / "debian" / "control.in").read_text("utf-8")
    assert "python3 (>= @PYTHON@~), python3 (<< @NEXT_PYTHON@~)" in control
    assert "${shlibs:Depends}" in control  # libbpf1, by what the extension is linked with
    assert "libbpf-dev" in control
    assert re.search(r"^Requires: +libbpf\b", SPEC, re.M)


def test_as_installed_every_check_counts() -> None:
    text = (PACKAGING / "tapsentinel.toml").read_text("utf-8")
    assert parse_config(text, "tapsentinel.toml") == parse_config("", "none")
    checks = tomllib.loads(text)["checks"]
    assert {check["action"] for check in checks.values()} == {"count"}
    assert checks["bpdu"]["host"] == "count"


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for job in action.choices.values():
                yield from parsers(job)


def words() -> set[str]:
    """Every command and long option that there is."""
    found = set()
    for parser in parsers(grammar()):
        found |= set(parser.prog.split()[1:])
        found |= {
            option for action in parser._actions for option in action.option_strings
            if option.startswith("--") and option != "--help"
        }  # fmt: skip
    return found


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_completions_know_every_word(shell: str) -> None:
    text = completion(shell)
    assert [word for word in words() if word.removeprefix("--" if shell == "fish" else "")
            not in text] == []  # fmt: skip


def test_a_completion_is_one_that_bash_reads(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(completion("bash"), encoding="utf-8")
    subprocess.run(["bash", "-n", script], check=True)


def test_the_man_page_knows_every_word() -> None:
    page = command_page().replace("\\-", "-")
    assert [word for word in words() if not re.search(rf"{word}\b", page)] == []
    for parser in parsers(grammar()):
        jobs = [
            action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
        ]
        if not jobs:
            assert f"{parser.prog}\\fR" in page or parser.prog.endswith("check")


def test_the_configurations_page_has_every_key() -> None:
    page = configuration_page().replace("\\-", "-")
    keys = re.findall(r"^(?:# )?([a-z_]+) = |^\[([a-z_.]+)\]", (
        PACKAGING / "tapsentinel.toml"
    ).read_text("utf-8"), re.M)  # fmt: skip
    assert len(keys) > 40
    assert [key or table for key, table in keys if (key or table) not in page] == []


def test_what_a_purge_removes_is_what_the_package_made() -> None:
    script = (PACKAGING / "debian" / "tapsentinel.postrm").read_text("utf-8")
    users = (PACKAGING / "tapsentinel.sysusers").read_text("utf-8")
    folders = (PACKAGING / "tapsentinel.tmpfiles").read_text("utf-8")
    made = set(re.findall(r"^[gu] (\S+)", users, re.M) + re.findall(r"^d (\S+)", folders, re.M))
    assert [name for name in made if not re.search(rf"{name}(?=[ ;\n])", script)] == []
