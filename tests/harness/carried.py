# SPDX-License-Identifier: Apache-2.0
"""Orders and notices as they come over MQTT, brought to a daemon's control socket."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from sentinel.cli_client import Client
from sentinel.event import rfc3339
from sentinel.signed import NOTICE_DOMAIN, ORDER_DOMAIN
from tests.harness.daemon import Sentinel
from tests.harness.signers import Signer

SECOND_NS = 1_000_000_000


def order_of(op: str, port: str = "", *, host: str, **members: Any) -> dict[str, Any]:
    """An order's payload, valid for a minute from now unless `members` say otherwise."""
    now_ns = time.time_ns()
    return {
        "version": 1,
        "id": str(uuid.uuid4()),
        "host": host,
        "op": op,
        "port": port,
        "for_ns": None,
        "reason": "it floods",
        "issued": rfc3339(now_ns),
        "expires": rfc3339(now_ns + 60 * SECOND_NS),
        "from": "alice@desk",
        **members,
    }


def notice_of(host: str, vm_uuid: str | None, **members: Any) -> dict[str, Any]:
    """A notice's payload, valid for an hour from now unless `members` say otherwise."""
    now_ns = time.time_ns()
    return {
        "version": 1,
        "id": str(uuid.uuid4()),
        "host": host,
        "vm": {"uuid": vm_uuid, "macs": members.pop("macs", [])},
        "cause": "bpdu",
        "reason": "the bpdu check reached its threshold",
        "issued": rfc3339(now_ns),
        "expires": rfc3339(now_ns + 3600 * SECOND_NS),
        "withdrawn": False,
        **members,
    }


def signed_order(signer: Signer, payload: dict[str, Any], by: str | None = None) -> str:
    """A message."""
    return signer.sign(ORDER_DOMAIN, json.dumps(payload).encode(), by).decode()


def signed_notice(signer: Signer, payload: dict[str, Any], by: str | None = None) -> str:
    """A message."""
    return signer.sign(NOTICE_DOMAIN, json.dumps(payload).encode(), by).decode()


def ask(sentinel: Sentinel, op: str, **members: Any) -> Any:
    """What the daemon's control socket answers to root."""
    with Client(str(sentinel.directory / "run" / "control.sock")) as client:
        return json.loads(client.ask(op, **members))


def carry_order(sentinel: Sentinel, message: str) -> dict[str, Any]:
    """The document that answers an order."""
    found: dict[str, Any] = ask(sentinel, "carry", what="order", message=message, via="broker:8883")
    return found


def carry_notice(sentinel: Sentinel, message: str) -> dict[str, Any]:
    """Whether a notice was taken, and why not."""
    found: dict[str, Any] = ask(sentinel, "carry", what="notice", message=message, via="broker")
    return found
