# SPDX-License-Identifier: Apache-2.0
"""`make demo` tells the story, notices a guard that fails, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.harness import demo_story
from tests.harness.daemon import COMMAND, Tables, toml_text
from tests.harness.demo_story import play_guarded, play_unguarded
from tests.harness.namespaces import leftovers
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and taps need root")
needs_daemon = pytest.mark.skipif(not COMMAND.exists(), reason=f"{COMMAND} is not installed")

CHECKOUT = Path(__file__).parents[2]


class Notebook:
    """A narrator that only keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.alarms: list[str] = []
        self.marks = ""

    def chapter(self, title: str) -> None:
        self.told.append(("chapter", title))

    def say(self, who: str, text: str, *, alarm: bool = False) -> None:
        self.told.append((who, text))
        if alarm:
            self.alarms.append(text)

    def pings(self, marks: Mapping[str, str]) -> None:
        self.marks += "".join(marks.values())


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUIET_S", "OUTAGE_S", "HELD_S", "AFTERWARDS_S"):
        monkeypatch.setattr(demo_story, name, 1.0)
    monkeypatch.setattr(demo_story, "LOST_S", 1.0)


def test_unguarded_the_neighbours_are_cut_off() -> None:
    notebook = Notebook()
    half = play_unguarded(notebook)
    assert half.complaints == []
    assert half.bpdus_on_wire >= 1
    assert half.switch_state == "disabled"
    assert all(tally.lost > 0 for tally in half.tallies.values())
    assert half.outage_s is not None
    assert half.outage_s > 0.5
    assert any("BPDU received on blocked port" in text for text in notebook.alarms)
    assert "x" in notebook.marks


@needs_daemon
def test_guarded_they_lose_nothing() -> None:
    notebook = Notebook()
    half = play_guarded(notebook)
    assert half.complaints == []
    assert half.bpdus_from_guest >= 1
    assert half.bpdus_on_wire == 0
    assert half.lost == 0
    assert "x" not in notebook.marks


@needs_daemon
def test_a_guard_that_only_counts_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_story, "GUARD", {"checks.bpdu": {"action": "count"}})
    half = play_guarded(Notebook())
    assert any("leaked" in complaint for complaint in half.complaints)
    assert any("lost" in complaint for complaint in half.complaints)


def test_an_interrupted_demo_leaves_nothing_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "unguarded"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        while "every 100 ms" not in demo.stdout.readline():
            assert demo.poll() is None
        wait_until(lambda: leftovers(demo.pid), 5, "the demo's namespaces")
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(15) != 0
    assert leftovers(demo.pid) == []


def test_the_configuration_is_toml() -> None:
    tables: Tables = {
        "checks.bpdu": {"action": "quarantine", "threshold": 1},
        "ports": {"include": ["tap*", 'a"b'], "any_kind": True},
    }
    assert tomllib.loads(toml_text(tables)) == {
        "checks": {"bpdu": {"action": "quarantine", "threshold": 1}},
        "ports": {"include": ["tap*", 'a"b'], "any_kind": True},
    }
