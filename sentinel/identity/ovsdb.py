# SPDX-License-Identifier: Apache-2.0
"""The OVSDB protocol (RFC 7047), as far as one monitor needs it; pure."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
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


def monitor_request(columns: Mapping[str, Sequence[str]]) -> bytes:
    """Ask for these columns of these tables, now and whenever they change (RFC 7047 §4.1.5)."""
    wanted = {table: {"columns": list(names)} for table, names in columns.items()}
    return _line({"method": "monitor", "id": MONITOR_ID, "params": ["Open_vSwitch", None, wanted]})


def echo_reply(request: Mapping[str, Any]) -> bytes:
    """Answer the server's question whether one is still there (RFC 7047 §4.1.11)."""
    return _line({"id": request.get("id"), "result": request.get("params"), "error": None})


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
