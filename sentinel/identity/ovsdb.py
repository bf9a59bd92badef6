# SPDX-License-Identifier: Apache-2.0
"""The OVSDB protocol (RFC 7047), as far as one monitor of one table needs it; pure."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any, Final

LARGEST_MESSAGE_CHARS: Final = 64 << 20
MONITOR_ID: Final = 1
_SPACE: Final = " \t\r\n"


class JsonStream:
    """Cuts a byte stream into the JSON objects that follow one another in it (RFC 7047 §4)."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that are whole by now.

        Raises ValueError for what is not JSON, not an object, or has no end
        within 64 Mi characters.
        """
        self._text += self._decode(data)
        # Objects end with a brace: a long one is not parsed again with each part of it.
        if not self._text.rstrip(_SPACE).endswith("}") and len(self._text) < LARGEST_MESSAGE_CHARS:
            return []
        messages, start = [], 0
        while True:
            while start < len(self._text) and self._text[start] in _SPACE:
                start += 1
            if start == len(self._text):
                break
            try:
                message, start = self._decoder.raw_decode(self._text, start)
            except RecursionError:
                raise ValueError("nested too deep") from None
            except json.JSONDecodeError as problem:
                self._refuse_unless_cut(start, problem)
                break
            if not isinstance(message, dict):
                raise ValueError(f"{type(message).__name__} where a JSON object belongs")
            messages.append(message)
        self._text = self._text[start:]
        return messages

    def _refuse_unless_cut(self, start: int, problem: json.JSONDecodeError) -> None:
        if self._text[start] != "{":
            raise ValueError(f"no JSON object: {problem}")
        if len(self._text) - start >= LARGEST_MESSAGE_CHARS:
            raise ValueError(f"no end within {LARGEST_MESSAGE_CHARS} characters: {problem}")


def monitor_request() -> bytes:
    """Ask for the name and external_ids of every Interface, now and whenever they change."""
    wanted = {"Interface": {"columns": ["name", "external_ids"]}}
    return _line({"method": "monitor", "id": MONITOR_ID, "params": ["Open_vSwitch", None, wanted]})


def echo_reply(request: Mapping[str, Any]) -> bytes:
    """Answer the server's question whether one is still there (RFC 7047 §4.1.11)."""
    return _line({"id": request.get("id"), "result": request.get("params"), "error": None})


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


class InterfaceRows:
    """The Interface table as told so far: external_ids by name."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, dict[str, str]]] = {}
        self._by_name: dict[str, dict[str, str]] = {}

    def external_ids(self, name: str) -> Mapping[str, str]:
        """Of one interface; empty if there is none."""
        return self._by_name.get(name, {})

    def replace(self, updates: object) -> set[str]:
        """Take a monitor's first answer, which replaces all; returns the names that changed."""
        before = self._by_name
        self._rows = {}
        self.apply(updates)
        return {
            name
            for name in before.keys() | self._by_name.keys()
            if before.get(name) != self._by_name.get(name)
        }

    def apply(self, updates: object) -> set[str]:
        """Take one table-updates object (RFC 7047 §4.1.6); returns the names that changed.

        What has not the promised form is left out.
        """
        changed: set[str] = set()
        rows = _dict(_dict(updates).get("Interface"))
        for row_id, update in rows.items():
            old = self._rows.pop(row_id, None)
            new = _row(_dict(update).get("new"))
            if new is not None:
                self._rows[row_id] = new
            if old != new:
                changed |= {row[0] for row in (old, new) if row is not None}
        self._by_name = dict(self._rows.values())
        return changed


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _row(new: object) -> tuple[str, dict[str, str]] | None:
    name = _dict(new).get("name")
    match _dict(new).get("external_ids"):
        case ["map", list(pairs)] if isinstance(name, str):
            return name, {
                pair[0]: pair[1]
                for pair in pairs
                if isinstance(pair, list) and len(pair) == 2 and all(_is_text(x) for x in pair)
            }
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
