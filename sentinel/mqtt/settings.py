# SPDX-License-Identifier: Apache-2.0
"""From the configuration to a connection: files, credentials, TLS, and who we are.

Files are read anew for each connection, so that a renewed certificate needs no restart.
What is secret stands in files alone, never in an argument or the environment.
"""

from __future__ import annotations

import contextlib
import grp
import importlib
import os
import pwd
import ssl
from pathlib import Path
from typing import Final

from sentinel.config_mqtt import MqttConfig
from sentinel.durations import SECOND_NS
from sentinel.errors import BrokerError, ConfigError
from sentinel.mqtt.client import Account

LARGEST_SECRET_BYTES: Final = 64 * 1024
IMPORTED_LATE: Final = ("concurrent.futures.thread", "encodings.idna")
"""What the library imports when it is first needed; the user may not be able to read it."""


def account_of(mqtt: MqttConfig, host: str) -> Account:
    """Who we are to the broker, and how it is reached. Raises BrokerError for a file.

    `host` is what this host is called.
    """
    return Account(
        host=mqtt.host,
        port=mqtt.port,
        client_id=mqtt.client_id or f"tapsentinel-{host}",
        keepalive_s=mqtt.keepalive_ns // SECOND_NS,
        tls=_tls(mqtt) if mqtt.tls else None,
        username=_secret("mqtt.username_file", mqtt.username_file),
        password=_secret("mqtt.password_file", mqtt.password_file),
    )


def place_of(key: str, name: str) -> str:
    """Where a file is: from the root, or among the credentials that systemd gave.

    Raises BrokerError if there are none.
    """
    if name.startswith("/"):
        return name
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise BrokerError(
            f"{key}: {name!r} is the name of a credential, and systemd gave none: write "
            "LoadCredential= in the unit, or a file from the root here"
        )
    return f"{directory}/{name}"


def become(user: str, readers: str) -> None:
    """Leave root for good, for a user that may only look. Nothing if we are not root.

    Raises ConfigError if there is no such user.
    """
    if os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(
            "the configuration",
            "mqtt.user",
            f"there is no user {user!r}, and the publisher does not run as root: make it "
            "(systemd-sysusers), or run the unit tapsentinel-mqtt",
        ) from None
    if entry.pw_uid == 0:
        raise ConfigError("the configuration", "mqtt.user", "is root; name another user")
    for late in IMPORTED_LATE:
        importlib.import_module(late)
    groups = {entry.pw_gid}
    with contextlib.suppress(KeyError):
        groups.add(grp.getgrnam(readers).gr_gid)
    os.setgroups(sorted(groups))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _tls(mqtt: MqttConfig) -> ssl.SSLContext:
    ca_file = place_of("mqtt.ca_file", mqtt.ca_file) if mqtt.ca_file else None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BrokerError(f"mqtt.ca_file: {ca_file}: {_said(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mqtt.cert_file:
        certificate = place_of("mqtt.cert_file", mqtt.cert_file)
        key = place_of("mqtt.key_file", mqtt.key_file)
        try:
            # Without a password that could be asked for: there is nobody to answer.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError) as error:
            raise BrokerError(
                f"mqtt.cert_file, mqtt.key_file: {certificate}, {key}: {_said(error)}"
            ) from None
    return context


def _secret(key: str, name: str) -> str | None:
    if not name:
        return None
    path = Path(place_of(key, name))
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_SECRET_BYTES + 1)
        text = raw.decode().removesuffix("\n")
    except OSError as error:
        raise BrokerError(f"{key}: {path}: {_said(error)}") from None
    except UnicodeDecodeError:
        raise BrokerError(f"{key}: {path} is not UTF-8") from None
    if not text or len(raw) > LARGEST_SECRET_BYTES:
        raise BrokerError(f"{key}: {path} is empty or too large to be one")
    return text


def _said(error: OSError) -> str:
    return error.strerror or str(error)
