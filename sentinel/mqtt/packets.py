# SPDX-License-Identifier: Apache-2.0
"""What several of our packets say alike, and what a broker's say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

REFUSED: Final = 0x80
"""From here on a reason is a refusal (MQTT 5.0 §2.4)."""


def refusals(granted: Iterable[int | ReasonCode]) -> list[int | ReasonCode]:
    """Those reasons of a SUBACK that refuse (MQTT 5.0 §3.9.3; 3.1.1 has plain numbers)."""
    return [one for one in granted if (one if isinstance(one, int) else one.value) >= REFUSED]


def json_properties(life_s: int) -> Properties:
    """Of a JSON document that a broker keeps for so long (MQTT 5.0 §3.3.2.3)."""
    given = Properties(PacketTypes.PUBLISH)
    given.PayloadFormatIndicator = 1
    given.ContentType = "application/json"
    given.MessageExpiryInterval = life_s
    return given
