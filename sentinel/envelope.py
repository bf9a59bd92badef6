# SPDX-License-Identifier: Apache-2.0
"""The envelope of an answer on the control socket: one line of JSON.

`{"ok":true,"result":…}` or `{"ok":false,"code":…,"message":…}`. The daemon wraps
and the command unwraps without decoding what is inside: a listing of a thousand
ports goes from the daemon's encoder to stdout as it is. The command starts
quickly because this module needs nothing but the standard library's json.
"""

from __future__ import annotations

import json

from sentinel.errors import ControlError, ProtocolError, RefusedError

REFUSED = "refused"
NOT_FOUND = "not_found"
USAGE = "usage"
INTERNAL = "internal"
NO_DAEMON = "no_daemon"
"""Of an answer from afar alone: whoever carries orders there finds no daemon."""

MAX_REQUEST_BYTES = 64 * 1024
"""A request line, its newline included."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_OK = b'{"ok":true,"result":'
_END = b"}\n"


def wrap(result: bytes) -> bytes:
    """The answer line around an encoded result."""
    return _OK + result + _END


def complaint(code: str, message: str) -> bytes:
    """The answer line of a request that was not carried out."""
    text = json.dumps({"ok": False, "code": code, "message": message}, separators=(",", ":"))
    return text.encode() + b"\n"


def unwrap(line: bytes) -> bytes:
    """The encoded result inside an answer line.

    Raises RefusedError for `refused` and `not_found`, ProtocolError for `usage`
    and for a line that is no answer, ControlError for `internal`.
    """
    if line.startswith(_OK) and line.endswith(_END):
        return line[len(_OK) : -len(_END)]
    try:
        answer = json.loads(line)
        code, message = str(answer["code"]), str(answer["message"])
    except (ValueError, TypeError, LookupError):
        raise ProtocolError(
            "the control socket answered with something that is no answer: "
            "is it tapsentinel's, and of this version?"
        ) from None
    if code in (REFUSED, NOT_FOUND):
        raise RefusedError(message)
    if code == USAGE:
        raise ProtocolError(message)
    raise ControlError(message)
