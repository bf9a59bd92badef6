# SPDX-License-Identifier: Apache-2.0
"""An order over MQTT: read whole or refused, allowed to whom, and taken up once."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config_orders import Principal
from sentinel.durations import MINUTE_NS, SECOND_NS
from sentinel.effect import Effect, ForgetMemo, KeepMemo
from sentinel.errors import RefusedError, UntrustedError
from sentinel.event import rfc3339
from sentinel.orders.answered import BEGINNING, MOST_OF_ONE, MOST_ORDERS, Answered
from sentinel.orders.order import (
    OrderPayload,
    answered,
    order_for,
    read_order,
    refused,
    write_order,
)
from sentinel.orders.principals import Principals
from sentinel.signed import ORDER_DOMAIN, opened
from tests.harness.carried_facts import NOON_NS, an_order
from tests.harness.signers import Signer

LONGEST_NS = 5 * MINUTE_NS


def payload(**members: Any) -> bytes:
    return json.dumps(
        {
            "version": 1,
            "id": str(uuid.uuid4()),
            "host": "hv-1",
            "op": "quarantine",
            "port": "tap0",
            "issued": rfc3339(NOON_NS),
            "expires": rfc3339(NOON_NS + MINUTE_NS),
            "from": "alice@desk",
            **members,
        }
    ).encode()


class TestOrder:
    def test_it_is_what_was_written(self) -> None:
        says = an_order().says
        assert read_order(write_order(says)) == says
        order = order_for("alice", says, "hv-1", NOON_NS, LONGEST_NS)
        assert (order.by, order.id) == ("alice", str(says.id))
        assert order.valid.expires_ns - order.valid.issued_ns == MINUTE_NS

    @pytest.mark.parametrize(
        ("members", "why"),
        [
            ({"version": 2}, "no order"),
            ({"id": "7"}, "no order"),
            ({"op": "disarm"}, "no order"),
            ({"for_ns": 0}, "no order"),
            ({"for_ns": 2**63}, "no order"),
            ({"for_ns": True}, "no order"),
            ({"reason": "x" * 401}, "no order"),
            ({"port": "x" * 129}, "no order"),
            ({"uid": 0}, "no order"),
            ({"host": "hv-2"}, "it is for 'hv-2'"),
            ({"port": ""}, "names no port"),
            ({"issued": "noon"}, "no time with a zone"),
            ({"issued": "2025-10-09T08:53:20"}, "no time with a zone"),
            ({"expires": "9999-12-31T23:59:59Z"}, "longer than mqtt.orders.longest"),
            ({"expires": rfc3339(NOON_NS)}, "it expired"),
            ({"issued": rfc3339(NOON_NS + 61 * SECOND_NS)}, "are the clocks right"),
            ({"expires": rfc3339(NOON_NS + LONGEST_NS + SECOND_NS)}, "longer than"),
            (
                # Issued ahead of this clock, it would count for longer than it says.
                {
                    "issued": rfc3339(NOON_NS + 59 * SECOND_NS),
                    "expires": rfc3339(NOON_NS + LONGEST_NS + 50 * SECOND_NS),
                },
                "longer than",
            ),
        ],
    )
    def test_what_is_refused(self, members: dict[str, object], why: str) -> None:
        with pytest.raises(RefusedError) as refusal:
            order_for("alice", read_order(payload(**members)), "hv-1", NOON_NS, LONGEST_NS)
        assert why in str(refusal.value)

    @given(st.binary(max_size=200))
    def test_no_bytes_do_anything_else(self, raw: bytes) -> None:
        with contextlib.suppress(RefusedError):
            read_order(raw)

    @given(st.text(max_size=60), st.text(max_size=60))
    def test_nor_does_any_text_for_a_time(self, issued: str, expires: str) -> None:
        says = read_order(payload(issued=issued, expires=expires))
        with contextlib.suppress(RefusedError):
            order_for("alice", says, "hv-1", NOON_NS, LONGEST_NS)

    def test_answers(self) -> None:
        assert answered("7", "hv-1", NOON_NS, {"changed": True}) == {
            "version": 1,
            "id": "7",
            "host": "hv-1",
            "time": rfc3339(NOON_NS),
            "repeated": False,
            "result": {"changed": True},
        }
        error = refused(None, "hv-1", NOON_NS, "refused", "no")["error"]
        assert error == {"code": "refused", "message": "no"}


ALICE = Signer("alice")


@settings(deadline=None)
@given(st.data())
def test_a_mutated_message_is_never_an_order_that_nobody_gave(data: st.DataObject) -> None:
    """Bytes of a signed order changed, taken out and put in: it says the same, or nothing."""
    said = payload()
    message = bytearray(ALICE.sign(ORDER_DOMAIN, said))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                message[at] = data.draw(st.integers(0, 255))
            case 1:
                del message[at]
            case _:
                message.insert(at, data.draw(st.integers(0, 255)))
    try:
        by, raw = opened(bytes(message), {"alice": ALICE.public}, ORDER_DOMAIN)
    except UntrustedError:
        return
    assert (by, raw) == ("alice", said)


class TestPrincipals:
    WHO = Principals(
        [
            Principal(name="alice", key="A", may=("quarantine", "release", "status")),
            Principal(name="bob", key="B", may=("release",), ports=("tap1*", "vnet?")),
        ]
    )

    @pytest.mark.parametrize(
        ("by", "op", "port", "may"),
        [
            ("alice", "quarantine", "anything", True),
            ("alice", "status", "", True),
            ("bob", "release", "tap12", True),
            ("bob", "release", "vnet3", True),
            ("bob", "release", "vnet33", False),
            ("bob", "release", "tap2", False),
            ("bob", "release", "TAP12", False),
            ("bob", "quarantine", "tap12", False),
            ("bob", "status", "", False),
        ],
    )
    def test_who_may_what(self, by: str, op: str, port: str, may: bool) -> None:
        order = an_order(by, op=op, port=port)
        if may:
            self.WHO.refuse_unless_may(order)
        else:
            with pytest.raises(RefusedError, match=r"mqtt\.orders\.principals"):
                self.WHO.refuse_unless_may(order)
        assert self.WHO.keys == {"alice": "A", "bob": "B"}


class Kept:
    """What a journal would hold."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, Mapping[str, Any]]] = {}

    def take(self, *effects: Effect) -> None:
        for effect in effects:
            if isinstance(effect, KeepMemo):
                # Through JSON, as the journal keeps it.
                state = msgspec.json.decode(msgspec.json.encode(effect.state))
                self.rows[effect.key] = (effect.until_wall_ns, state)
            elif isinstance(effect, ForgetMemo):
                self.rows.pop(effect.key, None)

    def reopened(self, now_ns: int) -> Answered:
        book = Answered()
        rows = [(key, *row) for key, row in self.rows.items()]
        self.take(*book.load(rows, now_ns))
        return book


class TestAnswered:
    def book(self) -> tuple[Answered, Kept]:
        kept = Kept()
        return kept.reopened(NOON_NS - MINUTE_NS), kept

    def test_an_order_is_new_once_also_after_a_restart(self) -> None:
        book, kept = self.book()
        order, other = an_order(), an_order()
        assert book.earlier(order) is None
        kept.take(book.take(order))
        assert book.earlier(order) == {}, "begun, and not answered"
        assert kept.reopened(NOON_NS).earlier(order) == {}
        answer = {"id": order.id, "result": {"changed": True}}
        kept.take(book.done(order, answer))
        assert book.earlier(order) == kept.reopened(NOON_NS).earlier(order) == answer
        assert book.earlier(other) is None
        assert book.earlier(an_order("bob", id=order.says.id)) is None, "an id is its giver's own"

    def test_it_is_forgotten_once_it_would_be_refused_anyway(self) -> None:
        book, kept = self.book()
        order = an_order()
        kept.take(book.take(order))
        assert list(book.expire(order.valid.expires_ns - 1)) == []
        kept.take(*book.expire(order.valid.expires_ns))
        assert (len(book), list(kept.rows)) == (0, [BEGINNING])
        with pytest.raises(RefusedError, match="expired"):
            order_for("alice", order.says, "hv-1", order.valid.expires_ns, LONGEST_NS)

    def test_what_was_issued_before_the_memory_began_is_refused(self) -> None:
        book = Kept().reopened(NOON_NS + 1)
        with pytest.raises(RefusedError, match="began to remember"):
            book.take(an_order())
        book.take(an_order(at_ns=NOON_NS + 2))
        _, kept = self.book()
        kept.reopened(NOON_NS + 1).take(an_order())

    def test_one_principal_leaves_room_for_the_others(self) -> None:
        book, _ = self.book()
        for _ in range(MOST_OF_ONE):
            book.take(an_order())
        with pytest.raises(RefusedError, match="as many as are remembered"):
            book.take(an_order())
        for number in range(MOST_ORDERS - MOST_OF_ONE):
            book.take(an_order(f"p{number % 3}"))
        with pytest.raises(RefusedError, match="as many as are remembered"):
            book.take(an_order("late"))
        assert len(book) == MOST_ORDERS
        assert len(list(book.expire(NOON_NS + MINUTE_NS))) == MOST_ORDERS
        book.take(an_order(at_ns=NOON_NS + MINUTE_NS))

    def test_what_was_not_begun_leaves_nothing(self) -> None:
        book, kept = self.book()
        order = an_order()
        kept.take(book.take(order), book.drop(order))
        assert book.earlier(order) is None
        assert list(kept.rows) == [BEGINNING]

    def test_a_look_is_told_from_a_repeated_one_for_a_while(self) -> None:
        book, _ = self.book()
        order = an_order(op="status")
        assert [book.look(order), book.look(order)] == [False, True]
        for _ in range(2000):
            book.look(an_order(op="status"))
        assert book.look(order) is False

    def test_a_damaged_memory_is_none(self) -> None:
        book = Answered()
        order = an_order()
        rows: list[Any] = [
            (f"alice {order.id}", NOON_NS * 2, {"answer": 7}),
            (BEGINNING, 0, {"since_ns": "x"}),
        ]
        assert len(list(book.load(rows, NOON_NS))) == 1
        assert book.earlier(order) == {}, "it was begun, and that is all that is known"

    def test_a_clock_that_is_set_back_makes_no_order_new(self) -> None:
        book, _ = self.book()
        order = an_order()
        book.take(order)
        list(book.expire(order.valid.expires_ns))
        with pytest.raises(RefusedError, match="clock"):
            book.take(order)


def test_the_wire_form_is_what_others_sign() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(OrderPayload)]
    assert names == [
        "version", "id", "host", "op", "port", "for_ns", "reason", "issued", "expires", "from",
    ]  # fmt: skip
