# SPDX-License-Identifier: Apache-2.0
"""An order as it is signed, and the document that answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec

from sentinel.errors import RefusedError
from sentinel.event import rfc3339
from sentinel.protocol import MAX_REASON_CHARACTERS
from sentinel.validity import Validity, read_validity

VERSION: Final = 1
LONGEST_PROBLEM_CHARS: Final = 200
_INT64_MAX: Final = 2**63 - 1


class OrderPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is signed. `port` may be empty for `status`: of the host."""

    version: Literal[1] = VERSION
    id: UUID
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    op: Literal["quarantine", "release", "status"]
    port: Annotated[str, msgspec.Meta(max_length=128)] = ""
    for_ns: Annotated[int, msgspec.Meta(ge=1, le=_INT64_MAX)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON_CHARACTERS)] = ""
    issued: str
    expires: str
    sender: Annotated[str, msgspec.Meta(max_length=256)] = msgspec.field(default="", name="from")
    """Who gave it, as the sender tells: user@host. Journaled, and believed by nobody."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order that somebody known has signed, for this host and for now."""

    by: str
    """The principal."""
    says: OrderPayload
    valid: Validity

    @property
    def id(self) -> str:
        """The order's own, canonical."""
        return str(self.says.id)


_decoder: msgspec.json.Decoder[OrderPayload] = msgspec.json.Decoder(OrderPayload)


def read_order(payload: bytes) -> OrderPayload:
    """What an order says. Raises RefusedError if it is none."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(f"it is no order: {str(error)[:LONGEST_PROBLEM_CHARS]}") from None


def order_for(by: str, says: OrderPayload, host: str, now_ns: int, longest_ns: int) -> Order:
    """An order that `by` has signed, if it is for this host, whose name is `host`, and for now.

    Raises RefusedError, with why, if not.
    """
    if says.host != host:
        raise RefusedError(f"it is for {says.host!r}, and this is {host!r}")
    if says.op != "status" and not says.port:
        raise RefusedError("it names no port")
    valid = read_validity(says.issued, says.expires, now_ns, longest_ns, "mqtt.orders.longest")
    return Order(by, says, valid)


def write_order(says: OrderPayload) -> bytes:
    """An order as it is to be signed."""
    return msgspec.json.encode(says)


def answered(
    order_id: str | None, host: str, now_ns: int, result: object, *, repeated: bool = False
) -> dict[str, Any]:
    """The answer to an order that was carried out."""
    return _answer(order_id, host, now_ns, repeated) | {"result": result}


def refused(
    order_id: str | None,
    host: str,
    now_ns: int,
    code: str,
    message: str,
    *,
    repeated: bool = False,
) -> dict[str, Any]:
    """The answer to an order that was not; `code` is one of `envelope`'s."""
    error = {"code": code, "message": message}
    return _answer(order_id, host, now_ns, repeated) | {"error": error}


def _answer(order_id: str | None, host: str, now_ns: int, repeated: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "id": order_id,
        "host": host,
        "time": rfc3339(now_ns),
        "repeated": repeated,
    }
