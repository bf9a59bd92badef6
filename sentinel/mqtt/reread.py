# SPDX-License-Identifier: Apache-2.0
"""A changed configuration for a publisher that runs: what of it can be taken."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sentinel.config import Config
from sentinel.config_change import config_changes, need_restart
from sentinel.config_file import read_config_file
from sentinel.errors import ConfigError

LIFELONG: Final = (
    "paths.run_dir",
    "control.readers",
    "events.host",
    "mqtt.enabled",
    "mqtt.root",
    "mqtt.user",
    "mqtt.state_dir",
)
"""Who the publisher is, where it keeps its cursor, and under which topics it is known."""


def reread(file: Path, before: Config) -> Config:
    """The configuration in a file, if a publisher can go on with it. Raises ConfigError."""
    config = read_config_file(file)
    keys = need_restart(config_changes(before, config), LIFELONG)
    if keys:
        raise ConfigError(
            str(file),
            ", ".join(keys),
            "needs a restart of the publisher to change (systemctl restart tapsentinel-mqtt), and "
            "nothing else of the file is taken before",
        )
    return config
