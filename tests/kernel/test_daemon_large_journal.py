# SPDX-License-Identifier: Apache-2.0
"""A journal of a million incidents delays neither the daemon's start nor an answer."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from sentinel import journal_schema
from sentinel.durations import DAY_NS, HOUR_NS
from sentinel.journal_rows import incident_row
from tests.harness.daemon import Tables
from tests.harness.guarded import OFFENDER, guarded, needs_daemon
from tests.harness.journals import incident

pytestmark = [*needs_daemon, pytest.mark.slow, pytest.mark.alone]

MILLION = 1_000_000
ANSWER_S = 0.1
ROOMY: Tables = {"journal": {"max_size": "4GB", "max_age": "365d"}}
# A million of the one that is there, spread over twenty days until now.
MANY = """
INSERT INTO incident
WITH RECURSIVE up(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM up WHERE n < :count)
SELECT n, check_name, detail, 'tap' || (n % 1000), ifindex, vm, mac, :now - (:count - n) * :step,
    :now - (:count - n) * :step, :now - (:count - n) * :step, frames, action, verdict, frame_hex,
    summary, uplink, evidence
FROM up, incident WHERE id = 1
"""


def build(path: Path, count: int) -> None:
    now_ns = time.time_ns()
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path, isolation_level=None)
    journal_schema.create(connection)
    connection.execute("PRAGMA synchronous = OFF")
    old_ns = now_ns - 20 * DAY_NS
    one = incident(opened_wall_ns=old_ns, updated_wall_ns=old_ns, closed_wall_ns=old_ns)
    connection.execute(journal_schema.SAVE_INCIDENT, incident_row(1, one))
    step = 20 * DAY_NS // count
    connection.execute(MANY, {"count": count, "now": now_ns, "step": step})
    connection.close()


def ask(path: Path, **request: Any) -> tuple[float, list[Any]]:
    """How long an answer took, and its result."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as file:
            answer = file.readline()
    return time.monotonic() - began, json.loads(answer)["result"]


def least_s(*command: str) -> float:
    """How long a command takes that nothing else delays, its bytecode there as once installed."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def once() -> float:
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            return time.monotonic() - began

        return min(once() for _ in range(9))


def measure(count: int) -> tuple[float, float, float]:
    """Seconds until the daemon guards, of the quickest answer, and of the whole command."""
    with guarded(ROOMY, taps=[OFFENDER], start=False) as scene:
        build(scene.sentinel.directory / "state" / "journal.db", count)
        began = time.monotonic()
        scene.sentinel.start([OFFENDER])
        started_s = time.monotonic() - began
        place = scene.sentinel.directory / "run" / "control.sock"
        since = time.time_ns() - HOUR_NS
        answers = [ask(place, op="incidents", since_wall_ns=since) for _ in range(20)]
        assert len(answers[0][1]) == min(50, count // 480)
        told = scene.sentinel.cli("incidents", "--since", "1h", "--json")
        assert len(json.loads(told.stdout)) == min(50, count // 480)
        command = (str(scene.sentinel.command), "incidents", "--since", "1h")
        command_s = least_s(*command, "--config", str(scene.sentinel.config))
        return started_s, min(took_s for took_s, _ in answers), command_s


def test_a_million_incidents_delay_nothing() -> None:
    small = [measure(480 * 60) for _ in range(2)]
    large = [measure(MILLION) for _ in range(2)]
    starts, answers, commands = (
        [min(one[at] for one in tried) for tried in (small, large)] for at in range(3)
    )
    bare_s = least_s(sys.executable, "-c", "pass")
    print(
        f"start {starts[0]:.2f} s, with a million {starts[1]:.2f} s; "
        f"answer {answers[0] * 1e3:.1f} ms, with a million {answers[1] * 1e3:.1f} ms; "
        f"the command {commands[0] * 1e3:.0f} ms, with a million {commands[1] * 1e3:.0f} ms, "
        f"of which the interpreter takes {bare_s * 1e3:.0f} ms"
    )
    assert commands[1] - bare_s < ANSWER_S
    assert commands[1] < 1.5 * commands[0] + 0.01
    assert answers[1] < ANSWER_S
    assert answers[1] < 3 * answers[0] + 0.01
    assert starts[1] < 1.5 * starts[0] + 1
