# SPDX-License-Identifier: Apache-2.0
"""What a command reads of the configuration, and `config check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sentinel import cli_paths
from sentinel.cli import main
from sentinel.cli_config import checked_paths, summary_lines
from sentinel.cli_paths import Paths, ordinary_paths, read_config_text
from sentinel.config import default_config, parse_config
from sentinel.errors import ConfigError


def test_the_defaults_are_the_real_ones() -> None:
    real, short = default_config().paths, Paths()
    assert (short.control_socket, short.bpffs_dir) == (real.control_socket, real.bpffs_dir)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[ports]\ninclude = ['x*']\n",
        '[paths]\nrun_dir = "/tmp/a-b/c.d"\n',
        '[paths]\nbpffs_dir = "/sys/fs/bpf/x"\nstate_dir = "/s"\n',
    ],
)
def test_both_readers_agree(text: str) -> None:
    short, real = ordinary_paths(text), parse_config(text, "f").paths
    assert short is not None
    assert (short.control_socket, short.bpffs_dir) == (real.control_socket, real.bpffs_dir)
    assert checked_paths(text, "f").control_socket == real.control_socket


@pytest.mark.parametrize(
    "text",
    [
        "[paths",
        "paths = 7",
        "[paths]\nrun = '/x'",
        "[paths]\nrun_dir = 7",
        "[paths]\nrun_dir = 'relative'",
        "[paths]\nrun_dir = '/a/../b'",
        "[paths]\nrun_dir = '/a/'",
        "[paths]\nrun_dir = ''",
        "[paths]\nrun_dir = '/'",
        "[paths]\nrun_dir = '/" + "x" * 500 + "'",
        "a = " + "[" * 20000,
    ],
    ids=lambda text: repr(text[:30]),
)
def test_whatever_is_odd_is_left_to_the_real_parser(text: str) -> None:
    assert ordinary_paths(text) is None


def test_a_slip_elsewhere_leaves_the_paths_readable() -> None:
    paths = checked_paths('[paths]\nrun_dir = "/r"\n[checks.bpdu]\nactoin = "drop"\n', "f")
    assert paths.control_socket == "/r/control.sock"
    assert paths.complaint is not None
    assert "checks.bpdu" in str(paths.complaint)


def test_a_slip_in_the_paths_does_not() -> None:
    with pytest.raises(ConfigError, match=r"paths\.run_dir"):
        checked_paths("[paths]\nrun_dir = 'r'\n", "f")


def test_nor_does_one_that_takes_two_keys_to_see() -> None:
    text = '[paths]\nrun_dir = "/sys/fs/bpf/x/run"\nbpffs_dir = "/sys/fs/bpf/x"\n'
    assert ordinary_paths(text) is not None
    with pytest.raises(ConfigError, match=r"paths\.run_dir"):
        checked_paths(text, "f")


def test_a_directory_with_a_slash_too_many_is_read_by_the_real_parser() -> None:
    assert checked_paths("[paths]\nrun_dir = '/r/'\n", "f").control_socket == "/r/control.sock"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_config_text(str(tmp_path / "none")) is None
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_text(str(tmp_path))
    latin = tmp_path / "latin"
    latin.write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="byte 2 is not UTF-8"):
        read_config_text(str(latin))


class TestCheck:
    def test_a_right_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "c.toml"
        file.write_text(
            '[checks.bpdu]\naction = "quarantine"\n[checks.vlan]\naction = "drop"\n'
            '[checks.dhcp_flood]\naction = "quarantine"\n[ports]\nuplinks = ["bond0"]\n'
        )
        assert main(["config", "check", str(file)]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"ok: {file}\n")
        assert "bpdu (quarantine, by the first frame), vlan (drop)" in said
        assert "dhcp_flood (quarantine, by 100 within 10s)" in said
        assert "only counts  size, rogue_dhcp" in said
        assert "held         5m, doubled by each relapse up to 1d; at most 10%" in said
        assert "uplinks bond0" in said

    def test_as_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "c.toml"
        file.write_text('[checks.bpdu]\naction = "drop"\n')
        assert main(["config", "check", "--json", "--config", str(file)]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] is True
        assert said["cuts"] == {"bpdu": "drop"}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('[checks.bdpu]\naction = "drop"\n', "bdpu"),
            ("[checks.bpdu]\naction = 7\n", "checks.bpdu.action"),
            ('[hold]\ninitial = "2h"\nmax = "1h"\n', "hold.initial"),
            ("[checks\n", "line 1"),
        ],
    )
    def test_a_wrong_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
    ) -> None:
        file = tmp_path / "c.toml"
        file.write_text(text)
        assert main(["config", "check", str(file)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert str(file) in err
        assert words in err
        assert main(["config", "check", str(file), "--json"]) == 1
        said = json.loads(capsys.readouterr().out)
        assert (said["ok"], said["file"]) == (False, str(file))

    def test_none_given_and_none_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cli_paths, "DEFAULT_FILE", str(tmp_path / "none"))
        assert main(["config", "check"]) == 0
        assert "the defaults hold\ncuts         nothing" in capsys.readouterr().out

    @pytest.mark.parametrize("argv", ["config check {}", "config check --config {}"])
    def test_one_given_that_is_not_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: str
    ) -> None:
        assert main(argv.format(tmp_path / "none").split()) == 2
        assert "does not exist" in capsys.readouterr().err


def test_what_is_held_until_released() -> None:
    config = parse_config(
        '[checks.bpdu]\naction = "quarantine"\n[hold]\nauto_release = false\n', "f"
    )
    assert "held         until released; at most 10% of the ports" in summary_lines(config)
