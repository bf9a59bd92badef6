# SPDX-License-Identifier: Apache-2.0
"""What the documents name exists, what exists is named, and every file is as files are here."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
SOURCES = {".py", ".c", ".h", ".sh"}
MOST_LINES = 400
# Longer ones that are known; a file that has become shorter leaves the list.
LONGER = {
    "sentinel/abi.py",  # generated
    "sentinel/loader/shim.c",
    "tests/kernel/test_control_socket.py",
    "tests/unit/test_doctor.py",
    "tests/unit/test_inventory.py",
    "tests/unit/test_journal_damage.py",
}
BOTH_SIDES = {"bench", "tests"}  # hold BPF programs that need the GPL's helpers
# In two pieces, so that this file does not name them either.
REGISTRIES = tuple(
    "".join(pieces)
    for pieces in (
        ("pypi", ".org"), ("python", "hosted"), ("deb", ".debian.org"), ("ftp", ".debian"),
        ("snapshot", ".debian.org"), ("github", "usercontent"), ("docker", ".io"), ("ghcr", ".io"),
        ("crates", ".io"), ("npm", "js.org"), ("arti", "factory"),
    )
)  # fmt: skip
IN_CODE = re.compile(r"`([^`\n]+)`")


@cache
def files() -> tuple[Path, ...]:
    """Everything that is, or could be, committed."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return ()
    return tuple(ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file())


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sources() -> list[Path]:
    return [path for path in files() if path.suffix in SOURCES and path.stat().st_size]


needs_git = pytest.mark.skipif(not files(), reason="not a git checkout")


def named_paths(document: Path) -> set[str]:
    """Words in code that are paths below the root; what is built is there only afterwards."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build"}
    words = IN_CODE.findall(document.read_text(encoding="utf-8"))
    return {
        word for word in words
        if "/" in word and word.split("/")[0] in tops and re.fullmatch(r"[\w./*-]+", word)
    }  # fmt: skip


@pytest.mark.parametrize("document", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_what_a_document_names_exists(document: Path) -> None:
    missing = [word for word in named_paths(document) if not list(ROOT.glob(word.rstrip("/")))]
    assert not missing


def test_every_source_of_the_product_is_in_the_room_map() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    named = {
        relative(found)
        for word in named_paths(ARCHITECTURE)
        for place in ROOT.glob(word.rstrip("/"))
        for found in ([place, *place.rglob("*")] if place.is_dir() else [place])
    }
    (inside,) = re.findall(r"^## Inside `sentinel/loader/`.*?(?=^## |\Z)", text, re.M | re.S)
    loader = {f"sentinel/loader/{word}" for word in IN_CODE.findall(inside)}
    every = {
        relative(path)
        for pattern in ("sentinel/**/*.py", "sentinel/**/*.c", "bpf/*.c", "bpf/*.h")
        for path in ROOT.glob(pattern)
        if path.name not in ("__init__.py", "_libbpf.c")
    }
    in_loader = {name for name in every if name.startswith("sentinel/loader/")}
    unnamed = (every - in_loader - named) | (in_loader - loader)
    assert not unnamed


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".ci/*")):
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`|\$ |; |# )make ([a-z0-9-]+)", text, re.MULTILINE))
        assert not named - targets, f"{document.name} names {named - targets}"


@needs_git
def test_every_source_says_its_licence() -> None:
    wrong = []
    for path in sources():
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
        line = rest.partition("\n")[0] if first.startswith("#!") else first
        found = re.search(r"SPDX-License-Identifier: (\S+)", line)
        top = path.relative_to(ROOT).parts[0]
        right = {"GPL-2.0-only"} if top == "bpf" else {"Apache-2.0"}
        if path.name.endswith(".bpf.c") and top in BOTH_SIDES:
            right = {"GPL-2.0-only", "Apache-2.0"}
        if found is None or found[1] not in right:
            wrong.append(relative(path))
    assert not wrong


def test_the_licences_are_here() -> None:
    names = {path.name.removesuffix(".txt") for path in (ROOT / "LICENSES").iterdir()}
    assert {"Apache-2.0", "GPL-2.0-only"} <= names


@needs_git
def test_no_file_is_long() -> None:
    lengths = {relative(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    long = {name for name, lines in lengths.items() if lines > MOST_LINES}
    assert long - LONGER == set()
    assert LONGER - long == set(), "no longer long: take it off the list"


@needs_git
def test_nothing_belongs_to_one_machine() -> None:
    """No registry's host name, and no path of the checkout it was written in."""
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        hosts = [host for host in REGISTRIES if host in text]
        assert not hosts, f"{relative(path)} names {hosts}"
        assert str(ROOT) not in text, f"{relative(path)} names this checkout"
