# SPDX-License-Identifier: Apache-2.0
"""Results as JSON."""

from __future__ import annotations

import json

import msgspec
import orjson

Encoded = orjson.Fragment
"""JSON that stands in a result as it is."""


def encode(result: object) -> bytes:
    """One line of JSON, without a newline. Dataclasses and msgspec Structs are fine.

    A device's name may hold bytes that are no UTF-8 (the kernel forbids only a
    slash, a colon and white space); orjson refuses those, the slow way escapes them.
    """
    try:
        return orjson.dumps(result, default=msgspec.to_builtins)
    except orjson.JSONEncodeError:
        return json.dumps(msgspec.to_builtins(result), separators=(",", ":")).encode()


def encoded(part: object) -> Encoded:
    """A part of a result, encoded before the rest of it is there."""
    return orjson.Fragment(encode(part))
