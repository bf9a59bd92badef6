# SPDX-License-Identifier: Apache-2.0
"""What clients of the control socket may take, and what they took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take of the daemon."""

    clients: int = 64
    clients_per_uid: int = 32  # of members of the group; root may have all
    watchers: int = 16
    request_s: float = 10.0  # of silence before a request is complete
    write_s: float = 10.0  # with an answer that nobody reads
    unread_bytes: int = 256 * 1024
    batch_events: int = 256
    refusals_s: float = 60.0


@dataclass(slots=True)
class ControlCounters:
    """What the control socket has seen since it was opened."""

    answered: int = 0
    bad_requests: int = 0
    refused: int = 0
    turned_away: int = 0  # over a limit
    abandoned_orders: int = 0  # whose sender had gone
    slow_readers: int = 0  # dropped, with answers or events that they did not read
