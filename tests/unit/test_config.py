# SPDX-License-Identifier: Apache-2.0
"""A configuration is read whole, or refused by file, key and what would be right."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import Config, FuseConfig, TrustRule, default_config, parse_config
from sentinel.durations import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from sentinel.errors import ConfigError

FILE = "/etc/tapsentinel/tapsentinel.toml"
PACKAGED = Path(__file__).parents[2] / "packaging" / "tapsentinel.toml"


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, FILE)
    assert str(caught.value).startswith(f"{FILE}: ")
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_empty_file_is_the_default_and_cuts_nothing() -> None:
    config = parse_config("", FILE)
    assert config == default_config()
    assert [config.checks.policy(name).action for name in config.checks.__struct_fields__] == [
        "count"
    ] * 5
    assert config.checks.dhcp_flood.threshold == 100
    assert config.checks.bpdu.window_ns == 10 * SECOND_NS
    assert (config.hold.initial_ns, config.hold.max_ns) == (5 * MINUTE_NS, DAY_NS)
    assert (config.journal.max_age_ns, config.journal.max_size_bytes) == (30 * DAY_NS, 256_000_000)
    assert config.paths.control_socket == "/run/tapsentinel/control.sock"
    assert config.paths.journal_db == "/var/lib/tapsentinel/journal.db"


def test_the_packaged_file_is_the_default() -> None:
    assert parse_config(PACKAGED.read_text(encoding="utf-8"), FILE) == default_config()


def test_the_packaged_file_shows_every_key() -> None:
    text = PACKAGED.read_text(encoding="utf-8")
    document = tomllib.loads(text)

    def missing(struct: type[msgspec.Struct], table: dict[str, object], path: str) -> list[str]:
        absent = []
        for field in msgspec.structs.fields(struct):
            key = f"{path}{field.encode_name}"
            value = table.get(field.encode_name)
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                assert isinstance(value, dict), key
                absent += missing(field.type, value, f"{key}.")
            elif value is None:
                absent.append(key)
        return absent

    # TOML has no way to say "none", so this one is there as a comment.
    assert missing(Config, document, "") == ["checks.size.mtu"]
    assert re.search(r"^# mtu = ", text, re.M)


def test_every_key_can_be_set() -> None:
    config = parse_config(
        """
        [paths]
        run_dir = "/tmp/a/run/"
        state_dir = "/tmp/a/state"
        bpffs_dir = "/tmp/a.b/bpf"
        [ports]
        include = ["tap[0-9]*", "veth-?"]
        exclude = ["tap9"]
        uplinks = ["bond0"]
        any_kind = true
        trusted = [
            {name = "tap-gw*", checks = ["bpdu", "vlan"]},
            {mac = "FA-16-3E-24-E7-22", checks = ["size"]},
            {vm = "router 1", checks = ["dhcp_flood"]},
        ]
        [kernel]
        loader = "libbpf"
        attach = "clsact"
        [checks.bpdu]
        action = "quarantine"
        threshold = 3
        window = "500ms"
        host = "drop"
        [checks.size]
        action = "drop"
        mtu = 9000
        [hold]
        initial = "1m30s"
        max = "2h"
        auto_release = false
        [fuse]
        max_quarantined = 7
        [journal]
        max_age = "2d"
        max_size = "1MiB"
        [control]
        group = "net-ops"
        [events]
        per_port_per_second = 1
        dhcp_per_port_per_second = 10000
        [audit]
        service_vlans = [20, 4094]
        accepted = ["unseen-port/*", "bridge-mtu/br0"]
        [mqtt]
        enabled = false
        """,
        FILE,
    )
    assert config.paths.run_dir == "/tmp/a/run"
    assert config.paths.bpffs_dir == "/tmp/a.b/bpf"
    assert config.ports.include == ("tap[0-9]*", "veth-?")
    assert config.ports.trusted == (
        TrustRule(name="tap-gw*", checks=("bpdu", "vlan")),
        TrustRule(mac="fa:16:3e:24:e7:22", checks=("size",)),
        TrustRule(vm="router 1", checks=("dhcp_flood",)),
    )
    assert (config.kernel.loader, config.kernel.attach) == ("libbpf", "clsact")
    assert config.checks.bpdu.window_ns == 500_000_000
    assert (config.checks.bpdu.host, config.checks.size.mtu) == ("drop", 9000)
    assert (config.hold.initial_ns, config.hold.max_ns) == (90 * SECOND_NS, 2 * HOUR_NS)
    assert config.fuse.limit(1000) == 7
    assert config.journal.max_size_bytes == 1 << 20
    assert config.control.group == "net-ops"
    assert config.events.per_port_per_second == 1
    assert config.events.dhcp_per_port_per_second == 10000
    assert config.audit.service_vlans == (20, 4094)
    assert config.audit.accepted == ("unseen-port/*", "bridge-mtu/br0")


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        # A typo, in a table, a key and a value.
        ("[check.bpdu]\naction='drop'", "check", 'did you mean "checks"'),
        ("[checks.bdpu]\naction='drop'", "checks.bdpu", 'did you mean "bpdu"'),
        ("[checks.bpdu]\nactoin='drop'", "checks.bpdu.actoin", 'did you mean "action"'),
        ("[hold]\nauto-release=true", "hold.auto-release", 'did you mean "auto_release"'),
        ("[checks.bpdu]\naction='dorp'", "checks.bpdu.action", 'did you mean "drop"'),
        ("[kernel]\nattach='xdp'", "kernel.attach", '"auto", "tcx", "clsact"'),
        # An unknown key.
        ("include=['tap*']", "include", "belongs under [ports]"),
        ("[ports]\nqwerty=1", "ports.qwerty", "knows include, exclude, uplinks"),
        ("[checks.vlan]\nhost='drop'", "checks.vlan.host", "belongs under [checks.bpdu]"),
        (
            "[ports]\ntrusted=[{name='a',checks=['bpdu']},{nmae='b',checks=['bpdu']}]",
            "ports.trusted[1].nmae",
            'did you mean "name"',
        ),
        ("[hold]\n'\\u001b x'=1", "hold.", "unknown key"),
        # A wrong type.
        ("hold='300s'", "hold", "expected a table"),
        ("[checks]\nbpdu='drop'", "checks.bpdu", "expected a table"),
        ("[checks.bpdu]\nthreshold='1'", "checks.bpdu.threshold", "a whole number from 1"),
        ("[checks.bpdu]\nthreshold=1.0", "checks.bpdu.threshold", "a whole number from 1"),
        ("[checks.bpdu]\nthreshold=true", "checks.bpdu.threshold", "a whole number from 1"),
        ("[checks.bpdu]\nwindow=10", "checks.bpdu.window", 'such as "10s"'),
        ("[journal]\nmax_age=2024-01-01", "journal.max_age", 'such as "10s"'),
        ("[journal]\nmax_size=256", "journal.max_size", 'such as "256MB"'),
        ("[hold]\nauto_release='yes'", "hold.auto_release", "true or false, without quotes"),
        ("[ports]\ninclude='tap*'", "ports.include", "a list in square brackets"),
        ("[ports]\ninclude=['tap*', 1]", "ports.include[1]", "a pattern of device names"),
        ("[ports]\ntrusted={name='a'}", "ports.trusted", "a list of tables"),
        ("[ports]\ntrusted=['tap0']", "ports.trusted[0]", "expected a table"),
        ("[paths]\nrun_dir=1", "paths.run_dir", "an absolute path in quotes"),
        ("[fuse]\nmax_quarantined=0.1", "fuse.max_quarantined", 'such as "10%"'),
        ("[fuse]\nmax_quarantined=true", "fuse.max_quarantined", 'such as "10%"'),
        # An impossible hold.
        ("[hold]\ninitial='2d'", "hold.initial", "longer than hold.max (1d)"),
        ("[hold]\nmax='1m'", "hold.initial", "longer than hold.max (1m)"),
        ("[hold]\ninitial='0s'", "hold.initial", "longer than zero"),
        ("[hold]\ninitial='-5s'", "hold.initial", 'such as "500ms"'),
        ("[hold]\nmax='300'", "hold.max", 'such as "500ms"'),
        ("[hold]\nmax='4000d'", "hold.max", "at most 3650d"),
        ("[hold]\nmax='inf'", "hold.max", 'such as "500ms"'),
        # Other values that cannot be.
        ("[checks.bpdu]\nthreshold=0", "checks.bpdu.threshold", "from 1 to"),
        ("[checks.bpdu]\nthreshold=-1", "checks.bpdu.threshold", "from 1 to"),
        ("[checks.bpdu]\nthreshold=4294967296", "checks.bpdu.threshold", "from 1 to"),
        ("[checks.bpdu]\nwindow='61m'", "checks.bpdu.window", "at most 1h"),
        ("[checks.bpdu]\nwindow='0ms'", "checks.bpdu.window", "longer than zero"),
        ("[checks.size]\nmtu=67", "checks.size.mtu", "from 68 to 65535"),
        ("[checks.bpdu]\nhost='quarantine'", "checks.bpdu.host", '"count", "drop"'),
        ("[fuse]\nmax_quarantined='101%'", "fuse.max_quarantined", "at most '100%'"),
        ("[fuse]\nmax_quarantined='0%'", "fuse.max_quarantined", "at least 1"),
        ("[fuse]\nmax_quarantined=0", "fuse.max_quarantined", "at least 1"),
        ("[fuse]\nmax_quarantined='ten'", "fuse.max_quarantined", 'write e.g. "10%"'),
        ("[ports]\ninclude=[]", "ports.include", 'write e.g. ["tap*", "vnet*"]'),
        ("[ports]\nexclude=['tap*', 'vnet*']", "ports.exclude", "nothing would be watched"),
        ("[ports]\ninclude=['']", "ports.include[0]", "is empty"),
        ("[ports]\ninclude=['tap[0-9']", "ports.include[0]", "do not pair"),
        ("[ports]\ninclude=['tap 0']", "ports.include[0]", "a space"),
        ("[ports]\ninclude=['a/b']", "ports.include[0]", "a slash"),
        ("[ports]\ninclude=['sixteen-bytes-xx*']", "ports.include[0]", "at most 15 bytes"),
        ("[ports]\nuplinks=['bond*']", "ports.uplinks[0]", "is a pattern"),
        ("[ports]\nuplinks=['sixteen-bytes-xx']", "ports.uplinks[0]", "at most 15 bytes"),
        ("[ports]\ntrusted=[{checks=['bpdu']}]", "ports.trusted[0]", "none of name, mac and vm"),
        (
            "[ports]\ntrusted=[{name='a',vm='b',checks=['bpdu']}]",
            "ports.trusted[0]",
            "exactly one",
        ),
        ("[ports]\ntrusted=[{name='a'}]", "ports.trusted[0].checks", 'checks = ["bpdu"]'),
        ("[ports]\ntrusted=[{name='a',checks=[]}]", "ports.trusted[0].checks", "names no check"),
        (
            "[ports]\ntrusted=[{name='a',checks=['vlan','bpdus']}]",
            "ports.trusted[0].checks[1]",
            'did you mean "bpdu"',
        ),
        (
            "[ports]\ntrusted=[{mac='fa:16:3e',checks=['bpdu']}]",
            "ports.trusted[0].mac",
            "no MAC address",
        ),
        (
            "[ports]\ntrusted=[{mac='01:80:c2:00:00:00',checks=['bpdu']}]",
            "ports.trusted[0].mac",
            "a group address",
        ),
        ("[paths]\nrun_dir='run'", "paths.run_dir", 'e.g. "/run"'),
        ("[paths]\nstate_dir='/var/../lib'", "paths.state_dir", "the directory it leads to"),
        ("[paths]\nrun_dir='/'", "paths.run_dir", "a directory of its own"),
        ("[paths]\nbpffs_dir='/sys/fs/bpf'", "paths.bpffs_dir", "/sys/fs/bpf/tapsentinel"),
        ("[paths]\nbpffs_dir='/sys/fs/bpf/a.b'", "paths.bpffs_dir", "a bpffs refuses"),
        (f"[paths]\nrun_dir='/{'a' * 100}'", "paths.run_dir", "too long"),
        ("[paths]\nstate_dir='/sys/fs/bpf/tapsentinel/x'", "paths.state_dir", "choose another"),
        ("[journal]\nmax_size='12XB'", "journal.max_size", '"256MB"'),
        ("[journal]\nmax_size='999kB'", "journal.max_size", 'at least "1MB"'),
        ("[journal]\nmax_size='0MB'", "journal.max_size", "larger than zero"),
        ("[control]\ngroup=''", "control.group", 'e.g. "tapsentinel"'),
        ("[control]\ngroup='1000'", "control.group", "the name of the group"),
        ("[control]\ngroup='a b'", "control.group", "no group name"),
        ("[events]\nper_port_per_second=0", "events.per_port_per_second", "from 1 to 10000"),
        (
            "[events]\ndhcp_per_port_per_second=10001",
            "events.dhcp_per_port_per_second",
            "from 1 to 10000",
        ),
        ("[kernel]\ndrops='on'", "kernel.drops", '"auto", "off"'),
        ("[audit]\nservice_vlans=[0]", "audit.service_vlans[0]", "from 1 to 4094"),
        ("[audit]\nservice_vlans=[4095]", "audit.service_vlans[0]", "from 1 to 4094"),
        ("[audit]\naccepted=['bridge-mtu']", "audit.accepted[0]", "what `tapsentinel audit` shows"),
        ("[mqtt]\nenabled=true", "mqtt.host", "write the broker"),
        # No TOML at all.
        ("[hold]\ninitial = 5m", "line 2, column 12", "is not TOML"),
        ("[ports\n", "line 1, column 7", "']'"),
        ("a = 1\n\nb = '''", "line 3", "is not TOML"),
        ("[hold]\ninitial='1s'\ninitial='2s'", "line 3", "overwrite"),
        ("\x00", "line 1, column 1", "is not TOML"),
        ("a=" + "[" * 5000, "", "nested too deeply"),
        ("a=" + "9" * 5000, "", "cannot be read"),
        ("[checks.bpdu]\nthreshold=0x" + "f" * 5000, "checks.bpdu.threshold", "far too large"),
    ],
)
def test_a_refusal_names_file_key_and_what_would_be_right(text: str, key: str, right: str) -> None:
    refused = refusal(text)
    assert refused.file == FILE
    assert refused.key.startswith(key) if key.endswith(".") else refused.key == key
    assert right in refused.problem


def test_a_refusal_is_harmless_on_a_terminal() -> None:
    for text in (
        '"\\u001b[31m" = 1',
        '[kernel]\nattach = "\\u001b]0;x\\u0007"',
        '[paths]\nrun_dir = "/a\\u202eb"',
    ):
        assert str(refusal(text)).isprintable()


_SCALARS = (
    st.text(max_size=20)
    | st.integers()
    | st.booleans()
    | st.floats()
    | st.sampled_from(["10s", "10%", "256MB", "drop", "tap*", "/run/x", "0s", "1d2h"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3),
)


@given(
    table=st.sampled_from(["paths", "ports", "checks", "checks.bpdu", "hold", "fuse", "journal"]),
    key=st.sampled_from(
        ["include", "trusted", "run_dir", "action", "window", "initial", "max", "max_quarantined"]
    )
    | st.text(max_size=8),
    value=_VALUES,
)
def test_no_value_does_anything_but_pass_or_be_refused(table: str, key: str, value: object) -> None:
    def toml(item: object) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(toml, item)) + "]"
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, str):
            return '"' + "".join(f"\\U{ord(sign):08x}" for sign in item) + '"'
        return str(item)

    try:
        parse_config(f"[{table}]\n{toml(key)} = {toml(value)}\n", FILE)
    except ConfigError as refused:
        complaint = str(refused)
    else:
        return
    assert complaint.isprintable()


@given(st.text(max_size=200))
def test_no_text_does_anything_but_pass_or_be_refused(text: str) -> None:
    try:
        parse_config(text, FILE)
    except ConfigError as refused:
        complaint = str(refused)
    else:
        return
    assert complaint.isprintable()


@pytest.mark.parametrize(
    ("share", "watched", "limit"),
    [("10%", 100, 10), ("10%", 99, 9), ("10%", 0, 1), ("10%", 1, 1), ("100%", 3, 3), (5, 2, 5)],
)
def test_the_fuse_is_never_less_than_one_port(share: int | str, watched: int, limit: int) -> None:
    assert FuseConfig(max_quarantined=share).limit(watched) == limit


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        default_config().hold.auto_release = False  # type: ignore[misc]


def test_importing_it_brings_in_nothing_heavy() -> None:
    code = "import sys; had = {*sys.modules}; import sentinel.config; print(*{*sys.modules} - had)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"asyncio", "socket", "sqlite3", "pathlib", "pyroute2", "orjson"} & set(loaded)
