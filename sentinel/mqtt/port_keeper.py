# SPDX-License-Identifier: Apache-2.0
"""States of ports at the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from sentinel.mqtt import documents, topics
from sentinel.mqtt.retained import Retained


class PortKeeper(Retained):
    """Compares the daemon's ports with what the broker has."""

    def __init__(self, path: Path, host: str, root: str) -> None:
        super().__init__(path, topics.base(host, root) + "/ports/")
        self._host = host
        self._root = root

    def plan(self, ports: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
        """What to publish, retained, by topic; empty where a port has gone."""
        return self.changes(
            {
                topics.port(self._host, str(port["name"]), self._root): orjson.dumps(
                    documents.port_document(self._host, port)
                )
                for port in ports
            }
        )
