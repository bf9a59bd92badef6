# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes as people write them: "90s", "1h30m", "256MB", "1GiB".

Imports nothing but `re`: the command line uses it for `--for`.
"""

from __future__ import annotations

import re
from typing import Final

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS

LONGEST_NS: Final = 3650 * DAY_NS
"""Ten years. Keeps every sum of a wall time and a duration inside 63 bits."""
LARGEST_BYTES: Final = 10**15

_UNITS_NS: Final = {"d": DAY_NS, "h": HOUR_NS, "m": MINUTE_NS, "s": SECOND_NS, "ms": 1_000_000}
_SIZES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

# Largest unit first and each at most once, so that "30m1h" is a slip to be told of.
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(kB|[KMGT]B|[KMGT]iB|B)")

_DURATION_LOOKS: Final = 'write a number and a unit, such as "500ms", "90s", "5m", "1h30m" or "2d"'
_SIZE_LOOKS: Final = 'write a number and a unit, such as "64MiB", "256MB" or "1GB"'


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as "90s" or "1h30m".

    Raises ValueError, with what would be right, for anything else and for a
    duration of nothing or of more than ten years.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{_shown(text)} is no duration: {_DURATION_LOOKS}")
    total_ns = sum(
        int(number) * unit_ns
        for number, unit_ns in zip(found.groups(), _UNITS_NS.values(), strict=True)
        if number is not None
    )
    if total_ns == 0:
        raise ValueError(f"{_shown(text)} is no time at all: it must be longer than zero")
    if total_ns > LONGEST_NS:
        raise ValueError(f"{_shown(text)} is too long: at most 3650d (ten years)")
    return total_ns


def format_duration(duration_ns: int) -> str:
    """Text of a duration, its two largest units: "5m", "4m47s", "1d2h", "250ms".

    What is cut off is less than the smaller unit shown. Negative ones get a
    minus sign; anything under a millisecond is "0s".
    """
    if duration_ns < 0:
        text = format_duration(-duration_ns)
        return text if text == "0s" else f"-{text}"
    units = list(_UNITS_NS.items())
    rest = duration_ns
    for position, (unit, unit_ns) in enumerate(units):
        count, rest = divmod(rest, unit_ns)
        if not count:
            continue
        text = f"{count}{unit}"
        if position + 1 < len(units):
            smaller, smaller_ns = units[position + 1]
            if rest >= smaller_ns:
                text += f"{rest // smaller_ns}{smaller}"
        return text
    return "0s"


def format_duration_exactly(duration_ns: int) -> str:
    """Text that `parse_duration` reads back: "1h30m", "86400s" is "1d"; "0s" for nothing."""
    parts, rest = [], duration_ns
    for unit, unit_ns in _UNITS_NS.items():
        count, rest = divmod(rest, unit_ns)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(size_bytes: int) -> str:
    """Text that `parse_size` reads back, in the largest unit that leaves nothing over."""
    units = sorted(_SIZES.items(), key=lambda each: each[1], reverse=True)
    unit, unit_bytes = next(each for each in units if size_bytes % each[1] == 0)
    return f"{size_bytes // unit_bytes}{unit}"


def parse_size(text: str) -> int:
    """Bytes of a size such as "256MB" (decimal) or "1GiB" (binary).

    Raises ValueError, with what would be right, for anything else and for zero.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is no size: {_SIZE_LOOKS}")
    size_bytes = int(found[1]) * _SIZES[found[2]]
    if size_bytes == 0:
        raise ValueError(f"{_shown(text)} is no room at all: it must be larger than zero")
    if size_bytes > LARGEST_BYTES:
        raise ValueError(f"{_shown(text)} is too large: at most 1000TB")
    return size_bytes


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
