# SPDX-License-Identifier: Apache-2.0
"""Which orders are carried, and where an answer may go."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.mqtt import order_rules, topics
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOutError
from sentinel.mqtt.order_rules import order_of

HOST, ROOT = "hv-1", "tapsentinel"
TOPIC = "tapsentinel/hv-1/orders/alice"
ANSWER = "tapsentinel/hv-1/answers/alice/1"


def message(by: object = "alice") -> bytes:
    return json.dumps({"by": by, "payload": "{}", "signature": "AAAA"}).encode()


def told(**members: object) -> Incoming:
    return Incoming(
        **{"topic": TOPIC, "payload": message(), "response_topic": ANSWER, **members}  # type: ignore[arg-type]
    )


def why_not(incoming: Incoming) -> str:
    with pytest.raises(LeftOutError) as error:
        order_of(incoming, HOST, ROOT)
    return str(error.value)


def test_an_order_is_carried_as_it_came() -> None:
    order = order_of(told(correlation=b"7"), HOST, ROOT)
    assert order.message == message().decode()
    assert (order.answer_topic, order.correlation) == (ANSWER, b"7")


def test_nobody_need_wait_for_the_answer() -> None:
    assert order_of(told(response_topic=None), HOST, ROOT).answer_topic is None


def test_a_retained_order_is_a_replay() -> None:
    assert why_not(told(is_retained=True)) == order_rules.RETAINED


@pytest.mark.parametrize(
    "topic",
    [
        "tapsentinel/hv-1/orders/",
        "tapsentinel/hv-1/orders/alice/more",
        "tapsentinel/hv-2/orders/alice",
        "tapsentinel/hv-1/events/alice",
        "",
    ],
)
def test_other_topics_are_nobody_s(topic: str) -> None:
    assert why_not(told(topic=topic)) == order_rules.NO_ORDER


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"\xff", b'{"by":"alice"}', message(3), b"[" * 9000, bytes(20000)],
)
def test_rubbish_is_no_order(payload: bytes) -> None:
    assert why_not(told(payload=payload)) == order_rules.NO_ORDER


@pytest.mark.parametrize("by", ["bob", "Alice", "alice ", "alice/x"])
def test_nobody_orders_in_another_s_name(by: str) -> None:
    assert why_not(told(payload=message(by))) == order_rules.OF_ANOTHER


def test_a_name_that_mqtt_forbids_is_compared_as_its_topic_writes_it() -> None:
    topic = topics.order(HOST, "a+b", ROOT)
    answer = f"{topics.answers(HOST, ROOT)}/a%2Bb/1"
    order = order_of(told(topic=topic, payload=message("a+b"), response_topic=answer), HOST, ROOT)
    assert order.answer_topic == answer


@pytest.mark.parametrize(
    "elsewhere",
    [
        "",
        "x",
        "tapsentinel/hv-1/answers/alice",
        "tapsentinel/hv-1/answers/alice/",
        "tapsentinel/hv-1/answers/alice2/1",
        "tapsentinel/hv-1/answers/bob/1",
        "tapsentinel/hv-2/answers/alice/1",
        "tapsentinel/hv-1/status",
        "tapsentinel/hv-1/answers/alice/#",
        "tapsentinel/hv-1/answers/alice/+/1",
        "tapsentinel/hv-1/answers/alice/\0",
        "tapsentinel/hv-1/answers/alice/" + "x" * 1024,
        " " + ANSWER,
    ],
)
def test_an_answer_goes_to_the_sender_s_own_topics_alone(elsewhere: str) -> None:
    assert why_not(told(response_topic=elsewhere)) == order_rules.ANSWER_ELSEWHERE


def test_correlation_data_is_bounded() -> None:
    assert order_of(told(correlation=bytes(512)), HOST, ROOT).correlation == bytes(512)
    assert why_not(told(correlation=bytes(513))) == order_rules.LARGE_CORRELATION


@given(st.text(), st.binary(max_size=64), st.one_of(st.none(), st.text()))
def test_whatever_comes_is_carried_or_left_out(topic: str, payload: bytes, answer: str) -> None:
    try:
        order = order_of(Incoming(topic, payload, response_topic=answer), HOST, ROOT)
    except LeftOutError:
        return
    assert order.answer_topic is None or order.answer_topic.startswith(f"{ROOT}/{HOST}/answers/")
