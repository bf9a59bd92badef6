# SPDX-License-Identifier: Apache-2.0
"""[mqtt] is read whole, or refused by its key and what would be right."""

from __future__ import annotations

import pytest

from sentinel.config import parse_config
from sentinel.durations import SECOND_NS
from sentinel.errors import ConfigError

WHOLE = """
[events]
host = "hv-17.example.net"
[control]
readers = "watchers"
[mqtt]
enabled = true
host = "mqtt.example.net"
ca_file = "/etc/ts/ca.pem"
cert_file = "mqtt.pem"
key_file = "mqtt.key"
username_file = "mqtt.user"
password_file = "mqtt.password"
root = "site-1/ts"
keepalive = "15s"
"""


def test_a_whole_table_is_read() -> None:
    config = parse_config(WHOLE, "f")
    assert config.mqtt.port == 8883
    assert config.mqtt.keepalive_ns == 15 * SECOND_NS
    assert (config.mqtt.root, config.mqtt.key_file) == ("site-1/ts", "mqtt.key")
    assert (config.events.host, config.control.readers) == ("hv-17.example.net", "watchers")


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        ("enabled = true", "host", "write the broker"),
        ('host = "mqtt://x"', "host", "without a scheme"),
        ('host = "a b"', "host", "no host name"),
        ("port = 0", "port", "1"),
        ('cert_file = "a.pem"', "key_file", "cert_file and key_file"),
        ('key_file = "a.key"', "cert_file", "cert_file and key_file"),
        ('password_file = "p"', "username_file", "user name beside"),
        ('ca_file = "../x"', "ca_file", "neither a file"),
        ('ca_file = "/a/../x"', "ca_file", "write the directory"),
        ('tls = false\nca_file = "/x"', "ca_file", "tls = false"),
        ('tls = false\nhost = "h"\nusername_file = "u"', "tls", "in the clear"),
        ('root = "a/#"', "root", "no topic may have"),
        ('root = "$SYS"', "root", 'begins with "$"'),
        ('root = "a//b"', "root", "empty level"),
        ('root = ""', "root", "empty or too long"),
        ('client_id = "a\\u0000"', "client_id", "control characters"),
        ('keepalive = "1s"', "keepalive", "not between 5s and"),
        ('ack_timeout = "2h"', "ack_timeout", "not between 1s and 1h"),
        ("window = 0", "window", "1"),
        ('state_dir = "/var/lib/tapsentinel"', "state_dir", "only root may write"),
        ('pasword_file = "x"', "pasword_file", "password_file"),
        ('password = "x"', "password", "unknown key"),
    ],
)
def test_a_refusal_names_the_key_and_what_would_be_right(text: str, key: str, right: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(f"[mqtt]\n{text}", "f")
    assert refused.value.key == f"mqtt.{key}"
    assert right in str(refused.value)


def test_a_password_may_go_to_this_host_in_the_clear() -> None:
    text = '[mqtt]\ntls = false\nhost = "{}"\nusername_file = "u"'
    for host in ("localhost", "127.0.0.1", "::1"):
        parse_config(text.format(host), "f")
