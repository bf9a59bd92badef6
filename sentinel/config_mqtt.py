# SPDX-License-Identifier: Apache-2.0
"""[mqtt]: the broker, who we are to it, and what may be sent. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from sentinel.config_orders import (
    FleetConfig,
    OrdersConfig,
    impossible_fleet,
    impossible_orders,
)
from sentinel.config_values import DIRECTORY, DURATION, GROUP, Written, read_directory
from sentinel.durations import HOUR_NS, MINUTE_NS, SECOND_NS, format_duration

LONGEST_ROOT_BYTES: Final = 256
# Keep Alive is 16 bits of seconds (MQTT 5.0 §3.1.2.10).
LONGEST_KEEPALIVE_NS: Final = 65_535 * SECOND_NS

_HOST: Final = re.compile(r"[A-Za-z0-9_.:%-]{1,253}")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


def read_broker(text: str) -> str:
    """Keep a host name or an address; empty: none."""
    if text and _HOST.fullmatch(text) is None:
        raise ValueError(
            f'{text!r} is no host name or address; write e.g. "mqtt.example.net", without '
            "a scheme or a port"
        )
    return text


def read_root(text: str) -> str:
    """Keep the beginning of topics (MQTT 5.0 §4.7)."""
    if not text or len(text.encode(errors="replace")) > LONGEST_ROOT_BYTES:
        raise ValueError(f'{text[:40]!r} is empty or too long; write e.g. "tapsentinel"')
    if any(sign in "+#" or not sign.isprintable() for sign in text):
        raise ValueError(f'{text!r} has "+", "#" or a control character, which no topic may have')
    if text[0] in "$/" or text.endswith("/") or "//" in text:
        raise ValueError(f'{text!r} begins with "$" or has an empty level; write e.g. "site-1/ts"')
    return text


def read_file(text: str) -> str:
    """Keep a file: from the root, or the name of a credential; empty: none."""
    if text.startswith("/"):
        return read_directory(text)
    if text and _CREDENTIAL.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is neither a file from the root nor the name of a credential that "
            'systemd gives; write e.g. "/etc/tapsentinel/mqtt.key" or "mqtt.key"'
        )
    return text


def read_client_id(text: str) -> str:
    """Keep a client identifier; empty: made of the host's name."""
    if not text.isprintable() or len(text) > 128:
        raise ValueError(f"{text[:40]!r} is too long or has control characters")
    return text


_Broker = Annotated[
    str, Written(read_broker, 'a host in quotes, such as "mqtt.example.net"')
]  # fmt: skip
_Root = Annotated[str, Written(read_root, 'a topic in quotes, such as "tapsentinel"')]
_File = Annotated[str, Written(read_file, "a file, or the name of a credential, in quotes")]
_ClientId = Annotated[str, Written(read_client_id, "a client identifier in quotes")]
_Duration = Annotated[int, DURATION]


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[mqtt]: what `tapsentinel mqtt` needs to know.

    A file is named from the root, or is the name of a credential in
    $CREDENTIALS_DIRECTORY. `window` is how many messages may be under way without an
    acknowledgement; a broker may want fewer.
    """

    enabled: bool = False
    host: _Broker = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8883
    tls: bool = True
    ca_file: _File = ""
    cert_file: _File = ""
    key_file: _File = ""
    username_file: _File = ""
    password_file: _File = ""
    client_id: _ClientId = ""
    root: _Root = "tapsentinel"
    user: Annotated[str, GROUP] = "tapsentinel-mqtt"
    state_dir: Annotated[str, DIRECTORY] = "/var/lib/tapsentinel-mqtt"
    window: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500
    per_second: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """Events at the most while catching up; 0: as fast as the broker takes them."""
    keepalive_ns: _Duration = msgspec.field(default=30 * SECOND_NS, name="keepalive")
    ack_timeout_ns: _Duration = msgspec.field(default=30 * SECOND_NS, name="ack_timeout")
    ports_interval_ns: _Duration = msgspec.field(default=5 * SECOND_NS, name="ports_interval")
    metrics_interval_ns: _Duration = msgspec.field(default=MINUTE_NS, name="metrics_interval")
    reconnect_max_ns: _Duration = msgspec.field(default=MINUTE_NS, name="reconnect_max")
    orders: OrdersConfig = OrdersConfig()
    fleet: FleetConfig = FleetConfig()


def impossible_mqtt(mqtt: MqttConfig) -> Iterator[tuple[str, str]]:
    """What cannot be, key by key, with what would be right."""
    if mqtt.enabled and not mqtt.host:
        yield "mqtt.host", 'is empty; write the broker, e.g. "mqtt.example.net"'
    if bool(mqtt.cert_file) != bool(mqtt.key_file):
        missing = "key_file" if mqtt.cert_file else "cert_file"
        yield f"mqtt.{missing}", "is empty; a client certificate needs cert_file and key_file"
    if mqtt.password_file and not mqtt.username_file:
        # MQTT 3.1.1 §3.1.2.9: no password without a user name.
        yield "mqtt.username_file", "is empty; a password needs a user name beside it"
    if not mqtt.tls:
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(mqtt, key):
                yield f"mqtt.{key}", "is for TLS, and tls = false; take one of them out"
        if mqtt.username_file and mqtt.host and not is_loopback(mqtt.host):
            yield "mqtt.tls", "must be true: the password would pass in the clear"
    for key, given_ns, least_ns, most_ns in (
        ("keepalive", mqtt.keepalive_ns, 5 * SECOND_NS, LONGEST_KEEPALIVE_NS),
        ("ack_timeout", mqtt.ack_timeout_ns, SECOND_NS, HOUR_NS),
        ("ports_interval", mqtt.ports_interval_ns, SECOND_NS, HOUR_NS),
        ("metrics_interval", mqtt.metrics_interval_ns, SECOND_NS, 24 * HOUR_NS),
        ("reconnect_max", mqtt.reconnect_max_ns, SECOND_NS, HOUR_NS),
    ):
        if not least_ns <= given_ns <= most_ns:
            yield (
                f"mqtt.{key}",
                f"{format_duration(given_ns)} is not between {format_duration(least_ns)} and "
                f"{format_duration(most_ns)}",
            )
    yield from impossible_orders(mqtt.orders)
    yield from impossible_fleet(mqtt.fleet)


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this one."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
