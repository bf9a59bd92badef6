# SPDX-License-Identifier: Apache-2.0
"""What every test with a broker needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.harness.broker import Listener, Mosquitto, listening
from tests.harness.publisher import Host


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in ("mosquitto", "openssl") if shutil.which(name) is None]
    why = f"no {missing[0]} here" if missing else "becoming nobody takes root"
    if missing or os.geteuid() != 0:
        for item in items:
            if "tests/broker" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(name="broker")
def _broker() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.fixture(name="listener")
def _listener(broker: Mosquitto) -> Iterator[Listener]:
    with listening(broker) as listener:
        yield listener


@pytest.fixture(name="host")
def _host(broker: Mosquitto) -> Iterator[Host]:
    with Host(broker) as host:
        yield host
