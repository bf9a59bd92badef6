# SPDX-License-Identifier: Apache-2.0
"""What the log says of a configuration that was read anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel import event_bodies as bodies
from sentinel.config import Config
from sentinel.config_change import MOST_CHANGES
from sentinel.errors import ConfigError
from sentinel.event import Event, Kind, clip


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants the configuration read: `by` "order" or "SIGHUP", whose sender nobody knows."""

    by: str
    uid: int | None = None
    pid: int | None = None


def config_loaded(
    time_ns: int, file: str, config: Config, changes: Sequence[bodies.ConfigChange], asker: Asker
) -> Event:
    """Tell which configuration holds from now on, and what is another in it."""
    checks = config.checks
    told = "; ".join(f"{one.key}: {one.old} → {one.new}" for one in changes)
    body = bodies.ConfigLoaded(
        clip(f"read anew by {_whom(asker)}: {told or 'nothing is another'}"),
        clip(file),
        {name: checks.policy(name).action for name in checks.__struct_fields__},
        asker.by,
        asker.uid,
        asker.pid,
        tuple(changes[:MOST_CHANGES]),
        max(0, len(changes) - MOST_CHANGES),
    )
    return Event(Kind.CONFIG_LOADED, time_ns, None, None, None, bodies.members(body))


def config_refused(time_ns: int, wrong: ConfigError, asker: Asker) -> Event:
    """Tell that a configuration was not taken, and why."""
    body = bodies.ConfigRefused(
        clip(f"not taken, by {_whom(asker)}: {wrong}"),
        clip(wrong.file),
        clip(wrong.key),
        clip(wrong.problem),
        asker.by,
        asker.uid,
        asker.pid,
    )
    return Event(Kind.CONFIG_REFUSED, time_ns, None, None, None, bodies.members(body))


def _whom(asker: Asker) -> str:
    return asker.by if asker.uid is None else f"an order of uid {asker.uid}"
