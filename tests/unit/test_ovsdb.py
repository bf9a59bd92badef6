# SPDX-License-Identifier: Apache-2.0
"""The OVSDB protocol: messages out of a byte stream, rows out of updates."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.identity.ovsdb import (
    LARGEST_MESSAGE_CHARS,
    InterfaceRows,
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


def row(name: str, **ids: str) -> dict[str, object]:
    return {"name": name, "external_ids": ["map", [[key, value] for key, value in ids.items()]]}


def test_rows_follow_updates() -> None:
    rows = InterfaceRows()
    assert rows.replace({"Interface": {"r1": {"new": row("tap0", a="1")}}}) == {"tap0"}
    assert rows.external_ids("tap0") == {"a": "1"}
    assert rows.apply({"Interface": {"r1": {"new": row("tap0", a="2")}}}) == {"tap0"}
    assert rows.apply({"Interface": {"r1": {"new": row("tap0", a="2")}}}) == set()
    assert rows.apply({"Interface": {"r2": {"new": row("tap1")}}}) == {"tap1"}
    assert rows.apply({"Interface": {"r1": {"old": row("tap0", a="2")}}}) == {"tap0"}
    assert rows.external_ids("tap0") == {}
    # A server that came back tells what changed meanwhile.
    assert rows.replace({"Interface": {"x": {"new": row("tap1", b="3")}}}) == {"tap1"}
    assert rows.replace({"Interface": {"y": {"new": row("tap1", b="3")}}}) == set()
    assert rows.replace({}) == {"tap1"}


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_rows_of_another_form_are_left_out(value: object) -> None:
    rows = InterfaceRows()
    for updates in (
        value,
        {"Interface": value},
        {"Interface": {"r": value}},
        {"Interface": {"r": {"new": value}}},
        {"Interface": {"r": {"new": {"name": value, "external_ids": ["map", []]}}}},
        {"Interface": {"r": {"new": {"name": "tap0", "external_ids": value}}}},
        {"Interface": {"r": {"new": {"name": "tap0", "external_ids": ["map", [value]]}}}},
    ):
        rows.apply(updates)
    assert all(isinstance(text, str) for pair in rows.external_ids("tap0").items() for text in pair)


def test_what_is_sent_is_json() -> None:
    assert json.loads(monitor_request())["params"][0] == "Open_vSwitch"
    assert json.loads(echo_reply({"id": "echo", "method": "echo", "params": []})) == {
        "id": "echo",
        "result": [],
        "error": None,
    }
