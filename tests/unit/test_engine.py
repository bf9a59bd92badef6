# SPDX-License-Identifier: Apache-2.0
"""The core in order: records, latches, orders and the clock in, effects out."""

from __future__ import annotations

from dataclasses import replace

from sentinel import abi
from sentinel.config import parse_config
from sentinel.decode import NO_COUNTERS
from sentinel.effect import Effect, Log, Open, Shut
from sentinel.engine import EVENT_WINDOW_NS, Engine, kernel_config
from sentinel.event import Kind
from sentinel.inventory import Appeared, Changed, Device, Gone, Renamed
from tests.harness.cut_facts import NOW, SECOND, VM, bpdus, device, latch_seen, record, slot

QUARANTINE = '[checks.bpdu]\naction = "quarantine"\n[hold]\ninitial = "10s"\n'
ENDED = [Kind.INCIDENT_CLOSED, Kind.PORT_GONE]


def engine(text: str = QUARANTINE, *devices: Device) -> tuple[Engine, dict[int, Device]]:
    known = {one.ifindex: one for one in devices or (device(),)}
    return Engine(parse_config(text, "c.toml"), known), known


def events(effects: list[Effect]) -> list[str]:
    return [one.event.kind for one in effects if isinstance(one, Log)]


def test_what_the_kernel_is_told_of_a_configuration() -> None:
    config = parse_config(
        '[checks.bpdu]\naction = "drop"\nhost = "drop"\nthreshold = 5\nwindow = "3s"\n'
        '[fuse]\nmax_quarantined = "10%"\n[events]\nper_port_per_second = 7\n',
        "c.toml",
    )
    told = kernel_config(config, 50)
    assert (told.checks[0].action, told.checks[0].threshold) == ("drop", 5)
    assert told.checks[0].window_ns == 3 * SECOND
    assert told.host_bpdu_action == "drop"
    assert (told.events_per_window, told.event_window_ns) == (7, EVENT_WINDOW_NS)
    assert told.max_quarantined == 5
    assert kernel_config(config, 1).max_quarantined == 1


def test_nothing_that_cuts_is_on_by_default() -> None:
    told = kernel_config(parse_config("", "c.toml"), 100)
    assert {check.action for check in told.checks} == {"count"}
    assert told.host_bpdu_action == "count"


def test_a_latch_is_accounted_for_once() -> None:
    core, _ = engine()
    fresh, opened = core.latches([slot(), slot(8, abi.TAP_LATCH_OPEN), slot(99)])
    assert ([one.ifindex for one in fresh], opened) == ([7], [])
    assert events(list(core.latch(latch_seen()))) == [Kind.QUARANTINE_SET]
    assert core.latches([slot()]) == ([], [])
    assert list(core.latch(latch_seen())) == []


def test_a_latch_that_somebody_opened_is_noticed() -> None:
    core, known = engine()
    list(core.latch(latch_seen()))
    _, opened = core.latches([slot(latch=abi.TAP_LATCH_OPEN)])
    assert [one[0] for one in opened] == [known[7]]


def test_the_clock_releases() -> None:
    core, _ = engine()
    list(core.latch(latch_seen()))
    assert list(core.tick(NOW + 5 * SECOND)) == []
    effects = list(core.tick(NOW + 10 * SECOND))
    assert effects[0] == Open(7)
    assert events(effects) == [Kind.QUARANTINE_RELEASED]


def test_a_port_that_is_shut_already_is_not_cut_again() -> None:
    core, _ = engine()
    list(core.latch(latch_seen()))
    held = core.cuts.active(7)
    assert held is not None
    core.cuts.remember([held])
    core.cuts.device_gone(7)
    assert events(list(core.change(Appeared(device()), NOW, True))) == [Kind.PORT_APPEARED]


def test_a_port_that_comes_back_open_is_cut_again() -> None:
    core, known = engine()
    list(core.latch(latch_seen()))
    known.clear()
    assert events(list(core.change(Gone(device()), NOW))) == [Kind.PORT_GONE]
    known[9] = device(9)
    effects = list(core.change(Appeared(known[9]), NOW + SECOND))
    assert events(effects) == [Kind.PORT_APPEARED, Kind.QUARANTINE_SET]
    assert any(isinstance(one, Shut) for one in effects)


def test_a_name_and_a_vm_are_followed() -> None:
    core, known = engine()
    list(core.latch(latch_seen()))
    new = replace(device(), name="tapnew")
    known[7] = new
    assert events(list(core.change(Renamed(new, "tap0"), NOW))) == [Kind.PORT_RENAMED]
    owned = replace(new, vm=VM)
    assert events(list(core.change(Changed(owned, new), NOW))) == []
    held = core.cuts.active(7)
    assert held is not None
    assert (held.port, held.vm) == ("tapnew", VM)


def test_the_fuse_is_told_once_a_port_until_there_is_room() -> None:
    core, _ = engine()
    first = events(list(core.record(record(verdict="fused"), NOW)))
    again = events(list(core.record(record(verdict="fused"), NOW)))
    assert (first.count(Kind.QUARANTINE_REFUSED), again) == (1, [])
    list(core.release(device(), "", 0, NOW))
    assert Kind.QUARANTINE_REFUSED in events(list(core.record(record(verdict="fused"), NOW)))


def test_a_record_of_a_device_that_is_gone_is_nothing() -> None:
    core, _ = engine()
    assert list(core.record(record(99), NOW)) == []


def test_uplinks_are_no_share_of_the_fuse() -> None:
    core, _ = engine(QUARANTINE, device(), device(3, "uplink0", role="uplink"))
    assert core.watched_ports() == 1


def test_an_incident_goes_on_after_a_restart() -> None:
    core, _ = engine()
    list(core.record(record(), NOW))
    list(core.count({7: (bpdus(40), NO_COUNTERS)}, NOW + SECOND))
    (kept,) = core.incidents.current()
    then, known = engine()
    then.incidents.settle(7, abi.TAP_IN, "bpdu", 100)
    assert then.reopen(kept, (bpdus(150), NO_COUNTERS), NOW + 2 * SECOND) is not None
    list(then.count({7: (bpdus(150), NO_COUNTERS)}, NOW + 3 * SECOND))
    assert [one.frames for one in then.incidents.current()] == [50]
    # Not of a device that only has its number, nor with counters that began anew.
    known[7] = device(name="tapother")
    assert then.reopen(kept, (bpdus(150), NO_COUNTERS), NOW) is None
    known[7] = device()
    assert then.reopen(kept, (bpdus(3), NO_COUNTERS), NOW) is None
    assert then.reopen(replace(kept, uplink=True), (bpdus(150), NO_COUNTERS), NOW) is None
