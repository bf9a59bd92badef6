# SPDX-License-Identifier: Apache-2.0
"""Nothing that a guest or a tenant chose may steer a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.terminal import columns, harmless, harmless_json

EVIL = [
    "\x00",
    "\x07",
    "\x08",
    "\t",
    "\n",
    "\r",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x7f",
    "\x80",
    "\x85",
    "\x9b31m",
    "\x9d",
    "\u061c",
    "\u200b",
    "\u200e",
    "\u200f",
    "\u2028",
    "\u2029",
    "\u202a",
    "\u202e",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\ud800",
    "\udcff",
    "\ue000",
    "\U000e0041",
    "\U0010ffff",
]
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_evil_is_escaped(evil: str) -> None:
    shown = harmless(f"web{evil}1")
    assert shown.startswith("web\\")
    assert shown.endswith("1")
    assert shown.isprintable()
    assert evil[0] not in shown


@pytest.mark.parametrize("text", ["", "web-1", "a b", "Käse 東京 🐧", "a\\x1b", "é"])
def test_what_is_visible_stays(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b", "\\x1b"),
        ("\n", "\\x0a"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_how_it_is_escaped(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(ANY_TEXT)
def test_all_that_comes_out_is_printable(text: str) -> None:
    shown = harmless(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    assert harmless(shown) == shown
    shown.encode()


@given(ANY_TEXT)
def test_json_stays_equal_and_becomes_harmless(text: str) -> None:
    value = {"name": text, "other": ["ok", text]}
    for ascii_only in (True, False):
        document = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        try:
            document.decode()
        except UnicodeDecodeError:
            continue
        shown = harmless_json(document)
        assert json.loads(shown) == value
        assert shown.decode().isprintable()


def test_plain_json_is_passed_through_as_it_is() -> None:
    document = b'{"name":"tap1","counters":{}}'
    assert harmless_json(document) is document
    assert harmless_json('"東京"'.encode()) == '"東京"'.encode()
    assert harmless_json(b'"\x7f"') == b'"\\u007f"'


@pytest.mark.parametrize(("text", "cells"), [("abc", 3), ("東京", 4), ("e\u0301", 1), ("é", 1)])
def test_columns(text: str, cells: int) -> None:
    assert columns(text) == cells
