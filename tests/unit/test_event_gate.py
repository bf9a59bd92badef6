# SPDX-License-Identifier: Apache-2.0
"""The log has a ceiling per port and per host, and what is beyond it is accounted for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel import event as ev
from sentinel.event import Event
from sentinel.event_gate import BURST_S, GATED, MOST_HELD, STANDS_FOR, EventGate
from tests.harness.journals import NOON_NS, VM, incident, quarantine

SECOND_NS = 10**9


def gone(port: str = "tap0", at: int = 0) -> Event:
    return ev.port_gone(NOON_NS + at, port, 7, VM, role="port")


def stands_for(events: list[Event]) -> int:
    total = 0
    for one in events:
        times = one.body.get(STANDS_FOR, 1)
        assert isinstance(times, int)
        total += times
    return total


def test_an_ordinary_day_passes_untouched() -> None:
    gate = EventGate(10, 100)
    events = [gone(), ev.incident_opened(incident(id=1)), ev.quarantine_set(quarantine())]
    assert gate.admit(events, 0) == events
    assert (gate.holds, gate.coalesced) == (0, 0)


def test_one_port_is_held_to_its_rate_and_the_last_stands_for_all() -> None:
    gate = EventGate(1, 1000)
    passed = gate.admit([gone(at=at) for at in range(100)], 0)
    assert len(passed) == BURST_S
    assert (gate.holds, gate.coalesced) == (1, 100 - BURST_S - 1)
    (late,) = gate.admit([], SECOND_NS)
    assert late.body[STANDS_FOR] == 100 - BURST_S
    assert late.time_ns == NOON_NS + 99, "the latest"
    assert gate.admit([gone("tap1")], SECOND_NS), "another port is another's business"
    assert gate.holds == 0


def test_all_ports_together_are_held_to_the_host_s() -> None:
    gate = EventGate(10, 20)
    passed = gate.admit([gone(f"tap{at}") for at in range(1000)], 0)
    assert len(passed) == 20 * BURST_S
    assert gate.holds == 800
    more = gate.admit([], 10 * SECOND_NS)
    assert len(more) == 200
    assert more[0].port == "tap200", "who waited longest"


def test_incidents_stand_only_for_themselves() -> None:
    gate = EventGate(1, 1000)
    gate.admit([gone() for _ in range(BURST_S)], 0)
    gate.admit([ev.incident_updated(incident(id=number, frames=number)) for number in (1, 2, 1)], 0)
    assert gate.holds == 2
    held = gate.flush()
    assert [(one.body["id"], one.body.get(STANDS_FOR, 1)) for one in held] == [(1, 2), (2, 1)]
    assert gate.holds == 0


def test_cuts_and_orders_never_wait() -> None:
    gate = EventGate(1, 1)
    cuts = [ev.quarantine_set(quarantine()), ev.quarantine_released(1, quarantine(), by="hold")]
    for _ in range(1000):
        assert gate.admit(cuts, 0) == cuts
    for made in (ev.daemon_started(1, version="1", pid=1, adopted=0),):
        assert made.kind not in GATED


def test_memory_is_bounded_whatever_the_names() -> None:
    gate = EventGate(1, 1)
    passed = 0
    for number in range(3 * MOST_HELD):
        passed += len(gate.admit([gone(f"tap{number}")], 0))
    assert gate.holds <= MOST_HELD
    assert len(gate._ports) <= MOST_HELD
    assert passed + gate.holds + gate.coalesced == 3 * MOST_HELD


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * SECOND_NS)), max_size=300))
def test_every_event_is_told_or_stood_for(steps: list[tuple[int, int]]) -> None:
    gate = EventGate(2, 5)
    now_ns, told = 0, 0
    for port, pause_ns in steps:
        now_ns += pause_ns
        passed = gate.admit([gone(f"tap{port}")], now_ns)
        told += stands_for(passed)
    assert told + stands_for(gate.flush()) == len(steps)
