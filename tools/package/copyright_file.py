# SPDX-License-Identifier: Apache-2.0
"""debian/copyright (DEP-5): our own parts, and each bundled distribution with its texts."""

from __future__ import annotations

import email.message
import email.parser
import sys
from pathlib import Path

COMMON = {
    "Apache-2.0": "Apache License\nVersion 2.0, January 2004",
    "GPL-2": "GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991",
    "MPL-2.0": "Mozilla Public License Version 2.0",
}
"""How the texts begin that Debian keeps in /usr/share/common-licenses."""

_HEAD = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tapsentinel
Comment:
 usr/lib/tapsentinel holds, beside tapsentinel itself, the Python distributions that it
 was tested with, as they are published. Each of them says its licence below, as its own
 metadata has it, with the texts that come with it.

Files: *
Copyright: the tapsentinel maintainers
License: Apache-2.0

Files: usr/lib/tapsentinel/sentinel/loader/objects/*
 usr/lib/tapsentinel/sentinel/loader/sources/*
Copyright: the tapsentinel maintainers
License: GPL-2
"""
_NOT_ADVERTISED = ("licence", "license", "copying", "notice")


def copyright_text(site: Path) -> str:
    """For the distributions installed in a folder. Raises ValueError where one has no licence."""
    stanzas, texts = [_HEAD], []
    for info in sorted(site.glob("*.dist-info")):
        said = email.parser.Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        name = said["Name"]
        if name == "tapsentinel":
            continue
        files = sorted(_licence_files(info))
        if not files:
            raise ValueError(f"{info.name} has no licence text: add it to the package by hand")
        short = f"{name}-licence"
        stanzas.append(
            f"Files: {_folded(_owned(info))}\n"
            f"Copyright: {_folded(_holders(files, said))}\nLicense: {short}\n"
            f"Comment: {name} {said['Version']}: {_named(said)}\n"
        )
        texts.append(f"License: {short}\n{_indented(files)}\n")
    texts += [f"License: {name}\n {_kept(name)}\n" for name in ("Apache-2.0", "GPL-2")]
    return "\n".join([*stanzas, *texts])


def _licence_files(info: Path) -> list[Path]:
    return [
        path
        for path in info.rglob("*")
        if path.is_file() and (path.parent.name == "licenses" or _is_licence(path))
    ]


def _is_licence(path: Path) -> bool:
    return path.name.lower().startswith(_NOT_ADVERTISED)


def _owned(info: Path) -> list[str]:
    """The top names that a distribution's record lists."""
    tops = set()
    for line in (info / "RECORD").read_text(encoding="utf-8").splitlines():
        top, slash, _ = line.rpartition(",")[0].rpartition(",")[0].strip('"').partition("/")
        if top not in {"..", "bin"}:
            tops.add(f"usr/lib/tapsentinel/{top}" + ("/*" if slash else ""))
    return sorted(tops)


def _holders(files: list[Path], said: email.message.Message) -> list[str]:
    lines = [
        line.strip(" */")
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("Copyright ") and any(sign.isdigit() for sign in line)
        and "[yyyy]" not in line and "Free Software Foundation" not in line
    ]  # fmt: skip
    return lines or [said["Author-email"] or said["Author"] or f"the authors of {said['Name']}"]


def _named(said: email.message.Message) -> str:
    return said["License-Expression"] or said["License"] or _classified(said)


def _classified(said: email.message.Message) -> str:
    found = [
        value.rpartition(" :: ")[2]
        for value in said.get_all("Classifier", [])
        if value.startswith("License")
    ]
    return ", ".join(found) or "see its text"


def _text(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").expandtabs().replace("\f", "")
    begins = " ".join(text.split())
    for name, words in COMMON.items():
        if begins.startswith(" ".join(words.split())):
            return [f"{name}. {_kept(name)}"]
    return text.splitlines()


def _kept(name: str) -> str:
    return f"On Debian systems, the text is in /usr/share/common-licenses/{name}."


def _folded(lines: list[str]) -> str:
    return "\n ".join(dict.fromkeys(lines))


def _indented(files: list[Path]) -> str:
    lines: list[str] = []
    for path in files:
        if lines:
            lines += ["", "-" * 60, ""]
        lines += _text(path)
    return "\n".join(f" {line}" if line.strip() else " ." for line in lines)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(copyright_text(Path(sys.argv[1])))
