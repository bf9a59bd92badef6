# SPDX-License-Identifier: Apache-2.0
"""Notices of other hosts wait in a bounded queue, fair between hosts."""

from __future__ import annotations

import json

import pytest

from sentinel.mqtt import notice_queue
from sentinel.mqtt.incoming import Incoming
from sentinel.mqtt.left_out import LeftOutError
from sentinel.mqtt.notice_queue import NoticeQueue, notice_of

FOLLOWED = frozenset({"hv-2", "hv-3"})


def told(host: str = "hv-2", by: str | None = None, payload: bytes | None = None) -> Incoming:
    message = json.dumps({"by": by or host, "payload": "{}", "signature": "AAAA"}).encode()
    topic = f"tapsentinel/{host}/notices/1"
    return Incoming(topic, message if payload is None else payload, is_retained=True)


def test_a_followed_host_is_heard() -> None:
    found = notice_of(told(), "tapsentinel", FOLLOWED)
    assert found is not None
    assert found[0] == "hv-2"
    assert json.loads(found[1])["by"] == "hv-2"


@pytest.mark.parametrize("incoming", [told("hv-9"), told(payload=b""), Incoming("x", b"{}")])
def test_the_rest_is_nothing_to_us(incoming: Incoming) -> None:
    assert notice_of(incoming, "tapsentinel", FOLLOWED) is None


@pytest.mark.parametrize(
    ("incoming", "why"),
    [
        (told(by="hv-3"), notice_queue.OF_ANOTHER),
        (told(payload=b"{}"), notice_queue.NO_NOTICE),
        (told(payload=b"\xff"), notice_queue.NO_NOTICE),
        (told(payload=bytes(20_000)), notice_queue.NO_NOTICE),
    ],
)
def test_what_is_no_notice_is_counted(incoming: Incoming, why: str) -> None:
    with pytest.raises(LeftOutError, match=why):
        notice_of(incoming, "tapsentinel", FOLLOWED)


def test_first_in_first_out() -> None:
    queue = NoticeQueue()
    for message in "abc":
        queue.put("hv-2", message)
    seen = []
    while queue:
        seen.append(queue.first())
        queue.drop_first()
    assert seen == ["a", "b", "c"]


def test_who_tells_too_much_pushes_out_its_own_alone() -> None:
    queue = NoticeQueue()
    for _ in range(notice_queue.MOST_PER_HOST):
        queue.put("hv-2", "x")
    with pytest.raises(LeftOutError):
        queue.put("hv-2", "x")
    queue.put("hv-3", "x")
    queue.drop_first()
    queue.put("hv-2", "x")


@pytest.mark.parametrize("size", [1, 16 * 1024])
def test_all_of_it_is_bounded(size: int) -> None:
    queue = NoticeQueue()
    for number in range(min(notice_queue.MOST, notice_queue.MOST_BYTES // size)):
        queue.put(f"hv-{number}", "x" * size)
    with pytest.raises(LeftOutError):
        queue.put("one more", "x" * size)
    assert len(queue) * size <= notice_queue.MOST_BYTES
    assert len(queue) in (notice_queue.MOST, notice_queue.MOST_BYTES // size)
    while queue:
        queue.drop_first()
    queue.put("hv-0", "x" * size)
