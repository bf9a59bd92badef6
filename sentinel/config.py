# SPDX-License-Identifier: Apache-2.0
"""The configuration: its keys, their defaults, and what is impossible.

Every key has a default; an unknown key is an error. Durations become nanoseconds
(`_ns`) and sizes bytes (`_bytes`); in the file the names are without these suffixes.
How a value is read stands in `config_reader`, what one value may be in `config_values`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec

from sentinel.config_mqtt import MqttConfig, impossible_mqtt
from sentinel.config_reader import read_toml
from sentinel.config_values import (
    BPFFS_DIRECTORY,
    DEVICE,
    DIRECTORY,
    DURATION,
    FINDING,
    GROUP,
    HOST_NAME,
    MAC,
    PATTERN,
    SHARE,
    SIZE,
    SOCKET_PATH_MAX_BYTES,
    VM,
    read_share,
)
from sentinel.durations import DAY_NS, HOUR_NS, SECOND_NS, format_duration
from sentinel.errors import ConfigError

Action = Literal["count", "drop", "quarantine"]
CheckName = Literal["bpdu", "vlan", "size", "rogue_dhcp", "dhcp_flood"]

HOLD_JITTER_PERCENT: Final = 15
LONGEST_WINDOW_NS: Final = HOUR_NS
SMALLEST_JOURNAL_BYTES: Final = 1_000_000

_Duration = Annotated[int, DURATION]
_Threshold = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
# 68 is the least an IPv4 link may have (RFC 791, page 25), 65535 the kernel's ETH_MAX_MTU.
_Mtu = Annotated[int, msgspec.Meta(ge=68, le=65535)]
# 0 and 4095 name no VLAN (IEEE 802.1Q-2018 table 9-2).
_Vid = Annotated[int, msgspec.Meta(ge=1, le=4094)]
_EventRate = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: immutable, and without a key that is not named here."""


class Paths(_Table, frozen=True):
    """[paths]: where the daemon keeps what it makes."""

    run_dir: Annotated[str, DIRECTORY] = "/run/tapsentinel"
    state_dir: Annotated[str, DIRECTORY] = "/var/lib/tapsentinel"
    bpffs_dir: Annotated[str, BPFFS_DIRECTORY] = "/sys/fs/bpf/tapsentinel"

    @property
    def control_socket(self) -> str:
        """The UNIX socket that takes orders."""
        return f"{self.run_dir}/control.sock"

    @property
    def journal_db(self) -> str:
        """The SQLite file of the journal."""
        return f"{self.state_dir}/journal.db"


class TrustRule(_Table, frozen=True):
    """One of [ports] trusted: the named checks do not judge these ports.

    Exactly one of name (a pattern), mac (lower case) and vm (UUID or name) is set.
    """

    name: Annotated[str | None, PATTERN] = None
    mac: Annotated[str | None, MAC] = None
    vm: Annotated[str | None, VM] = None
    checks: tuple[CheckName, ...] = ()


class PortsConfig(_Table, frozen=True):
    """[ports]: which devices are watched, and as what."""

    include: tuple[Annotated[str, PATTERN], ...] = ("tap*", "vnet*")
    exclude: tuple[Annotated[str, PATTERN], ...] = ()
    uplinks: tuple[Annotated[str, DEVICE], ...] = ()
    trusted: tuple[TrustRule, ...] = ()
    any_kind: bool = False


class KernelConfig(_Table, frozen=True):
    """[kernel]: how the programs get there."""

    loader: Literal["auto", "libbpf", "bcc"] = "auto"
    attach: Literal["auto", "tcx", "clsact"] = "auto"
    drops: Literal["auto", "off"] = "auto"
    """Where the kernel throws frames of watched ports away; "auto": if it can be traced."""


class CheckPolicy(_Table, frozen=True):
    """[checks.NAME]: quarantine after `threshold` offences inside `window_ns`."""

    action: Action = "count"
    threshold: _Threshold = 1
    window_ns: _Duration = msgspec.field(default=10 * SECOND_NS, name="window")


class BpduPolicy(CheckPolicy, frozen=True):
    """[checks.bpdu]; `host` is for the host's own BPDUs at an uplink."""

    host: Literal["count", "drop"] = "count"


class SizePolicy(CheckPolicy, frozen=True):
    """[checks.size]; `mtu` stands for the path's own where it is set (bytes)."""

    mtu: _Mtu | None = None


class DhcpFloodPolicy(CheckPolicy, frozen=True):
    """[checks.dhcp_flood]: DHCP messages in a window, not offences."""

    threshold: _Threshold = 100


class ChecksConfig(_Table, frozen=True):
    """[checks]: out of the box every check counts."""

    bpdu: BpduPolicy = BpduPolicy()
    vlan: CheckPolicy = CheckPolicy()
    size: SizePolicy = SizePolicy()
    rogue_dhcp: CheckPolicy = CheckPolicy()
    dhcp_flood: DhcpFloodPolicy = DhcpFloodPolicy()

    def policy(self, check: str) -> CheckPolicy:
        """The policy of a check by its name; KeyError for any other word."""
        if check not in self.__struct_fields__:
            raise KeyError(check)
        policy: CheckPolicy = getattr(self, check)
        return policy


class HoldConfig(_Table, frozen=True):
    """[hold]: how long a cut lasts; doubled at each relapse, give or take 15 %."""

    initial_ns: _Duration = msgspec.field(default=300 * SECOND_NS, name="initial")
    max_ns: _Duration = msgspec.field(default=24 * HOUR_NS, name="max")
    auto_release: bool = True


class FuseConfig(_Table, frozen=True):
    """[fuse]: the most ports that may be cut at one time."""

    max_quarantined: Annotated[int | str, SHARE] = "10%"

    def limit(self, watched: int) -> int:
        """The most ports that may be cut, of `watched` ones; never less than one."""
        number, is_percent = read_share(self.max_quarantined)
        return max(1, watched * number // 100 if is_percent else number)


class JournalConfig(_Table, frozen=True):
    """[journal]: how much history is kept."""

    max_age_ns: _Duration = msgspec.field(default=30 * DAY_NS, name="max_age")
    max_size_bytes: Annotated[int, SIZE] = msgspec.field(default=256_000_000, name="max_size")


class ControlConfig(_Table, frozen=True):
    """[control]: who may ask beside root. A group that is not there: nobody.

    Members of `group` may give orders, those of `readers` may only look.
    """

    group: Annotated[str, GROUP] = "tapsentinel"
    readers: Annotated[str, GROUP] = "tapsentinel-read"


class EventsConfig(_Table, frozen=True):
    """[events]: what one port may tell; the counters are exact all the same."""

    per_port_per_second: _EventRate = 10
    dhcp_per_port_per_second: _EventRate = 20
    """DHCP messages; the answers to a message that was told do not count."""
    log_per_port_per_second: _EventRate = 10
    """Events in the log: what is beyond is told later, and says for how many it stands."""
    log_per_host_per_second: _EventRate = 500
    host: Annotated[str, HOST_NAME] = ""
    """What this host is called in events; empty: its hostname."""


class AuditConfig(_Table, frozen=True):
    """[audit]: what is meant to be so."""

    service_vlans: tuple[_Vid, ...] = ()
    """Outer tags of frames that are meant to have two, beside vlan devices of 802.1ad."""
    accepted: tuple[Annotated[str, FINDING], ...] = ()
    """Ids of findings (patterns) that are known and accepted: listed, and no incident."""


class Config(_Table, frozen=True):
    """A whole configuration that has passed every rule."""

    paths: Paths = Paths()
    ports: PortsConfig = PortsConfig()
    kernel: KernelConfig = KernelConfig()
    checks: ChecksConfig = ChecksConfig()
    hold: HoldConfig = HoldConfig()
    fuse: FuseConfig = FuseConfig()
    journal: JournalConfig = JournalConfig()
    control: ControlConfig = ControlConfig()
    events: EventsConfig = EventsConfig()
    audit: AuditConfig = AuditConfig()
    mqtt: MqttConfig = MqttConfig()


def default_config() -> Config:
    """The configuration of an empty file."""
    return Config()


def parse_config(text: str, file: str) -> Config:
    """The configuration in a TOML text; `file` is its name for messages.

    Raises ConfigError, naming the key by its full dotted path, for the first
    thing that is wrong.
    """
    config = read_toml(text, file, Config)
    for key, problem in _impossible(config):
        raise ConfigError(file, key, problem)
    return config


def _impossible(config: Config) -> Iterator[tuple[str, str]]:
    """What each value alone may be, but not together with the rest."""
    yield from _impossible_paths(config.paths)
    yield from _impossible_ports(config.ports)
    for name in config.checks.__struct_fields__:
        window_ns = config.checks.policy(name).window_ns
        if window_ns > LONGEST_WINDOW_NS:
            yield (
                f"checks.{name}.window",
                f"{format_duration(window_ns)} is too long to count in; at most 1h",
            )
    if config.hold.initial_ns > config.hold.max_ns:
        yield (
            "hold.initial",
            f"{format_duration(config.hold.initial_ns)} is longer than hold.max "
            f"({format_duration(config.hold.max_ns)}); lower the one or raise the other",
        )
    if config.journal.max_size_bytes < SMALLEST_JOURNAL_BYTES:
        yield "journal.max_size", 'is too small to keep a history in; at least "1MB"'
    yield from impossible_mqtt(config.mqtt)
    if config.mqtt.state_dir == config.paths.state_dir:
        yield "mqtt.state_dir", "is paths.state_dir, where only root may write; choose another"


def _impossible_paths(paths: Paths) -> Iterator[tuple[str, str]]:
    socket_bytes = len(paths.control_socket.encode(errors="replace"))
    if socket_bytes > SOCKET_PATH_MAX_BYTES:
        over = socket_bytes - SOCKET_PATH_MAX_BYTES
        yield "paths.run_dir", f"is {over} bytes too long for the path of a UNIX socket below it"
    for key, directory in (("run_dir", paths.run_dir), ("state_dir", paths.state_dir)):
        if f"{directory}/".startswith(f"{paths.bpffs_dir}/"):
            yield (
                f"paths.{key}",
                f"{directory!r} lies in paths.bpffs_dir, where no file can be; choose another",
            )


def _impossible_ports(ports: PortsConfig) -> Iterator[tuple[str, str]]:
    if not ports.include:
        yield "ports.include", 'is empty, so nothing would be watched; write e.g. ["tap*", "vnet*"]'
    elif set(ports.include) <= set(ports.exclude):
        yield "ports.exclude", "takes out all of ports.include, so nothing would be watched"
    for index, rule in enumerate(ports.trusted):
        key = f"ports.trusted[{index}]"
        named = [name for name in ("name", "mac", "vm") if getattr(rule, name) is not None]
        if not named:
            yield key, 'has none of name, mac and vm; write e.g. {name = "tap0", checks = ["bpdu"]}'
        elif len(named) > 1:
            yield key, f"has {' and '.join(named)}; write exactly one, and a rule for each"
        elif not rule.checks:
            yield f"{key}.checks", 'names no check; write e.g. checks = ["bpdu"]'
        elif len(set(rule.checks)) < len(rule.checks):
            yield f"{key}.checks", "names a check twice"
