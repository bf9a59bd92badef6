# SPDX-License-Identifier: Apache-2.0
"""Starts the publisher: its user, its state directory, its log."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from pathlib import Path

from sentinel.config import Config
from sentinel.errors import BrokerError, ConfigError
from sentinel.journald import start_logging
from sentinel.mqtt.cursor import CursorFile
from sentinel.mqtt.publisher import Publisher
from sentinel.mqtt.settings import become


def run(config: Config, config_file: str) -> int:
    """Publish until SIGTERM; the exit code. Raises ConfigError, BrokerError at the start."""
    if not config.mqtt.enabled:
        raise ConfigError(
            config_file, "mqtt.enabled", "is false, so there is nothing to publish; set it to true"
        )
    start_logging()
    become(config.mqtt.user, config.control.readers)
    os.umask(0o077)
    state = Path(config.mqtt.state_dir)
    try:
        state.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        cursor = CursorFile(str(state / "cursor"))
    except OSError as error:
        raise BrokerError(
            f"{state}: {error.strerror}: the publisher keeps its cursor there; see mqtt.state_dir, "
            "its owner and the room on its disk"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BrokerError(f"{state}: another publisher runs with it: stop that one first") from None
    host = config.events.host or socket.gethostname()
    asyncio.run(_publish(config, Path(config_file), host, cursor, state))
    return 0


async def _publish(config: Config, file: Path, host: str, cursor: CursorFile, state: Path) -> None:
    await Publisher(config, file, host, cursor, state).run()
