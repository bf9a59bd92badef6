# SPDX-License-Identifier: Apache-2.0
"""What differs between two configurations, told as the file has it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import Config, parse_config
from sentinel.config_change import (
    LONGEST_VALUE_CHARS,
    MOST_CHANGES,
    UNSET,
    between,
    config_changes,
    need_restart,
)
from sentinel.errors import ConfigError
from sentinel.event_bodies import ConfigChange
from sentinel.event_config import Asker, config_loaded, config_refused
from sentinel.journal_rows import LARGEST_BODY_BYTES
from tests.harness.cut_facts import device

PACKAGED = Path(__file__).parents[2] / "packaging" / "tapsentinel.toml"


def changes(new: str, old: str = "") -> dict[str, tuple[str, str]]:
    found = config_changes(parse_config(old, "old"), parse_config(new, "new"))
    return {one.key: (one.old, one.new) for one in found}


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ("", {}),
        ('[checks.bpdu]\naction = "count"', {}),
        ('[hold]\ninitial = "5m"', {}),
        ('[checks.bpdu]\naction = "drop"', {"checks.bpdu.action": ("count", "drop")}),
        ('[checks.vlan]\nwindow = "1h"', {"checks.vlan.window": ("10s", "1h")}),
        ("[checks.dhcp_flood]\nthreshold = 7", {"checks.dhcp_flood.threshold": ("100", "7")}),
        ("[checks.size]\nmtu = 9000", {"checks.size.mtu": (UNSET, "9000")}),
        ('[hold]\nmax = "1h30m"', {"hold.max": ("1d", "1h30m")}),
        ("[hold]\nauto_release = false", {"hold.auto_release": ("true", "false")}),
        ("[fuse]\nmax_quarantined = 5", {"fuse.max_quarantined": ("10%", "5")}),
        ('[journal]\nmax_size = "1GiB"', {"journal.max_size": ("256MB", "1GiB")}),
        (
            '[ports]\ninclude = ["vm*"]\nany_kind = true',
            {
                "ports.include": ('["tap*", "vnet*"]', '["vm*"]'),
                "ports.any_kind": ("false", "true"),
            },
        ),
        (
            '[[ports.trusted]]\nname = "tap1"\nchecks = ["bpdu", "vlan"]',
            {"ports.trusted": ("[]", '[{name = "tap1", checks = ["bpdu", "vlan"]}]')},
        ),
        ("[audit]\nservice_vlans = [7, 9]", {"audit.service_vlans": ("[]", "[7, 9]")}),
        ('[mqtt]\nkeepalive = "1m30s"', {"mqtt.keepalive": ("30s", "1m30s")}),
    ],
)
def test_keys_and_values_are_told_as_the_file_has_them(
    new: str, told: dict[str, tuple[str, str]]
) -> None:
    assert changes(new) == told
    assert changes("", new) == {key: (after, before) for key, (before, after) in told.items()}


@given(st.integers(1, 999_999_999), st.integers(1_000_000, 10**15 - 1))
def test_what_is_told_reads_back_as_the_same(max_ms: int, size_bytes: int) -> None:
    text = '[hold]\ninitial = "1ms"\nmax = "{}"\n[journal]\nmax_size = "{}"\n'
    given = parse_config(text.format(f"{max_ms}ms", f"{size_bytes}B"), "given")
    told = {one.key: one.new for one in config_changes(Config(), given)}
    again = text.format(told.get("hold.max", "24h"), told.get("journal.max_size", "256MB"))
    assert parse_config(again, "again") == given


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        ('[paths]\nrun_dir = "/run/x"', ["paths.run_dir"]),
        ('[paths]\nstate_dir = "/x"\nbpffs_dir = "/y"', ["paths.state_dir", "paths.bpffs_dir"]),
        ('[kernel]\nloader = "bcc"', ["kernel.loader"]),
        ('[kernel]\nattach = "clsact"', ["kernel.attach"]),
        ('[kernel]\ndrops = "off"', ["kernel.drops"]),
        ('[events]\nhost = "hv-2"', ["events.host"]),
        ('[checks.bpdu]\naction = "drop"\nhost = "drop"', []),
        ('[mqtt]\nhost = "b"\nroot = "x"', []),
        ("[events]\nper_port_per_second = 1\nlog_per_host_per_second = 7", []),
        ('[control]\ngroup = "x"\nreaders = "y"', []),
    ],
)
def test_what_needs_a_restart_is_named(new: str, keys: list[str]) -> None:
    assert need_restart(config_changes(Config(), parse_config(new, "new"))) == keys


def test_the_packaged_file_changes_nothing() -> None:
    assert config_changes(Config(), parse_config(PACKAGED.read_text(), "packaged")) == ()


def test_between_two_devices_nobody_is_judged_harder_than_either_says() -> None:
    old = replace(device(), trusted_checks=frozenset({"bpdu"}), path_mtu_bytes=9000)
    new = replace(device(), trusted_checks=frozenset({"vlan"}), path_mtu_bytes=1500, name="b")
    middle = between(old, new)
    assert middle == replace(new, trusted_checks=frozenset({"bpdu", "vlan"}), path_mtu_bytes=9000)
    assert between(new, old).path_mtu_bytes == 9000
    unjudged = replace(new, path_mtu_bytes=0)
    assert between(old, unjudged).path_mtu_bytes == between(unjudged, old).path_mtu_bytes == 0


def test_what_is_journaled_is_bounded() -> None:
    trusted = "".join(
        f'[[ports.trusted]]\nname = "tap{number}"\nchecks = ["bpdu"]\n' for number in range(500)
    )
    (one,) = config_changes(Config(), parse_config(trusted, "new"))
    assert len(one.new) == LONGEST_VALUE_CHARS
    assert one.new.endswith("…")
    many = [ConfigChange("checks.dhcp_flood.threshold", "…" * 160, "…" * 160)] * 90
    told = config_loaded(7, "/f" * 9000, Config(), many, Asker("order", 7, 8)).body
    assert told["unlisted"] == 90 - MOST_CHANGES
    assert len(json.dumps(told, ensure_ascii=False)) < LARGEST_BODY_BYTES
    wrong = ConfigError("/f" * 9000, "k" * 9000, "p" * 9000)
    assert len(json.dumps(config_refused(7, wrong, Asker("SIGHUP")).body)) < LARGEST_BODY_BYTES


def test_who_asked_is_told() -> None:
    change = ConfigChange("hold.max", "1d", "2d")
    assert config_loaded(7, "/f", Config(), [change], Asker("order", 1000, 8)).body["message"] == (
        "read anew by an order of uid 1000: hold.max: 1d → 2d"
    )
    refused = config_refused(7, ConfigError("/f", "hold.max", "is odd"), Asker("SIGHUP")).body
    assert refused["message"] == "not taken, by SIGHUP: /f: hold.max: is odd"
    assert (refused["key"], refused["uid"]) == ("hold.max", None)
