# SPDX-License-Identifier: Apache-2.0
"""Another configuration for a daemon that runs, and what the daemon says of it."""

from __future__ import annotations

import signal
from typing import Any

from tests.harness.daemon import Tables
from tests.harness.guarded import OFFENDER, Scene, events
from tests.harness.waiting import wait_until


def trust(name: str, *checks: str) -> str:
    """A rule of [ports] trusted, to be put behind all other tables."""
    return f"\n[[ports.trusted]]\nname = {name!r}\nchecks = {list(checks)!r}\n"


def put(scene: Scene, tables: Tables, more: str = "") -> None:
    """Write the file; the daemon is not told."""
    scene.sentinel.configure(tables)
    with scene.sentinel.config.open("a") as file:
        file.write(more)


def reload(scene: Scene, tables: Tables, more: str = "") -> dict[str, Any]:
    """What `tapsentinel reload --json` says. Raises RuntimeError where it refuses."""
    put(scene, tables, more)
    done: dict[str, Any] = scene.sentinel.json("reload")
    return done


def refusal(scene: Scene, raw: bytes) -> str:
    """The complaint about a file that holds this."""
    scene.sentinel.config.write_bytes(raw)
    done = scene.sentinel.cli("reload")
    assert (done.returncode, done.stdout) == (1, ""), done
    return done.stderr


def hang_up(scene: Scene) -> dict[str, Any]:
    """Send SIGHUP; the journal's entry of what came of it."""
    before = len(config_events(scene))
    scene.sentinel.signal(signal.SIGHUP)
    wait_until(lambda: len(config_events(scene)) > before, 20, "the entry of the reload", 0.05)
    return config_events(scene)[before]


def config_events(scene: Scene) -> list[dict[str, Any]]:
    """What the journal has of configurations, in order."""
    return [one for one in events(scene.sentinel) if one["kind"].startswith("config.")]


def changed(done: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Old and new values by key."""
    return {one["key"]: (one["old"], one["new"]) for one in done["changes"]}


def dropped(scene: Scene, name: str = OFFENDER) -> int:
    """Frames of a guest that were dropped, whatever for."""
    return int(scene.counters(name)["from_guest"]["dropped"]["total"])


def passed(scene: Scene, name: str = OFFENDER) -> int:
    """Frames of a guest that its port let through."""
    seen = scene.counters(name)["from_guest"]
    return int(seen["frames"]) - int(seen["dropped"]["total"])
