# SPDX-License-Identifier: Apache-2.0
"""An entry of the log as a CloudEvents 1.0 envelope, in structured mode. Pure.

`sequence` is the extension attribute of that name: it sorts as text. The parts of an
entry that the envelope does not name are in `data`, as `watch --json` tells them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX: Final = "tapsentinel."
DATA_MEMBERS: Final = ("version", "seq", "host", "time_ns", "port", "ifindex", "vm", "body")
"""Of an entry, in this order."""


def envelope_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of an entry as `watch --json` tells it. Raises KeyError for any other."""
    kind, host = entry["kind"], entry["host"]
    envelope = {
        "specversion": SPEC_VERSION,
        "id": entry["id"],
        "source": source_of(host),
        "type": TYPE_PREFIX + kind,
        "time": entry["time"],
        "datacontenttype": "application/json",
        "dataschema": schema_of(kind, entry["version"]),
        "sequence": f"{entry['seq']:020d}",
        "data": {name: entry[name] for name in DATA_MEMBERS},
    }
    if entry["port"]:
        envelope["subject"] = entry["port"]
    return envelope


@lru_cache(maxsize=64)
def source_of(host: str) -> str:
    """The URI reference of a host's log."""
    return f"/tapsentinel/{quote(host or 'unknown', safe='', errors='replace')}"


@lru_cache(maxsize=256)
def schema_of(kind: str, version: int) -> str:
    """What names the schema of a kind's data; the schemas are in docs/events."""
    return f"urn:tapsentinel:event:{kind}:{version}"
