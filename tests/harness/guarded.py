# SPDX-License-Identifier: Apache-2.0
"""The lab with the daemon in it, an offender and two neighbours: what most exams begin with."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.blast import Blast, Sent
from tests.harness.daemon import BPFFS, COMMAND, OUR_PINS, Sentinel, Tables
from tests.harness.dhcp import DhcpType, dhcp
from tests.harness.frames import BROADCAST, GUEST_MAC, TPID_C, Bpdu, bpdu, ethernet, not_bpdus
from tests.harness.hypervisor import OUTSIDE_MAC, Lab
from tests.harness.namespaces import leftovers
from tests.harness.packets import PROTO_UDP, arp, ipv6, udp, udp_frame
from tests.harness.taps import Tap
from tests.harness.waiting import wait_until
from tests.harness.wire import WireCounter

OFFENDER = "tapbad"
NEIGHBOURS = {"tapone": "fa:16:3e:00:01:01", "taptwo": "fa:16:3e:00:01:02"}
ALL_TAPS = (OFFENDER, *NEIGHBOURS)

PACE_S = 0.001
QUICK, FULL = 50_000, 1_000_000
SIZES = [
    pytest.param(QUICK, id="50k"),
    pytest.param(FULL, id="1M", marks=pytest.mark.slow),
]

HAS_TCX = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 6)
needs_tcx = pytest.mark.skipif(not HAS_TCX, reason="this kernel has no tcx (it came with 6.6)")
needs_daemon = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, taps and BPF need root"),
    pytest.mark.skipif(not COMMAND.exists(), reason=f"{COMMAND} is not installed"),
]
HOOKS = [pytest.param("tcx", marks=needs_tcx), "clsact"]

QUARANTINE: Tables = {"checks.bpdu": {"action": "quarantine"}}
DROP: Tables = {"checks.bpdu": {"action": "drop"}}
COUNT: Tables = {"checks.bpdu": {"action": "count"}}

FLOOD_KINDS = (Bpdu.STP, Bpdu.RSTP, Bpdu.MSTP, Bpdu.PVST, Bpdu.SPB)
COUNTED_AS = {
    Bpdu.STP: "stp", Bpdu.TCN: "stp", Bpdu.RSTP: "rstp", Bpdu.MSTP: "mstp",
    Bpdu.PVST: "pvst", Bpdu.RPVST: "pvst", Bpdu.SPB: "other",
}  # fmt: skip


def bpdu_frames() -> list[bytes]:
    """What the offender floods with: every kind that the counters tell apart."""
    return [bpdu(kind) for kind in FLOOD_KINDS]


def neighbour_frame(name: str, payload: bytes = b"") -> bytes:
    """An ordinary frame to the outside, told by its source address."""
    return udp_frame(
        NEIGHBOURS[name], OUTSIDE_MAC, "192.0.2.10", "192.0.2.1", payload=payload or bytes(64)
    )


def ordinary_frames(mac: str = GUEST_MAC) -> dict[str, bytes]:
    """Frames of many kinds, none of which any check minds, all from one address."""
    datagram = udp("2001:db8::9", "2001:db8::1", 4000, 9, b"hello")
    return {
        "arp": arp(mac, "192.0.2.99", "192.0.2.1"),
        "ipv4": udp_frame(mac, OUTSIDE_MAC, "192.0.2.99", "192.0.2.1"),
        "ipv6": ethernet(
            OUTSIDE_MAC, mac, ipv6("2001:db8::9", "2001:db8::1", PROTO_UDP, datagram), 0x86DD
        ),
        "dhcp": dhcp(DhcpType.DISCOVER, src_mac=mac),
        "large": udp_frame(mac, OUTSIDE_MAC, "192.0.2.99", "192.0.2.1", payload=bytes(1400)),
        "jumbo": udp_frame(mac, OUTSIDE_MAC, "192.0.2.99", "192.0.2.1", payload=bytes(8000)),
        "tagged": ethernet(BROADCAST, mac, bytes(64), 0x0800, [(TPID_C, 7, 0)]),
        "broadcast": ethernet(BROADCAST, mac, bytes(64), 0x88B5),
        "lldp": not_bpdus(mac)["lldp"],
    }


@dataclass(frozen=True, slots=True)
class Scene:
    """A lab whose hypervisor runs the daemon; `wire` counts at the switch."""

    lab: Lab
    wire: WireCounter
    sentinel: Sentinel

    def tap(self, name: str) -> Tap:
        """One of the lab's taps."""
        return self.lab.hypervisor.taps[name]

    def counters(self, name: str) -> dict[str, Any]:
        """Both directions of a port or uplink, from `ports --json`."""
        found: dict[str, Any] = self.sentinel.port(name)["counters"]
        return found

    def wait_for_state(self, name: str, state: str, timeout_s: float = 10) -> None:
        """Wait until `ports --json` says so."""
        wait_until(
            lambda: state_of(self.sentinel, name) == state, timeout_s, f"{name} to be {state}", 0.02
        )


@contextlib.contextmanager
def guarded(
    tables: Tables | None = None,
    taps: Sequence[str] = ALL_TAPS,
    *,
    start: bool = True,
    watched: Sequence[str] | None = None,
    switch_guards: bool = True,
) -> Iterator[Scene]:
    """The scene with these taps; `watched` (default: all of them) are waited for.

    A switch that guards shuts its port at the first BPDU.
    """
    with (
        Lab(guard=switch_guards) as lab,
        lab.capture() as wire,
        Sentinel(lab.hypervisor.netns, QUARANTINE if tables is None else tables) as sentinel,
    ):
        lab.hypervisor.add_taps(taps)
        if start:
            sentinel.start([*(taps if watched is None else watched), lab.hypervisor.uplink])
        yield Scene(lab, wire, sentinel)


def state_of(sentinel: Sentinel, name: str) -> str | None:
    """A port's state, or None if it is not listed."""
    return next((str(one["state"]) for one in sentinel.ports() if one["name"] == name), None)


@dataclass(frozen=True, slots=True)
class Flood:
    """What was sent: BPDUs by the offender, ordinary frames by its neighbours."""

    bad: Sent
    good: dict[str, Sent]

    def bpdus(self) -> dict[str, int]:
        """As the counters of `from_guest.bpdu` have to say it."""
        found = dict.fromkeys(("stp", "rstp", "mstp", "pvst", "other"), 0)
        for kind, frames in zip(FLOOD_KINDS, self.bad.per_frame, strict=True):
            found[COUNTED_AS[kind]] += frames
        return found | {"total": self.bad.frames}


def flood(scene: Scene, size: int, meanwhile: Callable[[Blast], None] | None = None) -> Flood:
    """`size` BPDUs from the offender, and a quarter of that from each neighbour, at once."""
    with contextlib.ExitStack() as writers:
        good = {
            name: writers.enter_context(
                Blast(scene.tap(name), [neighbour_frame(name)], max(1, size // 4))
            )
            for name in NEIGHBOURS
        }
        bad = writers.enter_context(Blast(scene.tap(OFFENDER), bpdu_frames(), size))
        if meanwhile is not None:
            meanwhile(bad)
        return Flood(bad.wait(), {name: one.wait() for name, one in good.items()})


class Flooding:
    """A flood without end from the offender; `stop` says what was sent.

    The neighbours send at an even pace: three floods would leave a small machine
    no time for the daemon.
    """

    def __init__(self, scene: Scene) -> None:
        self._taps = {name: scene.tap(name) for name in NEIGHBOURS}
        self._sent = dict.fromkeys(NEIGHBOURS, 0)
        self._ending = threading.Event()
        self._pacing = threading.Thread(target=self._send_evenly)
        self.bad = Blast(scene.tap(OFFENDER), bpdu_frames())
        self._pacing.start()

    def __enter__(self) -> Flooding:
        self.wait_for(1000)
        return self

    def __exit__(self, *_: object) -> None:
        self._end_neighbours()
        self.bad.close()

    def wait_for(self, frames: int, timeout_s: float = 120) -> None:
        """Wait until the offender's tap has taken so many frames since the beginning."""
        wait_until(lambda: self.bad.accepted >= frames, timeout_s, f"{frames} BPDUs to be sent")

    def stop(self) -> Flood:
        """End it."""
        self._end_neighbours()
        good = {}
        for name, frames in self._sent.items():
            length = frames * len(neighbour_frame(name))
            good[name] = Sent(frames, length, 0, 0, (frames,))
        return Flood(self.bad.stop(), good)

    def _send_evenly(self) -> None:
        frames = {name: neighbour_frame(name) for name in self._taps}
        while not self._ending.wait(PACE_S):
            for name, tap in self._taps.items():
                tap.write(frames[name])
                self._sent[name] += 1

    def _end_neighbours(self) -> None:
        self._ending.set()
        self._pacing.join()


def assert_wire_clean(scene: Scene, sent: Flood) -> None:
    """No BPDU on the wire, every frame of the neighbours there, the switch undisturbed."""
    for name, mac in NEIGHBOURS.items():
        scene.wire.wait_for(sent.good[name].frames, mac)
    assert scene.wire.uncounted == 0
    assert scene.lab.hypervisor.uplink_dropped() == 0
    assert scene.wire.bpdus() == 0
    assert scene.wire.frames_from(GUEST_MAC) == 0
    for name, mac in NEIGHBOURS.items():
        assert scene.wire.frames_from(mac) == sent.good[name].frames
    assert scene.lab.switch.state() == "forwarding"
    assert scene.lab.switch.log() == []


def events(sentinel: Sentinel, kind: str | None = None, port: str | None = None) -> list[Any]:
    """The journal's entries in order, read from its file: with or without a daemon."""
    path = sentinel.directory / "state" / "journal.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(event)")]
        rows = database.execute("SELECT * FROM event ORDER BY seq").fetchall()
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    for one in found:
        one["body"] = json.loads(one["body"])
    return [one for one in found if kind in (None, one["kind"]) and port in (None, one["port"])]


def leaks() -> list[str]:
    """Namespaces, pins and daemons of this process that are still there."""
    pid = os.getpid()
    found = [f"namespace {name}" for name in leftovers(pid)]
    if BPFFS.is_dir():
        for entry in BPFFS.iterdir():
            match = OUR_PINS.fullmatch(entry.name)
            if match and int(match["pid"]) == pid:
                found.append(f"pins {entry}")
    for thread in Path("/proc/self/task").iterdir():
        children: list[str] = []
        # A thread may end meanwhile, and a child.
        with contextlib.suppress(OSError):
            children = (thread / "children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "tapsentinel" in words or "blast" in words or "relay" in words:
                    found.append(f"process {child}: {words}")
    return found
