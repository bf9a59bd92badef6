# SPDX-License-Identifier: Apache-2.0
"""`reload`: asks the daemon, and says what changed.

The file may be as wrong as can be, and the daemon that is to say so still has to be found.
"""

from __future__ import annotations

import re

from sentinel.cli_client import Client
from sentinel.cli_config import checked_paths
from sentinel.cli_paths import DEFAULT_FILE, Paths, ordinary_paths, read_config_text
from sentinel.cli_text import Json, Style, clip, several
from sentinel.errors import ConfigError, RefusedError

ANSWER_TIMEOUT_S = 120.0
"""The daemon answers when the last newly watched port is guarded."""
MOST_NAMES = 8
_LINE = re.compile(r"line ([0-9]+)")


def ask_reload(config: str | None) -> bytes:
    """The JSON of what changed. Raises RefusedError if the file is wrong, NoDaemonError."""
    file = DEFAULT_FILE if config is None else config
    try:
        text = read_config_text(file)
        if text is None and config is not None:
            raise ConfigError(file, "", "does not exist")
        paths = Paths() if text is None else _paths_in(text, file)
    except ConfigError as wrong:
        raise RefusedError(f"{wrong}; the daemon goes on with what it has") from None
    with Client(paths.control_socket, ANSWER_TIMEOUT_S) as client:
        return client.ask("reload")


def reload_lines(done: Json, style: Style) -> list[str]:
    """The same for a person."""
    changes = done.get("changes") or []
    file = clip(done.get("file"), 200)
    if not changes:
        return [f"{file}: read anew, and nothing is another"]
    lines = [f"{file}: read anew, {several(len(changes), 'key is', 'keys are')} another"]
    lines += [
        f"  {clip(one.get('key'), 60)}: {clip(one.get('old'), 160)} → "
        + style.paint("bold", clip(one.get("new"), 160))
        for one in changes
    ]
    for word, names in (("watched from now on", "attached"), ("not watched any more", "released")):
        found = [clip(name, 15) for name in done.get(names) or []]
        if found:
            more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
            lines.append(f"{word}: {', '.join(found[:MOST_NAMES])}{more}")
    if any(str(one.get("key")).startswith("mqtt.") for one in changes):
        lines.append("[mqtt] is the publisher's: systemctl reload tapsentinel-mqtt")
    lines += [style.paint("red", clip(problem, 300)) for problem in done.get("problems") or []]
    if not done.get("journaled"):
        lines.append("it holds, but is not on disk yet: see the journal in `status`")
    return lines


def _paths_in(text: str, file: str) -> Paths:
    paths = ordinary_paths(text)
    if paths is not None:
        return paths
    try:
        return checked_paths(text, file)
    except ConfigError as wrong:
        # Not TOML from some line on: what stands above it may say where the daemon is.
        broken = _LINE.match(wrong.key)
        above = text.splitlines()[: int(broken[1]) - 1] if broken else []
        paths = ordinary_paths("\n".join(above))
        if not broken or paths is None or not ("[paths]" in above or file == DEFAULT_FILE):
            raise
        return paths
