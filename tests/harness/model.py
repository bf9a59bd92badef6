# SPDX-License-Identifier: Apache-2.0
"""The guard in plain Python: what every counter, verdict and latch must be.

Time stands still in it: all windows are those of now, so a test that compares
makes them an hour long. Counters are flat, named as `ports --json` names them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from sentinel.decode import (
    BPDU_KINDS,
    CHECKS,
    DHCP6_TYPES,
    DHCP_TYPES,
    CheckSetting,
    Counters,
    KernelConfig,
)
from tests.harness.model_frame import Reading, read_frame
from tests.harness.model_message import Fate, Messages, Talk
from tests.harness.model_pairs import ROOMS, ModelPairs

Counts = Counter[str]
CUTS = frozenset({"dropped", "latched", "fused"})
OUTWARD = ("tap_to_guest", "uplink_to_wire")


def flat(counters: Counters) -> Counts:
    """The kernel's counters under the model's names; what is 0 is left out."""
    counts: Counts = Counter(
        frames=counters.frames,
        bytes=counters.bytes,
        oversized=counters.oversized,
        oversized_by_tags=counters.oversized_by_tags,
        vlan_tagged=counters.vlan_tagged,
        vlan_nested=counters.vlan_nested,
        bpdu_host=counters.bpdu_host,
        dhcp_server=counters.dhcp_server,
        events_told=counters.events_told,
        events_suppressed=counters.events_suppressed,
        events_lost=counters.events_lost,
        messages_told=counters.messages_told,
        messages_suppressed=counters.messages_suppressed,
        messages_lost=counters.messages_lost,
    )
    groups = (
        ("bpdu", BPDU_KINDS, counters.bpdu),
        ("dhcp", DHCP_TYPES, counters.dhcp),
        ("dhcp6", DHCP6_TYPES, counters.dhcp6),
        ("dropped", (*CHECKS, "quarantine"), counters.dropped),
    )
    for group, names, values in groups:
        counts.update({f"{group}.{name}": n for name, n in zip(names, values, strict=True)})
    return +counts


class Stamp(NamedTuple):
    """A clock that a frame sets: of a device, a direction, and one of two kinds."""

    ifindex: int
    is_outward: bool
    is_quiet: bool


@dataclass(slots=True)
class ModelPort:
    """A slot. `cause` is what shut it, None while it is open."""

    ifindex: int
    role: str
    mtu_bytes: int = 0
    trusted: frozenset[str] = frozenset()
    cause: str | None = None
    told: int = 0
    talk: Talk = field(default_factory=Talk)
    offences: Counts = field(default_factory=Counter)
    inward: Counts = field(default_factory=Counter)
    outward: Counts = field(default_factory=Counter)
    pairs: ModelPairs = field(init=False)

    def __post_init__(self) -> None:
        self.pairs = ModelPairs(ROOMS[self.role])


class Model:
    """Ports and one configuration; `frame` is a frame's way through one program."""

    def __init__(self, config: KernelConfig) -> None:
        self.config = config
        self.ports: dict[int, ModelPort] = {}
        self.quarantined = 0
        self.fuse_refusals = 0
        self.messages = Messages()
        self.stamped: Stamp | None = None
        """What the clock did for the last frame."""
        self.fate: Fate | None = None
        """What became of the last frame, if it was a DHCP message."""

    def add(self, port: ModelPort) -> ModelPort:
        """Watch a device from now on."""
        self.ports[port.ifindex] = port
        self.messages.watched.add(port.ifindex)
        return port

    def remove(self, ifindex: int) -> None:
        """Watch a device no longer; a latch of its goes with it."""
        gone = self.ports.pop(ifindex, None)
        self.messages.watched.discard(ifindex)
        if gone is not None and gone.cause is not None:
            self.quarantined -= 1

    def frame(
        self,
        program: str,
        ifindex: int,
        frame: bytes,
        *,
        ingress_ifindex: int = 0,
        segment_bytes: int = 0,
        untagged: bool = False,
    ) -> bool:
        """Count and judge a frame; whether it is dropped."""
        self.stamped, self.fate = None, None
        port = self.ports.get(ifindex)
        if port is None:
            return False
        reading = read_frame(frame, segment_bytes, untagged=untagged)
        is_outward = program in OUTWARD
        counts = port.outward if is_outward else port.inward
        is_hosts_own = program == "uplink_to_wire" and ingress_ifindex == 0
        self._count(counts, reading, port.mtu_bytes, host=is_hosts_own)
        port.pairs.see(reading, port.mtu_bytes, is_outward=is_outward)
        if program == "uplink_to_wire":
            is_dropped = self._to_wire(port, reading, ingress_ifindex)
        elif port.cause is not None:
            counts["dropped.quarantine"] += 1
            is_dropped = True
        else:
            is_dropped = program == "tap_from_guest" and self._from_guest(port, reading)
        # What is dropped on its way out never got there.
        if not (is_outward and is_dropped):
            self.stamped = Stamp(ifindex, is_outward, reading.is_quiet)
        self.fate = self._follow(program, port, reading, ingress_ifindex, passed=not is_dropped)
        if self.fate is not None and self.fate.counter is not None:
            counts[self.fate.counter] += 1
        return is_dropped

    def _follow(
        self, program: str, port: ModelPort, reading: Reading, ingress_ifindex: int, *, passed: bool
    ) -> Fate | None:
        message = reading.message
        self.messages.rate = self.config.messages_per_window
        if message is None:
            return None
        if program == "tap_from_guest":
            return self.messages.from_guest(port.ifindex, port.talk, message, passed=passed)
        if program == "tap_to_guest":
            return self.messages.to_guest(port.ifindex, port.talk, message)
        if program == "uplink_from_wire":
            return self.messages.from_wire(port.talk, message)
        origin = self.ports.get(ingress_ifindex)
        is_port = origin is not None and origin.role == "port"
        return self.messages.to_wire(ingress_ifindex if is_port else None, message)

    @staticmethod
    def _count(counts: Counts, reading: Reading, mtu_bytes: int, *, host: bool = False) -> None:
        counts["frames"] += 1
        counts["bytes"] += reading.frame_bytes
        counts["oversized"] += reading.oversized(mtu_bytes)
        counts["oversized_by_tags"] += reading.oversized_by_tags(mtu_bytes)
        counts["vlan_tagged"] += reading.tags > 0
        counts["vlan_nested"] += reading.tags > 1
        if reading.message:
            counts[reading.message.counter] += 1
            counts["dhcp_server"] += reading.message.is_server
        if reading.bpdu:
            counts["bpdu_host" if host else f"bpdu.{reading.bpdu}"] += 1

    def _from_guest(self, port: ModelPort, reading: Reading) -> bool:
        offends = {
            "bpdu": reading.bpdu is not None,
            "vlan": reading.tags > 1,
            "size": reading.oversized(port.mtu_bytes),
            "rogue_dhcp": reading.message is not None and reading.message.is_server,
            "dhcp_flood": reading.message is not None and self._is_flood(port),
        }
        for check in CHECKS:
            if not offends[check] or check in port.trusted:
                continue
            verdict = self._judge(check, port)
            self._tell(port, verdict, port.inward)
            if verdict in CUTS:
                port.inward[f"dropped.{check}"] += 1
                return True
        return False

    def _to_wire(self, uplink: ModelPort, reading: Reading, ingress_ifindex: int) -> bool:
        origin = self.ports.get(ingress_ifindex)
        counts = uplink.outward
        guest = origin if origin is not None and origin.role == "port" else None
        if guest is not None and guest.cause is not None:
            counts["dropped.quarantine"] += 1
            return True
        if reading.bpdu is None:
            return False
        if ingress_ifindex == 0:
            if self.config.host_bpdu_action == "count":
                return False
            verdict = "dropped"
        elif origin is not None and guest is None:  # another uplink's
            return False
        elif guest is not None and "bpdu" in guest.trusted:
            verdict = "passed"
        else:
            verdict = self._judge("bpdu", guest)
        self._tell(guest or uplink, verdict, counts)
        if verdict not in CUTS:
            return False
        counts["dropped.bpdu"] += 1
        return True

    def _is_flood(self, port: ModelPort) -> bool:
        port.offences["dhcp_flood"] += 1
        return port.offences["dhcp_flood"] > self._setting("dhcp_flood").threshold

    def _judge(self, check: str, port: ModelPort | None) -> str:
        setting = self._setting(check)
        if setting.action == "count":
            return "passed"
        if setting.action == "drop" or port is None:
            return "dropped"
        if check != "dhcp_flood":
            port.offences[check] += 1
            if port.offences[check] < setting.threshold:
                return "dropped"
        if self.quarantined >= self.config.max_quarantined:
            self.fuse_refusals += 1
            return "fused"
        self.quarantined += 1
        port.cause = check
        return "latched"

    def _setting(self, check: str) -> CheckSetting:
        return self.config.checks[CHECKS.index(check)]

    def _tell(self, gate: ModelPort, verdict: str, counts: Counts) -> None:
        if gate.told >= self.config.events_per_window and verdict != "latched":
            counts["events_suppressed"] += 1
            return
        gate.told += 1
        counts["events_told"] += 1
