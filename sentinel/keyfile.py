# SPDX-License-Identifier: Apache-2.0
"""A private key's file: root's alone, or not used."""

from __future__ import annotations

import os
import stat
from typing import Final

from sentinel.config_orders import FleetConfig
from sentinel.errors import ConfigError
from sentinel.signed import ORDER_DOMAIN, sign

_LARGEST_BYTES: Final = 16_384


def fleet_key(fleet: FleetConfig, config_file: str) -> bytes:
    """What signs this host's notices; empty if it gives none. Raises ConfigError."""
    if not fleet.publish:
        return b""
    return read_private_key(fleet.key_file, config_file, "mqtt.fleet.key_file")


def read_private_key(path: str, config_file: str, key: str) -> bytes:
    """The PEM text of an Ed25519 key, proved by a signature.

    Raises ConfigError, with the configuration's file and key, if the file is not there,
    not its owner's alone (root's, as the daemon is), or holds no such key.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(config_file, key, f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(config_file, key, f"{path} is no regular file")
        if status.st_uid != os.geteuid():
            raise ConfigError(
                config_file,
                key,
                f"{path} belongs to uid {status.st_uid}; `chown root:root {path}`",
            )
        if status.st_mode & 0o077:
            raise ConfigError(
                config_file,
                key,
                f"{path} may be read by others (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"`chmod 600 {path}`",
            )
        pem = file.read(_LARGEST_BYTES)
    try:
        sign(pem, "proof", ORDER_DOMAIN, b"{}")
    except ValueError as refusal:
        raise ConfigError(config_file, key, f"{path} {refusal}") from None
    return pem
