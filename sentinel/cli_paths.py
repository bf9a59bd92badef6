# SPDX-License-Identifier: Apache-2.0
"""Where the daemon listens and where the pins are, read without the whole configuration.

Checking a configuration takes longer than all the rest of a listing for a
machine. Such a command reads `[paths]` alone; where anything about that is out
of the ordinary, `cli_config` and the real parser have the word.
"""

from __future__ import annotations

import re
import tomllib

from sentinel.errors import ConfigError

DEFAULT_FILE = "/etc/tapsentinel/tapsentinel.toml"

_ORDINARY = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,60}){1,6}")


class Paths:
    """What a command needs of the configuration.

    `complaint`: what is wrong in it, if that does not touch these paths.
    """

    def __init__(
        self,
        run_dir: str = "/run/tapsentinel",
        bpffs_dir: str = "/sys/fs/bpf/tapsentinel",
        complaint: ConfigError | None = None,
    ) -> None:
        self.control_socket = f"{run_dir}/control.sock"
        self.bpffs_dir = bpffs_dir
        self.complaint = complaint


def read_config_text(file: str) -> str | None:
    """The text of a configuration file; None if there is no such file. Raises ConfigError."""
    try:
        with open(file, encoding="utf-8") as config:  # noqa: PTH123 - pathlib is slow to import
            return config.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(file, "", f"byte {error.start} is not UTF-8: save it as such") from None
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read ({error.strerror})") from None


def ordinary_paths(text: str) -> Paths | None:
    """The paths in a configuration's text; None if the real parser has to look at it."""
    try:
        given = tomllib.loads(text).get("paths", {})
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    if not isinstance(given, dict) or given.keys() - {"run_dir", "state_dir", "bpffs_dir"}:
        return None
    if not all(isinstance(path, str) and _ORDINARY.fullmatch(path) for path in given.values()):
        return None
    given.pop("state_dir", None)
    return Paths(**given)
