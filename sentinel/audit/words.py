# SPDX-License-Identifier: Apache-2.0
"""The words that several rules share: counts, times, names, commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from sentinel.audit.finding import AuditFacts
from sentinel.tag import Tag
from sentinel.traffic import PairSeen

_NUMBERS: Final = ("no", "one", "two", "three", "four", "five")
_SECOND_NS: Final = 1_000_000_000
_LATEST_S: Final = 253_402_300_799
"""The end of the year 9999, the last that `datetime` knows."""


def counted(number: int, one: str, many: str) -> str:
    """A count with its noun: "1 frame", "18,233 frames"."""
    return f"{number:,} {one if number == 1 else many}"


def frames_were(number: int) -> str:
    """A count of frames and the verb: "1 frame was", "18,233 frames were"."""
    return counted(number, "frame was", "frames were")


def spelled(number: int) -> str:
    """A small number as a word."""
    return _NUMBERS[number] if 0 <= number < len(_NUMBERS) else str(number)


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence: "a", "a and b", "a, b, c and 197 more"."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def wall_ns(facts: AuditFacts, monotonic_ns: int) -> int:
    """Nanoseconds since the epoch."""
    return monotonic_ns + facts.wall_minus_monotonic_ns


def since(facts: AuditFacts, monotonic_ns: int) -> str:
    """The beginning of a sentence: "Since 14:02", with the date if that is not today's."""
    then, now = (
        _local(wall_ns(facts, at_ns) // _SECOND_NS, facts.zone_seconds)
        for at_ns in (monotonic_ns, facts.now_ns)
    )
    return f"Since {then:%H:%M}" if then.date() == now.date() else f"Since {then:%Y-%m-%d %H:%M}"


@lru_cache(maxsize=1024)
def _local(at_s: int, zone_seconds: int) -> datetime:
    zone = timezone(timedelta(seconds=max(-86_399, min(zone_seconds, 86_399))))
    # A day of room on both sides for the zone.
    at_s = max(86_400, min(at_s, _LATEST_S - 86_400))
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone)


def by_how_much(rows: Iterable[PairSeen]) -> str:
    """By how much frames were oversized: "exactly 4 bytes", or "up to 7,500 bytes"."""
    oversized = [row for row in rows if row.oversized]
    smallest = min((row.smallest_excess_bytes for row in oversized), default=0)
    largest = max((row.largest_excess_bytes for row in oversized), default=0)
    return f"{'exactly' if smallest == largest else 'up to'} {counted(largest, 'byte', 'bytes')}"


def pair_text(outer: Tag | None, inner: Tag | None, is_rest: bool = False) -> str:
    """Which tags: "VLAN 100 inside VLAN 20", "VLAN 20", "no tag"."""
    if is_rest:
        return "tags that found no row of their own"
    if outer is None:
        return "no tag"
    return f"VLAN {outer}" if inner is None else f"VLAN {inner} inside VLAN {outer}"


def ip_link(verb: str, device: str, *words: object) -> str:
    """A command of ip-link(8) about a device; every name is quoted for the shell."""
    return shell("ip", "link", verb, "dev", device, *words)


def shell(*words: object) -> str:
    """A command line of these words, each of them quoted where a shell would read more into it."""
    return shlex.join(str(word) for word in words)


def remark(text: str) -> str:
    """A line that a shell skips, whatever a name in it holds."""
    return "# " + text.replace("\n", " ").replace("\r", " ")
