# SPDX-License-Identifier: Apache-2.0
"""Writes sentinel/abi.py from bpf/abi_kern_user.h.

A C file that names every type of the header is compiled to an object with BTF,
and bpftool's dump of that is turned into Python: the compiler decides the
layout, nothing is typed twice. `--check` fails when the file on disk differs.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "bpf" / "abi_kern_user.h"
OUTPUT = ROOT / "sentinel" / "abi.py"

BtfType = dict[str, Any]

SCALAR_FORMAT = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q"}


def compile_types(header: Path) -> list[BtfType]:
    """BTF of every struct and enum that the header defines."""
    text = header.read_text(encoding="utf-8")
    names = re.findall(r"^(struct|enum) (tap_\w+) \{", text, re.MULTILINE)
    source = "#include <linux/types.h>\n#include <linux/bpf.h>\n" + f'#include "{header}"\n'
    source += "".join(f"{kind} {name} the_{kind}_{name};\n" for kind, name in names)
    with tempfile.TemporaryDirectory() as folder:
        c_file, o_file = Path(folder, "abi.c"), Path(folder, "abi.o")
        c_file.write_text(source, encoding="utf-8")
        include = f"-I/usr/include/{platform.machine()}-linux-gnu"
        compiler = ["clang", "-g", "-O2", "-target", "bpf", include]
        subprocess.run([*compiler, "-c", str(c_file), "-o", str(o_file)], check=True)
        dump = subprocess.run(
            ["bpftool", "-j", "btf", "dump", "file", str(o_file)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    types: list[BtfType] = json.loads(dump.stdout)["types"]
    return types


class Layouts:
    """Reads sizes and formats out of BTF."""

    def __init__(self, types: list[BtfType]) -> None:
        self.by_id = {entry["id"]: entry for entry in types}
        self.types = types

    def resolve(self, type_id: int) -> BtfType:
        """Behind typedefs and qualifiers."""
        entry = self.by_id[type_id]
        while entry["kind"] in ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT"):
            entry = self.by_id[entry["type_id"]]
        return entry

    def member(self, type_id: int) -> tuple[str, int]:
        """Struct format and bytes of one member."""
        entry = self.resolve(type_id)
        if entry["kind"] in ("INT", "ENUM"):
            return SCALAR_FORMAT[entry["size"], False], entry["size"]
        if entry["kind"] == "STRUCT":
            return f"{entry['size']}s", entry["size"]
        if entry["kind"] == "ARRAY":
            inner = self.resolve(entry["type_id"])
            inner_format, size = self.member(entry["type_id"])
            count = entry["nr_elems"]
            if inner["kind"] == "STRUCT" or size == 1:
                return f"{count * size}s", count * size
            return f"{count}{inner_format}", count * size
        raise SystemExit(f"{HEADER.name}: a member of kind {entry['kind']} is not supported")

    def struct(self, entry: BtfType) -> tuple[str, list[tuple[str, int]]]:
        """The whole format, padding included, and each member's offset in bytes."""
        text, at, offsets = "=", 0, []
        for member in entry["members"]:
            offset = member["bits_offset"] // 8
            text += f"{offset - at}x" if offset > at else ""
            member_format, size = self.member(member["type_id"])
            text += member_format
            offsets.append((member["name"], offset))
            at = offset + size
        text += f"{entry['size'] - at}x" if entry["size"] > at else ""
        return text, offsets


def render(types: list[BtfType]) -> str:
    """The text of sentinel/abi.py."""
    layouts = Layouts(types)
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        '"""The contract with the kernel programs.',
        "",
        "Generated from bpf/abi_kern_user.h by tools/generate_abi.py: change that, not this.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from struct import Struct",
        "from typing import Final",
    ]
    for entry in types:
        if entry["kind"] == "ENUM" and entry["name"].startswith("tap_"):
            lines += ["", f"# enum {entry['name']}"]
            lines += [f"{v['name']}: Final = {v['val']}" for v in entry["values"]]
    for entry in types:
        if entry["kind"] == "STRUCT" and entry["name"].startswith("tap_"):
            text, offsets = layouts.struct(entry)
            name = entry["name"].upper()
            lines += ["", f"# struct {entry['name']}, {entry['size']} bytes"]
            lines += [f'{name}: Final = Struct("{text}")', f"{name}_FIELDS: Final = ("]
            lines += [f'    "{member}",' for member, _ in offsets]
            lines += [")"]
            lines += [f"{name}__{member.upper()}: Final = {at}" for member, at in offsets]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the file, or with --check says whether it is as it would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    text = render(compile_types(HEADER))
    if not check:
        OUTPUT.write_text(text, encoding="utf-8")
        return 0
    if OUTPUT.read_text(encoding="utf-8") == text:
        return 0
    print(f"{OUTPUT.name} differs from {HEADER.name}: run `make abi`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
