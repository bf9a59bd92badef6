# SPDX-License-Identifier: Apache-2.0
"""[mqtt.orders] and [mqtt.fleet] are read whole, or refused by key and what would be right."""

from __future__ import annotations

import base64

import pytest

from sentinel.config import Config, parse_config
from sentinel.durations import DAY_NS, HOUR_NS, MINUTE_NS
from sentinel.errors import ConfigError


def key(number: int) -> str:
    return base64.b64encode(
        bytes.fromhex("302a300506032b6570032100") + bytes([number] * 32)
    ).decode()


WHOLE = f"""
[mqtt.orders]
enabled = true
longest = "2m"
principals = [
  {{name = "alice", key = "{key(1)}", may = ["status", "quarantine"], ports = ["tap*"]}},
  {{name = "ops@example.net", key = "{key(2)}", may = ["release"]}},
]
[mqtt.fleet]
publish = true
follow = true
action = "quarantine"
key_file = "/etc/tapsentinel/fleet.key"
longest = "1h"
hosts = [{{name = "compute-2", key = "{key(3)}"}}]
"""


def test_whole_tables_are_read() -> None:
    mqtt = parse_config(WHOLE, "f").mqtt
    assert mqtt.orders.keys() == {"alice": key(1), "ops@example.net": key(2)}
    assert mqtt.orders.longest_ns == 2 * MINUTE_NS
    assert mqtt.orders.principals[1].ports == ("*",)
    assert mqtt.fleet.keys() == {"compute-2": key(3)}
    assert (mqtt.fleet.longest_ns, mqtt.fleet.action) == (HOUR_NS, "quarantine")


def test_nothing_of_it_is_on_by_default() -> None:
    mqtt = Config().mqtt
    assert not mqtt.orders.enabled
    assert not mqtt.fleet.publish
    assert not mqtt.fleet.follow
    assert (mqtt.fleet.action, mqtt.fleet.longest_ns) == ("count", DAY_NS)


def principals(*texts: str) -> str:
    return f"principals = [{', '.join(texts)}]"


ALICE = f'{{name = "alice", key = "{key(1)}", may = ["status"]}}'


@pytest.mark.parametrize(
    ("text", "at", "right"),
    [
        ("enabled = true", "principals", "nobody could order"),
        (principals(ALICE, ALICE), "principals[1].name", "twice"),
        (
            principals(ALICE, ALICE.replace("alice", "bob")),
            "principals[1].key",
            "is the key of 'alice' too",
        ),
        (principals(ALICE.replace("alice", "a/b")), "principals[0].name", "no name"),
        (principals(ALICE.replace("alice", "+")), "principals[0].name", "no name"),
        (principals(ALICE.replace('"status"', "")), "principals[0].may", "names no order"),
        (principals(ALICE.replace('"status"', '"reboot"')), "principals[0].may[0]", "one of"),
        (principals(ALICE.replace(key(1), "MCow")), "principals[0].key", "openssl pkey"),
        (principals(ALICE[:-1] + ", ports = []}"), "principals[0].ports", "names no port"),
        (principals(ALICE[:-1] + ", uid = 0}"), "principals[0].uid", "unknown key"),
        ('longest = "2h"', "longest", "not between 1s and 1h"),
    ],
)
def test_orders_that_cannot_be(text: str, at: str, right: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(f"[mqtt.orders]\n{text}", "f")
    assert refused.value.key == f"mqtt.orders.{at}"
    assert right in str(refused.value)


HOST = f'hosts = [{{name = "h2", key = "{key(1)}"}}]'


@pytest.mark.parametrize(
    ("text", "at", "right"),
    [
        ("publish = true", "key_file", "openssl genpkey"),
        ("follow = true", "hosts", "nobody would be followed"),
        (f'action = "quarantine"\n{HOST}', "follow", "must be true"),
        ('key_file = "fleet.key"', "key_file", "relative path"),
        (HOST.replace("h2", ""), "hosts[0].name", "is empty"),
        (HOST.replace("]", f', {{name = "h3", key = "{key(1)}"}}]'), "hosts[1].key", "'h2' too"),
        ('longest = "30s"', "longest", "not between 1m and"),
        ('action = "drop"', "action", '"count"'),
    ],
)
def test_a_fleet_that_cannot_be(text: str, at: str, right: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(f"[mqtt.fleet]\n{text}", "f")
    assert refused.value.key == f"mqtt.fleet.{at}"
    assert right in str(refused.value)
