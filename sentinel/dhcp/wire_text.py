# SPDX-License-Identifier: Apache-2.0
"""Text that somebody else put into a message, and what is wrong with a message.

Both are bounded. Control characters stay: they are escaped where text is shown.
"""

from __future__ import annotations

from typing import Final

MOST_PROBLEMS: Final = 8
HOST_NAME_CHARACTERS: Final = 64
NOTE_CHARACTERS: Final = 120
_LABEL_BYTES: Final = 63
_NAME_BYTES: Final = 255


class Problems:
    """What in a message is not as its RFC says: each once, and not too many."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        """Keeps a problem; of more than MOST_PROBLEMS the first ones."""
        if len(self._texts) < MOST_PROBLEMS and text not in self._texts:
            self._texts.append(text)

    def as_tuple(self) -> tuple[str, ...]:
        """What was found, in the order in which it was found."""
        return tuple(self._texts)


def wire_text(value: bytes, most_characters: int) -> str | None:
    """Bytes as text; None if there is none. RFC 2132 section 2: NULs may trail."""
    # No character takes more than four bytes.
    text = value[: 4 * most_characters].rstrip(b"\0").decode(errors="replace")
    return text[:most_characters] or None


def dns_name(value: bytes, problems: Problems) -> str | None:
    """A name as labels (RFC 1035 section 3.1), whole or partial (RFC 4704 section 4.2).

    Compression is not allowed (RFC 8415 section 10) and ends the name, as does any
    other length that lies.
    """
    labels: list[bytes] = []
    at = 0
    while at < min(len(value), _NAME_BYTES) and (size := value[at]):
        if size > _LABEL_BYTES or at + 1 + size > len(value):
            problems.add("domain name: a label's length lies")
            break
        labels.append(value[at + 1 : at + 1 + size])
        at += 1 + size
    return wire_text(b".".join(labels), HOST_NAME_CHARACTERS)
