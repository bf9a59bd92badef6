# SPDX-License-Identifier: Apache-2.0
"""Text of unknown origin, made fit for a terminal.

A VM's name, a reason, a frame's bytes: whoever chose them may have chosen escape
sequences. Nothing leaves for a terminal without having passed through here.
"""

from __future__ import annotations

import re
import unicodedata

_NOT_PLAIN = re.compile(r"[^ -~]")


def harmless(text: str) -> str:
    r"""The text with everything that is not a visible character or a space escaped.

    That is C0, DEL, C1 (and with them ESC and CSI), newlines and tabs, line and
    paragraph separators, bidirectional and zero-width marks, lone surrogates,
    private and unassigned code points. They come out as `\x1b`, `\u202e`.
    """
    if text.isprintable():
        return text
    return _NOT_PLAIN.sub(_escaped, text)


def harmless_json(document: bytes) -> bytes:
    r"""The same JSON document, with such characters as `\uXXXX`; equal once decoded.

    JSON lets DEL, C1 and bidirectional marks stand unescaped, and all of them can
    only stand inside strings, so that replacing them anywhere is safe. `document`
    is one line without its newline.
    """
    if document.isascii() and b"\x7f" not in document:
        return document
    text = document.decode("utf-8", "backslashreplace")
    return _NOT_PLAIN.sub(_json_escaped, text).encode()


def columns(text: str) -> int:
    """How many cells a terminal gives to a harmless text (wide ones take two)."""
    if text.isascii():
        return len(text)
    cells = 0
    for char in text:
        if unicodedata.combining(char):
            continue
        cells += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return cells


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
