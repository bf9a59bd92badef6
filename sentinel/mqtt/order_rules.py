# SPDX-License-Identifier: Apache-2.0
"""Which orders are carried to the daemon, and where the answer may go. Pure.

Whose order it is the daemon finds out, by its signature. The rules here are about
topics: a broker's ACL says who may publish on the topic of a principal, and the answer
must not go where the publisher may write and the sender may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sentinel import signed
from sentinel.errors import UntrustedError
from sentinel.mqtt import topics
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOutError

MOST_CORRELATION_BYTES: Final = 512
MOST_ANSWER_TOPIC_BYTES: Final = 1024

RETAINED: Final = "retained"
NO_ORDER: Final = "no signed message"
OF_ANOTHER: Final = "in another's name than the topic's"
ANSWER_ELSEWHERE: Final = "with an answer to a topic not the sender's"
LARGE_CORRELATION: Final = "with large correlation data"
TOO_MANY: Final = "over the rate"


@dataclass(frozen=True, slots=True)
class Order:
    """An order to carry. `answer_topic` None: nobody waits for an answer."""

    message: str
    answer_topic: str | None
    correlation: bytes | None


def principal_of(topic: str, host: str, root: str) -> str:
    """Whose topic it is, as the topic writes it. Raises LeftOutError."""
    before = topics.orders_filter(host, root).removesuffix("+")
    name = topic.removeprefix(before)
    if name == topic or not name or "/" in name:
        raise LeftOutError(NO_ORDER)
    return name


def order_of(told: Incoming, host: str, root: str) -> Order:
    """The order in a message. Raises LeftOutError."""
    if told.is_retained:
        # Whoever subscribes would be given it again: a replay by construction.
        raise LeftOutError(RETAINED)
    principal = principal_of(told.topic, host, root)
    try:
        by = signed.named(told.payload)
        message = told.payload.decode()
    except (UntrustedError, UnicodeDecodeError):
        raise LeftOutError(NO_ORDER) from None
    if topics.level(by) != principal:
        raise LeftOutError(OF_ANOTHER)
    if told.correlation is not None and len(told.correlation) > MOST_CORRELATION_BYTES:
        raise LeftOutError(LARGE_CORRELATION)
    if told.response_topic is not None and not _is_answer_topic(
        told.response_topic, f"{topics.answers(host, root)}/{principal}/"
    ):
        raise LeftOutError(ANSWER_ELSEWHERE)
    return Order(message, told.response_topic, told.correlation)


def _is_answer_topic(topic: str, before: str) -> bool:
    """Below the sender's own, and no filter (MQTT 5.0 §4.7.1, §4.7.3)."""
    rest = topic.removeprefix(before)
    if rest == topic or not rest or not rest.isprintable() or set(rest) & set("+#$"):
        return False
    return len(topic.encode("utf-8", "replace")) <= MOST_ANSWER_TOPIC_BYTES
