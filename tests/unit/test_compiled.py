# SPDX-License-Identifier: Apache-2.0
"""Maps into programs that were compiled without them, and what such a program may say."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.errors import KernelError
from sentinel.loader import bcc, bcc_sources
from sentinel.loader.compiled import MAP_NUMBERS, decode_compiled, with_descriptors

ROOT = Path(__file__).parents[2]
FDS = {name: 100 + at for at, name in enumerate(MAP_NUMBERS)}
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def constant(value: int, source: int = 0, register: int = 1) -> bytes:
    return struct.pack("=BBhi", 0x18, register | source << 4, 0, value) + struct.pack(
        "=BBhi", 0, 0, 0, 0
    )


def test_each_number_becomes_its_map_s_descriptor() -> None:
    names = list(MAP_NUMBERS)
    code = b"".join(constant(MAP_NUMBERS[name], 1) for name in names) + EXIT
    expected = b"".join(constant(FDS[name], 1) for name in names) + EXIT
    assert with_descriptors(code, FDS) == expected


def test_a_constant_of_that_value_stays() -> None:
    number = MAP_NUMBERS["tap_ports"]
    code = constant(number) + struct.pack("=BBhi", 0xB7, 1, 0, number) + EXIT
    assert with_descriptors(code, FDS) == code


def test_the_upper_half_of_a_constant_is_no_instruction() -> None:
    half = struct.pack("=BBhi", 0x18, 0x11, 0, MAP_NUMBERS["tap_ports"])
    assert with_descriptors(EXIT + constant(5)[:8] + half + EXIT, FDS).count(half) == 1


@pytest.mark.parametrize(
    "code",
    [
        constant(3, 1),
        constant(max(MAP_NUMBERS.values()) + 1, 1),
        constant(MAP_NUMBERS["tap_ports"], 2),
        constant(1, 3),
        b"",
        EXIT[:7],
        EXIT + b"x",
    ],
    ids=["a descriptor", "no map", "a value", "a BTF id", "nothing", "a piece", "a rest"],
)
def test_a_program_that_is_none_of_ours_is_refused(code: bytes) -> None:
    with pytest.raises(KernelError, match="compile the sources anew"):
        with_descriptors(code, FDS)


def test_an_answer_that_is_none_is_refused() -> None:
    for text in ("", "null", '{"maps": 1}', "\udcff"):
        with pytest.raises(KernelError, match="cannot be read"):
            decode_compiled(text.encode("utf-8", "surrogateescape"))


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Sources, and headers of which they reach two."""
    sources, headers = tmp_path / "bpf", tmp_path / "include"
    (sources / "bcc").mkdir(parents=True)
    (headers / "linux").mkdir(parents=True)
    (sources / "tap.bpf.c").write_text('#include "own.h"\n#  include <linux/ip.h>\n')
    (sources / "own.h").write_text("\n")
    (sources / "bcc" / "in_place.h").write_text("\n")
    (headers / "linux" / "ip.h").write_text("#ifdef ODD\n#include <linux/types.h>\n#endif\n")
    (headers / "linux" / "types.h").write_text("\n")
    (headers / "linux" / "other.h").write_text("\n")
    return sources, headers


def test_all_that_the_compiler_reads_counts(trees: tuple[Path, Path]) -> None:
    sources, headers = trees

    def mark(*flags: str) -> str:
        return bcc_sources.fingerprint(sources, [headers], {"flags": flags})

    first = mark()
    assert mark() == first
    (headers / "linux" / "other.h").write_text("/* nobody includes it */\n")
    assert mark() == first
    seen = {first, mark("-DX")}
    for path in (
        *(sources / "tap.bpf.c", sources / "own.h", sources / "bcc" / "in_place.h"),
        *(headers / "linux" / "ip.h", headers / "linux" / "types.h"),
    ):
        path.write_text(path.read_text() + "/* changed */\n")
        assert mark() not in seen, path
        seen.add(mark())
    shadow = sources / "linux" / "types.h"
    shadow.parent.mkdir()
    shadow.write_text("\n")
    assert mark() not in seen


def test_another_kernel_s_is_another(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = bcc_sources.fingerprint(trees[0], [trees[1]], {})
    monkeypatch.setattr("platform.release", lambda: "5.10.0-1-amd64")
    assert bcc_sources.fingerprint(trees[0], [trees[1]], {}) != here


def test_no_headers_anywhere_names_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(bcc_sources, "_LIBRARY", tmp_path / "include")
    monkeypatch.setattr(bcc_sources, "_MODULES", tmp_path / "modules")
    with pytest.raises(KernelError) as caught:
        bcc_sources.kernel_headers()
    for package in ("linux-headers-$(uname -r)", "linux-libc-dev", "kernel-devel"):
        assert package in str(caught.value)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    with pytest.raises(KernelError, match=r"BCC_KERNEL_SOURCE is .*: install linux-headers-"):
        bcc_sources.kernel_headers()


HEADERS_SEEN = """
import sys
from pathlib import Path
from sentinel.loader import bcc_sources
here = Path(sys.argv[1])
bcc_sources._LIBRARY = here / "include"
bcc_sources._MODULES, bcc_sources._TREES = here / "modules", here / "src"
bcc_sources.platform.release = lambda: sys.argv[2]
print(*(folder.relative_to(here) for folder in bcc_sources.kernel_headers()))
"""


@pytest.mark.parametrize(
    ("release", "trees"),
    [
        ("6.1.0-9-amd64", ("linux-headers-6.1.0-9-amd64", "linux-headers-6.1.0-9-common")),
        ("6.1.0-9-rt-amd64", ("linux-headers-6.1.0-9-rt-amd64", "linux-headers-6.1.0-9-common-rt")),
        (
            "6.12.5+deb13-cloud-amd64",
            ("linux-headers-6.12.5+deb13-cloud-amd64", "linux-headers-6.12.5+deb13-common"),
        ),
        ("5.14.0-1.el9.x86_64", ("kernels/5.14.0-1.el9.x86_64",) * 2),
        ("6.6.6", ()),
    ],
)
def test_what_a_sandbox_hides_is_looked_for_where_it_lies(
    release: str, trees: tuple[str, ...], tmp_path: Path
) -> None:
    generated = f"arch/{bcc_sources._ARCHITECTURES[platform.machine()]}/include/generated/uapi"
    if not trees:
        wanted = ["include"]
    else:
        wanted = [f"src/{trees[0]}/{generated}", f"src/{trees[1]}/include/uapi"]
    for folder, file in zip((wanted[0], wanted[-1]), ("asm/types.h", "linux/ip.h"), strict=True):
        header = tmp_path / folder / file
        header.parent.mkdir(parents=True, exist_ok=True)
        header.touch()
    (tmp_path / "modules").mkdir(mode=0)
    # Root is refused only without its capabilities, as in the unit.
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    seen = subprocess.run(
        [*bare, sys.executable, "-c", HEADERS_SEEN, tmp_path, release],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert sorted(seen.stdout.split()) == sorted(wanted)


def test_a_system_without_python_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bcc, "_PYTHONS", (tmp_path / "python3",))
    with pytest.raises(KernelError, match=r"install python3-bpfcc .* python3-bcc \(RHEL\)"):
        bcc.system_python()


def test_the_unit_lets_the_compiler_finish() -> None:
    unit = (ROOT / "packaging" / "tapsentinel.service").read_text(encoding="utf-8")
    (allowed,) = [line for line in unit.splitlines() if line.startswith("TimeoutStartSec=")]
    assert int(allowed.partition("=")[2].removesuffix("s")) >= bcc.TIMEOUT_S + 60
    assert bcc.SIGN_HOLDS_S >= 4 * bcc.SIGN_EVERY_S
