# SPDX-License-Identifier: Apache-2.0
"""The OVSDB protocol: messages out of a byte stream."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.identity.ovsdb import (
    LARGEST_MESSAGE_CHARS,
    JsonStream,
    echo_reply,
    monitor_request,
)

TEXTS = st.text(alphabet='{}[]"\\ aé\n', max_size=8)
MESSAGES = st.lists(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3)), max_size=5)


@given(MESSAGES, st.lists(st.integers(0, 400), max_size=8), st.sampled_from(["", " ", "\n"]))
def test_messages_come_whole_however_they_are_cut(
    messages: list[dict[str, Any]], cuts: list[int], between: str
) -> None:
    data = between.join(json.dumps(one, ensure_ascii=False) for one in messages).encode()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    stream = JsonStream()
    found = [
        message
        for start, end in itertools.pairwise(edges)
        for message in stream.feed(data[start:end])
    ]
    assert found == messages


@pytest.mark.parametrize("data", [b"hello}", b"[1] {}", b'"x"{}', b"\xff{}", b"}"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        JsonStream().feed(data)


def test_what_never_ends_is_refused() -> None:
    stream = JsonStream()
    part = b'{"x": "' + b"a" * (LARGEST_MESSAGE_CHARS // 2)
    assert stream.feed(part) == []
    with pytest.raises(ValueError, match="no end"):
        stream.feed(part)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError, match="deep"):
        JsonStream().feed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_what_is_sent_is_json() -> None:
    assert json.loads(monitor_request({"Port": ["name", "tag"]}))["params"] == [
        "Open_vSwitch", None, {"Port": {"columns": ["name", "tag"]}},
    ]  # fmt: skip
    assert json.loads(echo_reply({"id": "echo", "method": "echo", "params": []})) == {
        "id": "echo",
        "result": [],
        "error": None,
    }
