# SPDX-License-Identifier: Apache-2.0
"""A message from the broker, as far as anybody here looks at it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incoming:
    """`response_topic` and `correlation` are MQTT 5's (§3.3.2.3.5, §3.3.2.3.6)."""

    topic: str
    payload: bytes
    is_retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
