# SPDX-License-Identifier: Apache-2.0
"""A configuration's file as a running process reads it: whatever lies there, it answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel.config_file import LARGEST_FILE_BYTES, read_config_file
from sentinel.errors import ConfigError


def test_a_right_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[checks.bpdu]\naction = "drop"\n' + "#" * 100_000)
    assert read_config_file(file).checks.bpdu.action == "drop"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (str, "does not exist; put it back"),
        (lambda file: file.mkdir(), "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda file: file.symlink_to("/dev/zero"), "is no regular file"),
        (lambda file: file.symlink_to(file), "cannot be read"),
        (lambda file: file.write_bytes(b"#" * (LARGEST_FILE_BYTES + 1)), "larger than 1 MiB"),
        (lambda file: file.write_bytes(b"#\xff"), "byte 1 is not UTF-8"),
        (lambda file: file.write_text("[checks"), "is not TOML"),
        (lambda file: file.write_text("[chekcs]\n"), "unknown"),
    ],
)
def test_what_cannot_be_taken_says_why_and_leaves_nothing_open(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    file = tmp_path / "c.toml"
    make(file)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConfigError, match=words) as wrong:
        read_config_file(file)
    assert wrong.value.file == str(file)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
