# SPDX-License-Identifier: Apache-2.0
"""A configuration as the real parser sees it: `config check`, and every text command."""

from __future__ import annotations

from sentinel.cli_paths import Paths, ordinary_paths
from sentinel.config import ChecksConfig, Config, parse_config
from sentinel.durations import format_duration
from sentinel.errors import ConfigError


def checked_paths(text: str, file: str) -> Paths:
    """The paths in a configuration that is checked as a whole.

    A slip elsewhere comes back as `complaint`: it must not keep anybody from
    releasing a port. Raises ConfigError if the paths cannot be known.
    """
    try:
        paths = parse_config(text, file).paths
    except ConfigError as error:
        readable = ordinary_paths(text)
        if readable is None or error.key.startswith("paths"):
            raise
        readable.complaint = error
        return readable
    return Paths(paths.run_dir, paths.bpffs_dir)


def summary(config: Config) -> dict[str, object]:
    """What a configuration amounts to, for `config check --json`."""
    actions = {name: config.checks.policy(name).action for name in _names(config.checks)}
    return {
        "cuts": {name: action for name, action in actions.items() if action != "count"},
        "counts": [name for name, action in actions.items() if action == "count"],
        "include": list(config.ports.include),
        "uplinks": list(config.ports.uplinks),
        "trusted": len(config.ports.trusted),
        "control_socket": config.paths.control_socket,
        "mqtt": f"{config.mqtt.host}:{config.mqtt.port}" if config.mqtt.enabled else None,
    }


def summary_lines(config: Config) -> list[str]:
    """The same for a person."""
    cuts, counts = [], []
    for name in _names(config.checks):
        policy = config.checks.policy(name)
        if policy.action == "count":
            counts.append(name)
        elif policy.action == "drop":
            cuts.append(f"{name} (drop)")
        elif policy.threshold == 1:
            cuts.append(f"{name} (quarantine, by the first frame)")
        else:
            window = format_duration(policy.window_ns)
            cuts.append(f"{name} (quarantine, by {policy.threshold} within {window})")
    hold = config.hold
    if hold.auto_release:
        held = f"{format_duration(hold.initial_ns)}, doubled by each relapse up to "
        held += format_duration(hold.max_ns)
    else:
        held = "until released"
    uplinks = ", ".join(config.ports.uplinks) or "found by rule"
    lines = [
        f"cuts         {', '.join(cuts) or 'nothing: every check only counts'}",
        f"only counts  {', '.join(counts) or 'nothing'}",
        f"ports        {', '.join(config.ports.include)}; uplinks {uplinks}",
    ]
    if cuts:
        lines.append(f"held         {held}; at most {config.fuse.max_quarantined} of the ports")
    if config.ports.trusted:
        lines.append(f"trusted      {len(config.ports.trusted)} rules")
    if config.mqtt.enabled:
        how = "TLS" if config.mqtt.tls else "without TLS"
        who = "with a client certificate" if config.mqtt.cert_file else "without one of ours"
        lines.append(
            f"mqtt         {config.mqtt.host}:{config.mqtt.port}, {how}, {who}; "
            f"{config.mqtt.root}/HOST/..."
        )
    return lines


def _names(checks: ChecksConfig) -> tuple[str, ...]:
    return checks.__struct_fields__
