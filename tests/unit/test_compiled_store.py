# SPDX-License-Identifier: Apache-2.0
"""What is kept of a compiler's work is loaded into the kernel: only what is sound and ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sentinel.errors import KernelError
from sentinel.loader import compiled_store
from sentinel.loader.compiled import Code, Compiled, MapShape, Tool
from sentinel.loader.compiled_store import CompiledStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")

MARK, OTHER_MARK = "a" * 64, "b" * 64
NOBODY = 65534


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    path = tmp_path / "compiler.so"
    path.write_bytes(b"clang")
    return path


@pytest.fixture
def entry(compiler: Path) -> Compiled:
    status = compiler.stat()
    return Compiled(
        {"tap_ports": MapShape(2, 4, 8, 1, 0)},
        {"tap_from_guest": Code(bytes(range(256)), "GPL", 7)},
        [Tool(str(compiler), status.st_size, status.st_mtime_ns)],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "compiled"


@pytest.fixture
def store(folder: Path, entry: Compiled) -> CompiledStore:
    found = CompiledStore(folder)
    found.keep(MARK, entry)
    return found


def test_what_is_kept_is_found(store: CompiledStore, folder: Path, entry: Compiled) -> None:
    assert store.find(MARK) == entry
    assert store.find(OTHER_MARK) is None
    assert [path.name for path in folder.iterdir()] == [f"{MARK}.json"]
    assert (folder / f"{MARK}.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_no_folder_is_no_entry(folder: Path) -> None:
    assert CompiledStore(folder).find(MARK) is None


def test_every_damaged_byte_is_seen(store: CompiledStore, folder: Path) -> None:
    path = folder / f"{MARK}.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert store.find(MARK) is None, at
    for length in (0, 1, 63, 64, 65, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert store.find(MARK) is None, length
    path.write_bytes(whole + b" ")
    assert store.find(MARK) is None


def test_an_entry_under_another_name_is_none(store: CompiledStore, folder: Path) -> None:
    (folder / f"{MARK}.json").rename(folder / f"{OTHER_MARK}.json")
    assert store.find(OTHER_MARK) is None


def test_a_text_that_is_no_entry_is_none(store: CompiledStore, folder: Path) -> None:
    for body in (b"", b"{}", b"[1]", b"\xff", b'{"maps":{},"programs":{},"tools":[],"x":1}'):
        text = compiled_store._digest(MARK, body) + body
        (folder / f"{MARK}.json").write_bytes(text)
        assert store.find(MARK) is None, body


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_another_compiler_s_work_is_none(
    store: CompiledStore, compiler: Path, change: str, entry: Compiled
) -> None:
    if change == "content":
        time_ns = entry.tools[0].modified_ns
        compiler.write_bytes(b"clang 15")
        os.utime(compiler, ns=(time_ns, time_ns))
    elif change == "time":
        os.utime(compiler, ns=(1, 1))
    else:
        compiler.unlink()
    assert store.find(MARK) is None


def test_work_of_no_compiler_is_none(folder: Path, entry: Compiled) -> None:
    store = CompiledStore(folder)
    store.keep(MARK, msgspec.structs.replace(entry, tools=[]))
    assert store.find(MARK) is None


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def open_to_all(path: Path) -> None:
    path.chmod(0o646)


def open_to_group(path: Path) -> None:
    path.chmod(0o660)


def link_elsewhere(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def make_huge(path: Path) -> None:
    os.truncate(path, compiled_store.MAX_BYTES + 1)


@pytest.mark.parametrize(
    "spoil", [give_away, open_to_all, open_to_group, link_elsewhere, make_pipe, make_huge]
)
def test_a_file_that_is_not_ours_alone_is_none(
    store: CompiledStore, folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(folder / f"{MARK}.json")
    assert store.find(MARK) is None


def open_folder(folder: Path) -> None:
    folder.chmod(0o777)


def open_parent(folder: Path) -> None:
    folder.parent.chmod(0o770)


def give_parent(folder: Path) -> None:
    os.chown(folder.parent, NOBODY, NOBODY)


@pytest.mark.parametrize("spoil", [give_away, open_folder, open_parent, give_parent])
def test_a_folder_that_others_may_write_is_refused(
    store: CompiledStore, folder: Path, entry: Compiled, spoil: Callable[[Path], None]
) -> None:
    spoil(folder)
    with pytest.raises(KernelError, match="can be written by others"):
        store.find(MARK)
    with pytest.raises(KernelError, match="can be written by others"):
        store.keep(OTHER_MARK, entry)
    assert not list(folder.glob(f"{OTHER_MARK}*"))


def test_in_a_sticky_parent_others_may_add(
    store: CompiledStore, folder: Path, entry: Compiled
) -> None:
    folder.parent.chmod(0o1777)
    assert store.find(MARK) == entry


def test_a_link_into_a_folder_of_others_is_refused(
    store: CompiledStore, folder: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    folder.rename(theirs)
    theirs.chmod(0o777)
    folder.symlink_to(theirs)
    with pytest.raises(KernelError, match="can be written by others"):
        store.find(MARK)


def test_the_oldest_of_many_goes(folder: Path, entry: Compiled) -> None:
    store = CompiledStore(folder)
    marks = [f"{at:064x}" for at in range(compiled_store.MAX_ENTRIES + 2)]
    for at, mark in enumerate(marks):
        store.keep(mark, entry)
        os.utime(folder / f"{mark}.json", (at, at))
    store.keep(MARK, entry)
    kept = [mark for mark in [*marks, MARK] if store.find(mark)]
    assert kept == [*marks, MARK][-compiled_store.MAX_ENTRIES :]
