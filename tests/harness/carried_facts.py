# SPDX-License-Identifier: Apache-2.0
"""Orders and notices as the daemon holds them once they are proved."""

from __future__ import annotations

import uuid
from typing import Any

from sentinel.durations import HOUR_NS, MINUTE_NS
from sentinel.event import rfc3339
from sentinel.fleet.notice import Notice
from sentinel.orders.order import Order, OrderPayload
from sentinel.validity import Validity

NOON_NS = 1_760_000_000_000_000_000
VM_UUID = "5d7a9c1e-3f00-4000-8000-000000000001"


def an_order(by: str = "alice", *, at_ns: int = NOON_NS, **members: Any) -> Order:
    """An order that is valid for a minute."""
    valid = Validity(at_ns, at_ns + MINUTE_NS)
    says = OrderPayload(
        **{
            "id": uuid.uuid4(),
            "host": "hv-1",
            "op": "quarantine",
            "port": "tap0",
            "issued": rfc3339(valid.issued_ns),
            "expires": rfc3339(valid.expires_ns),
            "sender": "alice@desk",
            **members,
        }
    )
    return Order(by, says, valid)


def notice(host: str = "hv-2", *, at_ns: int = NOON_NS, **members: Any) -> Notice:
    """A notice that is valid for an hour."""
    facts: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "host": host,
        "uuid": VM_UUID,
        "macs": ("fa:16:3e:00:00:01",),
        "cause": "bpdu",
        "reason": "the bpdu check reached its threshold",
        "valid": Validity(at_ns, at_ns + HOUR_NS),
        **members,
    }
    return Notice(**facts)
