# SPDX-License-Identifier: Apache-2.0
"""What `reload` says, and how it finds the daemon by a file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sentinel.cli_incidents import event_line
from sentinel.cli_reload import ask_reload, reload_lines
from sentinel.cli_text import Style
from sentinel.config import Config
from sentinel.errors import ConfigError, NoDaemonError, RefusedError
from sentinel.event import Entry, Event
from sentinel.event_bodies import ConfigChange
from sentinel.event_config import Asker, config_loaded, config_refused
from tests.harness.canned_control import NOON_NS, canned_control

PLAIN = Style(coloured=False)
EVIL = "\x1b[2J\u202eevil\n"


def done(**members: Any) -> dict[str, Any]:
    change = {"key": "checks.bpdu.action", "old": "count", "new": "drop"}
    return {
        "file": "/etc/c.toml", "changes": [change], "attached": [], "released": [],
        "problems": [], "journaled": True, **members,
    }  # fmt: skip


def test_what_changed() -> None:
    assert reload_lines(done(changes=[]), PLAIN) == [
        "/etc/c.toml: read anew, and nothing is another"
    ]
    assert reload_lines(done(), PLAIN) == [
        "/etc/c.toml: read anew, 1 key is another",
        "  checks.bpdu.action: count → drop",
    ]
    names = [f"tap{number}" for number in range(10)]
    lines = reload_lines(
        done(
            changes=[{"key": "mqtt.port", "old": "1", "new": "2"}] * 2,
            attached=names,
            released=["tapx"],
            problems=["tap3 is not guarded yet: busy"],
            journaled=False,
        ),
        PLAIN,
    )
    assert lines[3:] == [
        "watched from now on: tap0, tap1, tap2, tap3, tap4, tap5, tap6, tap7 and 2 more",
        "not watched any more: tapx",
        "[mqtt] is the publisher's: systemctl reload tapsentinel-mqtt",
        "tap3 is not guarded yet: busy",
        "it holds, but is not on disk yet: see the journal in `status`",
    ]


def test_nothing_in_it_harms_a_terminal() -> None:
    evil = done(
        file=EVIL,
        changes=[{"key": EVIL, "old": EVIL, "new": EVIL}],
        attached=[EVIL],
        released=[EVIL],
        problems=[EVIL],
    )
    assert all(line.isprintable() for line in reload_lines(evil, PLAIN))


@pytest.mark.parametrize(
    "one",
    [
        config_loaded(
            NOON_NS, EVIL, Config(), [ConfigChange(EVIL, EVIL, EVIL)], Asker("order", 7, 7)
        ),
        config_refused(NOON_NS, ConfigError(EVIL, EVIL, EVIL), Asker("SIGHUP")),
    ],
    ids=lambda one: str(one.kind),
)
def test_its_events_are_one_harmless_line(one: Event) -> None:
    line = event_line(json.loads(json.dumps(Entry(12, one).to_dict())), PLAIN)
    assert line.isprintable()
    assert line.startswith("#12 ")


@pytest.mark.parametrize(
    "below",
    ["", "[checks.bpdu]\naction = drop\n", "[chekcs]\n", '[checks.bpdu]\naction = "stop"\n', "["],
)
def test_the_daemon_is_found_by_a_file_that_is_wrong_below(tmp_path: Path, below: str) -> None:
    with canned_control() as control:
        file = tmp_path / "c.toml"
        file.write_text(f'[paths]\nrun_dir = "{control.path.parent}"\n{below}')
        assert json.loads(ask_reload(str(file)))["changes"] == []
        assert [one[0] for one in control.daemon.orders] == ["reload"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[paths\n", "line 1"),
        ('[paths]\nrun_dri = "/x"\n', "paths.run_dri"),
        ("[checks.bpdu]\naction = drop\n", "line 2"),
    ],
)
def test_a_file_that_does_not_say_where_the_daemon_is(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(RefusedError, match=words):
        ask_reload(str(file))


def test_no_file_and_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="does not exist"):
        ask_reload(str(tmp_path / "none.toml"))
    file = tmp_path / "c.toml"
    file.write_text(f'[paths]\nrun_dir = "{tmp_path}"\n')
    with pytest.raises(NoDaemonError):
        ask_reload(str(file))
