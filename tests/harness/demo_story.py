# SPDX-License-Identifier: Apache-2.0
"""Story 3 as it is played by `make demo`: once unguarded, once with the real daemon.

What is done and measured is here; how it looks is the narrator's business
(tools/demo.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.harness.daemon import COMMAND, Sentinel, Tables, toml_text
from tests.harness.guests import Guest
from tests.harness.hypervisor import Lab
from tests.harness.pinger import Pinger, Tally
from tests.harness.wire import WireCounter

NEIGHBOURS = ("tapweb", "tapdb")
OFFENDER = "tapnew"
PING_INTERVAL_S = 0.1
SHOWN_AS_LOST_S = 0.6
LOST_S = 2.0

QUIET_S = 2.0
OUTAGE_S = 4.0
HELD_S = 5.0
AFTERWARDS_S = 2.0
PATIENCE_S = 8.0

GUARD: Tables = {
    "checks.bpdu": {"action": "quarantine", "threshold": 1},
    "hold": {"initial": "300s"},
}


class Narrator(Protocol):
    """Whoever shows what happens."""

    def chapter(self, title: str) -> None:
        """A half begins."""

    def say(self, who: str, text: str, *, alarm: bool = False) -> None:
        """Something happened just now."""

    def pings(self, marks: Mapping[str, str]) -> None:
        """Echo requests since the last time: `.` answered, `x` not, by neighbour."""


@dataclass(slots=True)
class Half:
    """What one half of the story came to."""

    guarded: bool
    tallies: dict[str, Tally] = field(default_factory=dict)
    bpdus_from_guest: int = 0  # counted at the tap, before any guard
    bpdus_on_wire: int = 0  # counted at the switch
    switch_log: list[str] = field(default_factory=list)
    switch_state: str = ""
    outage_s: float | None = None  # from the first lost ping to the first answered one
    incident: dict[str, Any] | None = None
    cut: bool = False
    released: bool = False
    complaints: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Pings lost by all neighbours."""
        return sum(tally.lost for tally in self.tallies.values())


class _Stage:
    """The lab with its guests, the wire counters, and pings to every neighbour."""

    def __init__(self, narrator: Narrator, half: Half, resources: contextlib.ExitStack) -> None:
        self.narrator = narrator
        self.half = half
        self.lab = resources.enter_context(Lab())
        self.neighbours = {name: self.lab.add_guest(name) for name in NEIGHBOURS}
        self.offender: Guest = self.lab.add_guest(OFFENDER)
        self.wire: WireCounter = resources.enter_context(self.lab.capture())
        self.from_guest: WireCounter = resources.enter_context(
            WireCounter(self.lab.hypervisor.netns, OFFENDER)
        )
        self.narrator.say(
            "lab",
            f"guests behind taps {', '.join((*NEIGHBOURS, OFFENDER))}; "
            f"the switch guards its port {self.lab.port}",
        )
        # Address resolution is done before anything is counted as lost.
        for guest in (*self.neighbours.values(), self.offender):
            self.lab.outside.ping(guest, count=2)
        self.pingers: dict[str, Pinger] = {
            name: resources.enter_context(self.lab.outside.pinging(guest, PING_INTERVAL_S, LOST_S))
            for name, guest in self.neighbours.items()
        }
        self._shown = dict.fromkeys(self.pingers, 0)
        addresses = ", ".join(f"{n} ({g.address})" for n, g in self.neighbours.items())
        self.narrator.say(
            "ping", f"{addresses} from outside, every {PING_INTERVAL_S * 1000:.0f} ms each"
        )

    def watch(
        self, seconds: float, until: Callable[[], object] | None = None, every_s: float = 0.1
    ) -> bool:
        """Show pings for a while, or until something is true; returns whether it became so."""
        deadline = time.monotonic() + seconds
        due = time.monotonic() + 1
        while time.monotonic() < deadline:
            if until is not None and until():
                return True
            time.sleep(min(every_s, max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= due:
                due += 1
                self._show_pings()
        self._show_pings()
        return until is not None and bool(until())

    def turn_on_spanning_tree(self) -> None:
        """The offence."""
        self.narrator.say(
            "guest",
            f"{OFFENDER} ({self.offender.mac}) starts a bridge with spanning tree",
            alarm=True,
        )
        self.offender.turn_on_spanning_tree()

    def end(self) -> None:
        """Stop pinging and note what came of it."""
        self.half.tallies = {name: pinger.stop() for name, pinger in self.pingers.items()}
        self.half.bpdus_from_guest = self.from_guest.bpdus()
        self.half.bpdus_on_wire = self.wire.bpdus()
        self.half.switch_log = self.lab.switch.log()
        self.half.outage_s = max(filter(None, map(_outage_s, self.pingers.values())), default=None)

    def _show_pings(self) -> None:
        now_ns = time.monotonic_ns()
        marks = {}
        for name, pinger in self.pingers.items():
            text = ""
            for echo in pinger.echoes()[self._shown[name] :]:
                late = now_ns - echo.sent_at_ns > SHOWN_AS_LOST_S * 1e9
                if echo.answered_at_ns is None and not late:
                    break
                text += "x" if echo.answered_at_ns is None else "."
            self._shown[name] += len(text)
            marks[name] = text
        if any(marks.values()):
            self.narrator.pings(marks)


def play_unguarded(narrator: Narrator) -> Half:
    """What happens today. Raises TimeoutError if the switch does not trip."""
    half = Half(guarded=False)
    narrator.chapter("1. Unguarded")
    with contextlib.ExitStack() as resources:
        stage = _Stage(narrator, half, resources)
        switch = stage.lab.switch
        stage.watch(QUIET_S)
        stage.turn_on_spanning_tree()
        if not stage.watch(PATIENCE_S, switch.log, 0.02):
            half.complaints.append("the switch did not see the guest's BPDU")
            return half
        narrator.say("switch", switch.log()[-1], alarm=True)
        half.switch_state = switch.state()
        narrator.say("switch", f"{stage.lab.port} is {half.switch_state}", alarm=True)
        stage.watch(OUTAGE_S)
        narrator.say("operator", f"finds the guest, switches it off, resets {stage.lab.port}")
        stage.lab.hypervisor.remove(OFFENDER)
        switch.reset_port()
        stage.watch(AFTERWARDS_S)
        stage.end()
    return half


def play_guarded(narrator: Narrator) -> Half:
    """The same with the daemon. Raises RuntimeError if it does not start."""
    half = Half(guarded=True)
    narrator.chapter("2. Guarded")
    with contextlib.ExitStack() as resources:
        stage = _Stage(narrator, half, resources)
        sentinel = resources.enter_context(_guard(stage))
        stage.watch(QUIET_S)
        stage.turn_on_spanning_tree()
        _catch(stage, sentinel)
        stage.watch(HELD_S)
        _look_again(stage, sentinel)
        _release(stage, sentinel)
        stage.watch(AFTERWARDS_S)
        stage.end()
        half.switch_state = stage.lab.switch.state()
    _judge(half)
    return half


@contextlib.contextmanager
def _guard(stage: _Stage) -> Iterator[Sentinel]:
    if not COMMAND.exists():
        raise RuntimeError(f"{COMMAND} is not there; run `make` first")
    with Sentinel(stage.lab.hypervisor.netns, GUARD) as sentinel:
        stage.narrator.say("daemon", f"starts with {toml_text(GUARD, between='  ').strip()}")
        sentinel.start([*NEIGHBOURS, OFFENDER])
        watched = sum(port["state"] == "watched" for port in sentinel.ports())
        stage.narrator.say("daemon", f"tapsentinel watches {watched} ports and uplinks")
        try:
            yield sentinel
        finally:
            sentinel.stop()
    stage.narrator.say("daemon", "stopped")


def _catch(stage: _Stage, sentinel: Sentinel) -> None:
    sent_at_ns: list[int] = []
    found: list[dict[str, Any]] = []

    def caught() -> bool:
        if not sent_at_ns and not stage.from_guest.bpdus():
            return False
        sent_at_ns.append(time.monotonic_ns())
        found[:] = sentinel.incidents(OFFENDER)
        return bool(found)

    if not stage.watch(PATIENCE_S, caught, 0.005):
        stage.half.complaints.append("the daemon reported no incident")
        return
    after_ms = (time.monotonic_ns() - sent_at_ns[0]) / 1e6
    incident = stage.half.incident = found[-1]
    say = stage.narrator.say
    say("incident", f"{incident['summary']}", alarm=True)
    say("incident", f"tap {incident['port']}, MAC {incident['mac']}, read {after_ms:.0f} ms later")
    say("incident", f"frame {_grouped(incident['frame_hex'])}")
    state = sentinel.port(OFFENDER)["state"]
    stage.half.cut = state == "quarantined"
    say("cut", f"{OFFENDER} is {state}; verdict of the kernel: {incident['verdict']}", alarm=True)
    logged = stage.lab.switch.log()
    say("switch", f"{stage.lab.port} is {stage.lab.switch.state()}; log: {logged or 'nothing'}")


def _look_again(stage: _Stage, sentinel: Sentinel) -> None:
    counters = sentinel.port(OFFENDER)["counters"]["from_guest"]
    sent = stage.from_guest.bpdus()
    told = counters["bpdu"]["total"]
    dropped = counters["dropped"]["total"]
    stage.narrator.say(
        "counters",
        f"{OFFENDER} from guest: {told} BPDUs, {dropped} frames dropped; "
        f"on the wire: {stage.wire.bpdus()} BPDUs",
    )
    # The guest may have sent another one between the two readings.
    if not sent - 1 <= told <= stage.from_guest.bpdus():
        stage.half.complaints.append(f"{told} BPDUs counted, but {sent} were sent")


def _release(stage: _Stage, sentinel: Sentinel) -> None:
    stage.offender.turn_off_spanning_tree()
    stage.narrator.say("operator", f"spanning tree is off; $ tapsentinel release {OFFENDER}")
    done = sentinel.cli("release", OFFENDER)
    stage.narrator.say("release", (done.stdout or done.stderr).strip())
    tally = stage.lab.outside.ping(stage.offender, count=5)
    state = sentinel.port(OFFENDER)["state"]
    stage.narrator.say(
        "release", f"{OFFENDER} is {state}; {tally.received} of {tally.sent} pings answered"
    )
    stage.half.released = done.returncode == 0 and tally.lost == 0 and state == "watched"


def _judge(half: Half) -> None:
    """Everything that the guarded half promises."""
    promises = {
        f"neighbours lost {half.lost} pings": half.lost == 0,
        f"{half.bpdus_on_wire} BPDUs leaked onto the wire": half.bpdus_on_wire == 0,
        "the guest sent no BPDU, so nothing was shown": half.bpdus_from_guest > 0,
        f"the switch's port is {half.switch_state}": half.switch_state == "forwarding",
        "the switch logged a BPDU": not half.switch_log,
        f"{OFFENDER} was not quarantined": half.cut,
        f"{OFFENDER} was not released": half.released,
    }
    half.complaints += [problem for problem, kept in promises.items() if not kept]


def _outage_s(pinger: Pinger) -> float | None:
    """The longest run of unanswered requests, in seconds; None if there was none."""
    longest = run = 0
    for echo in pinger.echoes():
        run = run + 1 if echo.answered_at_ns is None else 0
        longest = max(longest, run)
    return longest * pinger.interval_s if longest else None


def _grouped(frame_hex: str, shown_bytes: int = 24) -> str:
    """The first bytes: addresses, length, LLC and the beginning of the BPDU."""
    text = frame_hex[: 2 * shown_bytes]
    parts = (text[0:12], text[12:24], text[24:28], text[28:34], text[34:])
    more = "…" if len(frame_hex) > len(text) else ""
    return " ".join(part for part in parts if part) + more
