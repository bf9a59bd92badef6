# SPDX-License-Identifier: Apache-2.0
"""From when until when a signed message counts. Pure: the clock is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sentinel.durations import SECOND_NS, format_duration
from sentinel.errors import RefusedError
from sentinel.event import rfc3339

SKEW_NS: Final = 60 * SECOND_NS
"""So far another host's clock may be ahead of this one's."""
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_LONGEST_TEXT_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class Validity:
    """Moments as wall clock in ns."""

    issued_ns: int
    expires_ns: int


def moment_ns(text: str) -> int:
    """A moment of RFC 3339 §5.6, with its zone; what is below a microsecond is cut off.

    Raises RefusedError for everything else.
    """
    problem = f"{text[:_LONGEST_TEXT_CHARS]!r} is no time with a zone (RFC 3339)"
    if len(text) > _LONGEST_TEXT_CHARS or not text.isascii():
        raise RefusedError(problem)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise RefusedError(problem)
        return int((moment - _EPOCH) / timedelta(microseconds=1)) * 1000
    except (ValueError, OverflowError):
        raise RefusedError(problem) from None


def read_validity(
    issued: str, expires: str, now_ns: int, longest_ns: int, key: str, skew_ns: int = 0
) -> Validity:
    """When a message counts; `key` of the configuration says `longest_ns`.

    Raises RefusedError, with why, for one that does not count now.
    """
    found = Validity(moment_ns(issued), moment_ns(expires))
    if found.issued_ns > now_ns + SKEW_NS:
        ahead = format_duration(found.issued_ns - now_ns)
        raise RefusedError(
            f"it was issued at {rfc3339(found.issued_ns)}, {ahead} from now: are the clocks right?"
        )
    if found.expires_ns <= now_ns:
        ago = format_duration(now_ns - found.expires_ns)
        raise RefusedError(f"it expired at {rfc3339(found.expires_ns)}, {ago} ago")
    if found.expires_ns - min(found.issued_ns, now_ns) > longest_ns + skew_ns:
        raise RefusedError(
            f"it would be valid for {format_duration(found.expires_ns - found.issued_ns)}, "
            f"longer than {key} ({format_duration(longest_ns)})"
        )
    return found
